"""The report page in a browser: what a reviewer clicks, scrolls and drags, and what the pixels then show."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.evaluation.results import Evaluation, Failure
from tests.reports.page.report_phantoms import block_study, phantom_study, report, scored

pytestmark = pytest.mark.browser

HOSTILE = "</script><b>x"
ARROW_LEFT, HOME = "\ue012", "\ue011"
DASH, MINUS = "\u2013", "\u2212"
BLUE, RED, GREEN = (0x2F, 0x7B, 0xFF), (0xFF, 0x2D, 0x3F), (0x5E, 0xE0, 0x6E)


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four studies, worst first: "shifted" (a cube 4 voxels off), two phantoms, and one with a hostile name."""
    loaded = {"shifted": block_study(shift=4), "p1": phantom_study(1), "p2": phantom_study(2), HOSTILE: block_study()}
    evaluation = Evaluation(
        tuple(scored(study_id, volumes) for study_id, volumes in loaded.items()), (Failure("lost", "truncated"),)
    )
    (path,) = report(tmp_path_factory.mktemp("report") / "report.html", evaluation, loaded)
    browser.get_log("performance")
    browser.get(path.as_uri())
    ready(browser, "shifted")
    return browser


@pytest.fixture(autouse=True)
def _fresh(page: Any) -> None:
    """Each test begins at the worst study, as the page opens."""
    page.refresh()
    ready(page, "shifted")


def js(driver: Any, script: str, *arguments: Any) -> Any:
    return driver.execute_script(script, *arguments)


def ready(driver: Any, study_id: str) -> None:
    """Wait until a study is decoded and drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    drawn = "return document.getElementById('viewer')?.dataset.ready === arguments[0]"
    WebDriverWait(driver, 20).until(lambda d: js(d, drawn, study_id))
    settle(driver)


def settle(driver: Any) -> None:
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")


def one(driver: Any, css: str) -> Any:
    return driver.find_element("css selector", css)


def plane(name: str) -> str:
    return f"[data-plane={name}]"


def pixels(driver: Any, name: str) -> np.ndarray:
    """RGB of a plane's canvas."""
    settle(driver)
    uri = js(driver, "return document.querySelector(arguments[0] + ' canvas.picture').toDataURL()", plane(name))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(rows, columns) of pixels that lean towards a colour from gray."""
    lean = picture.astype(float) - picture.mean(axis=-1, keepdims=True)
    aim = np.array(colour, float) - np.mean(colour)
    likeness = (lean @ aim) / (np.linalg.norm(lean, axis=-1) * np.linalg.norm(aim) + 1e-9)
    return np.argwhere((likeness > 0.95) & (np.linalg.norm(lean, axis=-1) > 35))


def caption(driver: Any, name: str) -> str:
    settle(driver)
    return str(one(driver, f"{plane(name)} .caption").text)


def slice_number(driver: Any, name: str) -> int:
    settle(driver)
    return int(one(driver, f"{plane(name)} .counter").text.split(" / ")[0])


def press(driver: Any, name: str, *keys: str) -> None:
    for key in keys:
        one(driver, f"{plane(name)} .stage").send_keys(key)
    settle(driver)


def button(driver: Any, text: str) -> Any:
    return next(b for b in driver.find_elements("css selector", "#viewer .button") if b.text == text)


def rows(driver: Any) -> list[list[str]]:
    """The table's cells as text; an undefined score is "-"."""
    script = "return [...document.querySelectorAll('#studies tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    return [[cell.replace(DASH, "-") for cell in row] for row in js(driver, script)]


def shown(driver: Any) -> str:
    return str(one(driver, "#viewer .window-text").text.replace(MINUS, "-"))


def sort(driver: Any, column: str) -> None:
    heads = driver.find_elements("css selector", "#studies th button")
    js(driver, "arguments[0].click()", next(head for head in heads if head.text.split(" ")[0] == column))


def test_summary_has_the_scores_and_the_failures(page):
    text = one(page, "main").text
    for expected in (
        "Phantoms",
        "network",
        "unet",
        "lost",
        "truncated",
        "Dice liver",
        "95 % interval",
        "(95 %)",
        "3 in neither",
    ):
        assert expected in text
    assert len(page.find_elements("css selector", ".plot svg")) == 5


def test_table_sorts_by_every_column_and_starts_with_the_worst(page):
    defined = [float(row[2]) for row in rows(page) if row[2] != "-"]
    assert defined == sorted(defined)
    assert rows(page)[0][0] == "shifted"
    sort(page, "Dice")
    assert [float(row[2]) for row in rows(page) if row[2] != "-"] == defined[::-1]
    assert rows(page)[-1][2] == "-"  # undefined stays last
    sort(page, "study")
    names = [row[0] for row in rows(page)]
    assert names == sorted(names, key=lambda name: (name != HOSTILE, name))
    sort(page, "HD95")
    distances = [float(row[4]) for row in rows(page) if row[4] != "-"]
    assert distances == sorted(distances, reverse=True)
    assert one(page, "#studies th[aria-sort]").text.startswith("HD95")


def test_table_is_filtered_by_label_and_name(page):
    from selenium.webdriver.support.select import Select

    Select(one(page, "select[aria-label=label]")).select_by_visible_text("tumour")
    assert {row[1] for row in rows(page)} == {"tumour"}
    one(page, "input[type=search]").send_keys("P1")
    page.execute_async_script("setTimeout(arguments[0], 250)")
    assert [row[0] for row in rows(page)] == ["p1"]


def test_a_row_opens_its_study_and_next_and_previous_go_by_score(page):
    entries = [row[0] for row in rows(page)]
    js(page, "[...document.querySelectorAll('#studies tr')].find(r => r.dataset.study === 'p1').click()")
    ready(page, "p1")
    assert one(page, "#viewer h2").text == "p1"
    assert {r.get_attribute("data-study") for r in page.find_elements("css selector", "tr.current")} == {"p1"}
    one(page, f"{plane('axial')} .stage").send_keys("p")
    ready(page, "p2")
    assert "p2" in entries
    one(page, f"{plane('axial')} .stage").send_keys("n", "n")
    ready(page, HOSTILE)
    assert one(page, "#viewer h2").text == HOSTILE
    assert not button(page, "better \u203a").is_enabled()


def test_a_point_of_a_plot_opens_its_study(page):
    js(page, "document.querySelector('.plot .point[data-study=p2]').dispatchEvent(new MouseEvent('click'))")
    ready(page, "p2")


def test_keys_scroll_the_slices_of_their_plane(page):
    from selenium.webdriver.common.keys import Keys

    start, others = slice_number(page, "axial"), [slice_number(page, "coronal"), slice_number(page, "sagittal")]
    press(page, "axial", Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.PAGE_UP)
    assert slice_number(page, "axial") == start + 6
    press(page, "axial", Keys.PAGE_DOWN, Keys.ARROW_LEFT)
    assert slice_number(page, "axial") == start
    assert [slice_number(page, "coronal"), slice_number(page, "sagittal")] == others
    press(page, "axial", Keys.HOME, Keys.ARROW_DOWN)
    assert slice_number(page, "axial") == 1
    press(page, "coronal", Keys.END)
    stage = one(page, f"{plane('coronal')} .stage")
    assert stage.get_attribute("aria-valuenow") == stage.get_attribute("aria-valuemax")


def test_the_wheel_scrolls_slices_and_not_the_page(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    js(page, "document.getElementById('viewer').scrollIntoView({behavior: 'instant'})")
    canvas = one(page, f"{plane('sagittal')} canvas.picture")
    start, top = slice_number(page, "sagittal"), js(page, "return scrollY")
    for _ in range(3):
        ActionChains(page).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -100).perform()
    assert slice_number(page, "sagittal") == start + 3
    ActionChains(page).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 100).perform()
    assert slice_number(page, "sagittal") == start + 2
    assert js(page, "return scrollY") == top


def test_the_window_changes_the_gray_values(page):
    button(page, "contours").click()
    button(page, "errors").click()
    middle = tuple(
        int(s * share) for s, share in zip(pixels(page, "axial").shape, (0.4, 0.5), strict=False)
    )  # in the cube
    # the cube has 100 HU; decoding with loss gives a few more or less
    assert pixels(page, "axial")[middle][0] == pytest.approx(255 * 200 / 340, abs=6)
    button(page, "lung").click()
    assert pixels(page, "axial")[middle][0] == pytest.approx(255 * 1450 / 1500, abs=3)
    one(page, f"{plane('axial')} .stage").send_keys("5")  # bone: -500 to 1500
    assert pixels(page, "axial")[middle][0] == pytest.approx(255 * 600 / 2000, abs=3)
    assert button(page, "bone").get_attribute("aria-pressed") == "true"


def test_dragging_widens_and_shifts_the_window(page):
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = one(page, f"{plane('axial')} canvas.picture")
    before = shown(page)
    position = caption(page, "coronal")
    drag = ActionChains(page).move_to_element(canvas).click_and_hold()
    drag.move_by_offset(50, 0).move_by_offset(0, 20).release().perform()
    assert before == "-100 to 240 HU"
    assert shown(page) == "-130 to 310 HU"  # 100 HU wider, 20 HU up: 90 - 220 and 90 + 220
    assert caption(page, "coronal") == position


def test_a_click_moves_the_cross_in_all_planes(page):
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = one(page, f"{plane('axial')} canvas.picture")
    width, height = canvas.size["width"], canvas.size["height"]
    scale = min(width / 160, height / 150)
    ActionChains(page).move_to_element_with_offset(canvas, round(-30 * scale), round(20 * scale)).click().perform()
    # R: both cubes, 100 mm, and 30 mm on each side; A: 80 mm are shown in 150. Left is more R, below is less A
    text = one(page, ".readout").text
    values = dict(zip(*[iter(text.split(" mm")[0].split())] * 2, strict=True))
    assert "HU" in text
    assert "reference" in text
    r, a = int(caption(page, "sagittal").split()[2]), int(caption(page, "coronal").split()[2])
    assert (int(values["R"]), int(values["A"])) == (r, a)
    assert r == pytest.approx(107.5 + 30, abs=3)
    assert a == pytest.approx(97.5 - 20, abs=3)


def test_worst_slices_are_found_again(page):
    from selenium.webdriver.common.keys import Keys

    worst = [slice_number(page, name) for name in ("axial", "coronal", "sagittal")]
    press(page, "axial", Keys.HOME)
    press(page, "sagittal", Keys.END)
    assert [slice_number(page, name) for name in ("axial", "coronal", "sagittal")] != worst
    button(page, "worst slices").click()
    assert [slice_number(page, name) for name in ("axial", "coronal", "sagittal")] == worst
    # the cube spans R 12 to 27 and was moved by 4: R 12 to 15 are missed all over, 28 to 31 are extra
    sagittal = caption(page, "sagittal").split()[2]
    assert int(sagittal) in {60, 65, 70, 75, 140, 145, 150, 155}


def test_missed_is_red_on_the_left_and_extra_blue_on_the_right_of_the_picture(page):
    button(page, "contours").click()
    picture = pixels(page, "axial")
    red, blue = where(picture, RED), where(picture, BLUE)
    assert len(red) > 2000
    assert len(blue) > 2000
    assert blue[:, 1].mean() < picture.shape[1] / 2 < red[:, 1].mean()  # towards R is the viewer's left
    button(page, "errors").click()
    assert len(where(pixels(page, "axial"), RED)) == 0


def test_contours_lie_where_the_labels_end(page):
    button(page, "errors").click()
    picture = pixels(page, "axial")
    green = where(picture, GREEN)
    side = min(picture.shape[1] / 32, picture.shape[0] / 30)  # pixels of a voxel of 5 mm
    assert len(green) > 400
    across, down = np.ptp(green[:, 1]), np.ptp(green[:, 0])
    assert abs(across - 20 * side) < 6  # both cubes together: 16 + 4 voxels
    assert abs(down - 16 * side) < 6
    low, high = green[:, 0].min() + down * 0.2, green[:, 0].max() - down * 0.2
    upright = green[(green[:, 0] > low) & (green[:, 0] < high)]
    columns = np.unique(upright[:, 1])
    lines = np.split(columns, np.flatnonzero(np.diff(columns) > 3) + 1)
    covered = [len(np.unique(upright[np.isin(upright[:, 1], line), 0])) / (high - low) for line in lines]
    # the sides from the left: segmentation, reference, segmentation, reference; dashes of 5 leave gaps of 3.5
    assert [share > 0.9 for share in covered] == [False, True, False, True]
    assert min(covered) > 0.4
    button(page, "contours").click()
    assert len(where(pixels(page, "axial"), GREEN)) == 0


def test_opacity_fades_contours_and_tints(page):
    strong = pixels(page, "axial")
    one(page, "#viewer .slider input").send_keys(ARROW_LEFT * 50)
    weak = pixels(page, "axial")
    place = where(strong, RED)
    place = place[len(place) // 2]
    assert int(strong[tuple(place)][0]) - int(strong[tuple(place)][2]) > int(weak[tuple(place)][0]) - int(
        weak[tuple(place)][2]
    )
    js(
        page,
        "const o = document.querySelector('#viewer .slider input'); o.value = 0; o.dispatchEvent(new Event('input'))",
    )
    assert len(where(pixels(page, "axial"), RED)) == len(where(pixels(page, "axial"), GREEN)) == 0


def test_a_class_can_be_hidden(page):
    one(page, "#viewer .chip").click()
    picture = pixels(page, "axial")
    assert len(where(picture, GREEN)) == len(where(picture, RED)) == 0


def test_another_plane_can_be_enlarged(page):
    js(page, "document.querySelector('[data-plane=coronal] .enlarge').click()")
    settle(page)
    areas = {n: one(page, plane(n)).size["width"] for n in ("axial", "coronal", "sagittal")}
    assert areas["coronal"] > 1.3 * areas["axial"] == 1.3 * areas["sagittal"]


def test_letters_stand_on_all_sides(page):
    button(page, "contours").click()
    button(page, "errors").click()
    js(page, "[...document.querySelectorAll('#viewer .button')].find(b => b.textContent === 'bone').click()")
    picture = pixels(page, "sagittal")
    height, width = picture.shape[:2]
    for y, x in ((height // 2, 12), (height // 2, width - 12), (14, width // 2), (height - 12, width // 2)):
        assert picture[y - 7 : y + 7, x - 7 : x + 7].max() > 200


def test_names_are_text_and_nothing_is_requested_or_complains(page):
    assert HOSTILE in [row[0] for row in rows(page)]
    assert "x" not in [b.text for b in page.find_elements("css selector", "main b")]
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}


@pytest.mark.parametrize("width", [800, 420])
def test_narrow_windows_do_not_scroll_sideways(page, width):
    page.set_window_size(max(width, 500), 1000)
    try:
        settle(page)
        assert js(page, "return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    finally:
        page.set_window_size(1280, 1000)


def test_the_page_works_in_a_sandboxed_frame(page, tmp_path: Path):
    """As a tracker's artifact view shows it: scripts run, but the frame has no origin of its own."""
    source = Path(page.current_url.removeprefix("file://")).read_text()
    frame = tmp_path / "frame.html"
    frame.write_text(f"<iframe sandbox='allow-scripts' width=1200 height=900 srcdoc='{quoted(source)}'></iframe>")
    here = page.current_url
    page.get(frame.as_uri())
    try:
        page.switch_to.frame(0)
        ready(page, "shifted")
        assert len(where(pixels(page, "axial"), BLUE)) > 1000
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        page.switch_to.default_content()
        page.get(here)


def quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("'", "&#39;")


def test_pages_of_single_studies_lead_to_each_other(browser, tmp_path: Path, monkeypatch):
    from medseg.reports.page import write

    monkeypatch.setattr(write, "MOST_EMBEDDED", 1)
    monkeypatch.setattr(write, "WORST_EMBEDDED", 1)
    loaded = {"worse": block_study(shift=4), "better": block_study(shift=1)}
    evaluation = Evaluation(tuple(scored(*study) for study in loaded.items()))
    main, *_ = report(tmp_path / "report.html", evaluation, loaded)
    browser.get(main.as_uri())
    ready(browser, "worse")
    js(browser, "[...document.querySelectorAll('#studies tr')].find(r => r.dataset.study === 'better').click()")
    ready(browser, "better")
    one(browser, "#viewer .message a").click()
    ready(browser, "better")
    assert browser.current_url.endswith("report_studies/2.html")
    assert {row[0] for row in rows(browser)} == {"better"}
    press(browser, "axial", "p")
    ready(browser, "worse")
    assert browser.current_url.endswith("report_studies/1.html")
    one(browser, "main header a").click()
    ready(browser, "worse")
    assert browser.current_url == main.as_uri()
