"""What a reviewer sees of a run in MLflow's pages, in a real browser: charts a class, pictures, the report."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import TrackingSettings, latest_run_url, newest_run_url, open_spooled, ui_command
from medseg.tracking.links import default_uri
from medseg.tracking.records import Dataset, File, Metrics, Params, Picture

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EPOCHS = 6
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1600,1400"
)
REPORT = """<!doctype html><meta charset="utf-8"><title>report</title><p id="verdict">waiting for the script</p>
<script>document.getElementById("verdict").textContent = "Dice " + (0.5 + 0.25).toFixed(2);</script>"""
MLFLOWS_OWN = ("/mlflow/users/current", "ResizeObserver loop completed")
"""Errors that MLflow's pages make themselves: a server without log-in has no users, and charts grow while they draw."""


def colour(epoch: int) -> tuple[int, int, int]:
    return 40 * epoch, 80, 200 - 30 * epoch


@dataclass
class Page:
    """A browser on the pages of one recorded run."""

    driver: Any
    address: Callable[[str], str]
    newest: str

    def open(self, tab: str) -> None:
        self.driver.get("about:blank")  # only the part after # differs: without this the page would not load anew
        self.driver.get(self.address(tab))

    def wait(self, found: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if value := found():
                return value
            time.sleep(0.2)
        raise AssertionError(f"waited in vain for {what}; the page says:\n{self.text()}")

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def elements(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))


def record(runs: Path) -> str:
    """A training without a network: what a run tells its tracker."""
    from PIL import Image

    folder = runs / "liver" / "20260101-120000"
    folder.mkdir(parents=True)
    tags = {"medseg.network": "unet", "medseg.fold": "0"}
    settings = TrackingSettings(system_metrics=False, tags=tags)
    tracker = open_spooled(settings, run_folder=folder, runs_dir=runs, experiment="liver")
    tracker.note(Params({"training": {"epochs": EPOCHS}, "network": {"name": "unet"}}))
    tracker.note(Dataset(Path("lits.csv"), "a" * 64, "train", 3))
    tracker.note(Dataset(Path("lits.csv"), "b" * 64, "validation", 2))
    for epoch in range(EPOCHS):
        metrics = {
            f"val/{score}/{label}": 0.5 + epoch / 20 for score in ("dice", "iou") for label in ("liver", "tumour")
        }
        tracker.note(Metrics({"train/loss": 1 / (epoch + 1), **metrics}, epoch))
        tracker.note(Metrics({"system/cpu_utilization_percentage": 50.0 + epoch}, epoch))
        Image.new("RGB", (256, 128), colour(epoch)).save(folder / "grid.png")
        tracker.note(Picture(folder / "grid.png", "validation/grid", epoch))
    (folder / "report.html").write_text(REPORT)
    tracker.note(File(folder / "report.html"))
    tracker.finish("FINISHED")
    assert tracker.run_id is not None
    return tracker.run_id


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not chromedriver:
        pytest.skip("no chromium with its chromedriver here: nobody looks at MLflow's pages")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_id = record(folder / "runs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    newest = newest_run_url(folder / "runs", port)
    assert newest is not None
    experiment = newest.split("/experiments/")[1].split("/")[0]
    command, extra = ui_command(folder / "runs", port=port)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env={**os.environ, **extra}, **quiet)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health")
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        try:
            driver.get("about:blank")
            driver.get_log("performance")  # what the browser loads before any page of ours
            uri = default_uri(folder / "runs")
            yield Page(driver, lambda tab: latest_run_url(uri, run_id, experiment, port, tab=tab), newest)
        finally:
            driver.quit()
    finally:
        server.terminate()
        server.wait()


def wait_for_server(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{address} does not answer")


def test_link_to_the_newest_run_opens_its_overview(page: Page) -> None:
    assert page.address("") == page.newest
    page.open("")
    text = page.wait(lambda: "network.name" in page.text() and page.text(), "the parameters")
    for word in ("20260101-120000", "val/dice/tumour", "medseg.network", "Finished", "lits (aaaa"):
        assert word in text


def test_every_class_has_its_chart_in_the_section_of_its_score(page: Page) -> None:
    page.open("model-metrics")
    page.wait(lambda: page.elements(".js-plotly-plot .scatterlayer .trace .lines path"), "a drawn curve")
    for score in ("dice", "iou"):
        section = page.wait(lambda: find_section(page, f"val/{score}"), f"section val/{score}")  # noqa: B023  # at once
        assert section == f"val/{score} (2)"
    for name in ("val/dice/liver", "val/dice/tumour"):
        page.wait(lambda: name in page.text(), f"the chart of {name}")  # noqa: B023  # called at once


def find_section(page: Page, name: str) -> str:
    """The head of a section of charts with the number of its charts, on one line."""
    lines = page.text().split("\n")
    found = [i for i, line in enumerate(lines) if line.strip() == name or line.strip().startswith(f"{name} (")]
    return " ".join(" ".join(lines[found[0] : found[0] + 2]).split()[:2]) if found else ""


def test_image_grid_goes_through_the_epochs(page: Page) -> None:
    page.open("model-metrics")
    page.wait(lambda: scroll_to_picture(page), "the picture")
    for epoch in range(EPOCHS):
        expected = pytest.approx(colour(epoch), abs=6)  # the small copy is compressed
        assert page.wait(lambda: shown_colour(page) == expected, f"the picture of epoch {epoch}")  # noqa: B023  # at once
        page.elements("[role=slider]")[0].send_keys("\ue014")  # arrow to the right


def scroll_to_picture(page: Page) -> bool:
    """Charts are drawn when they come into view."""
    return bool(
        page.driver.execute_script(
            """
            for (const box of document.querySelectorAll("*"))
                if (box.scrollHeight > box.clientHeight + 50) box.scrollTop = box.scrollHeight;
            return document.querySelector("[role=slider]")
                && [...document.images].some((i) => i.naturalWidth == 256 && i.naturalHeight == 128);
            """
        )
    )


def shown_colour(page: Page) -> tuple[int, ...] | None:
    """Of the middle of the shown picture."""
    found = page.driver.execute_script(
        """
        const image = [...document.images].find((i) => i.naturalWidth == 256 && i.naturalHeight == 128);
        if (!image) return null;
        const canvas = document.createElement("canvas");
        canvas.width = 256; canvas.height = 128;
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        return [...context.getImageData(128, 64, 1, 1).data].slice(0, 3);
        """
    )
    return tuple(found) if found else None


def test_system_metrics_have_their_tab(page: Page) -> None:
    page.open("")
    page.driver.get(page.address("model-metrics").replace("model-metrics", "system-metrics"))
    assert page.wait(lambda: "cpu_utilization_percentage" in page.text(), "the chart of the CPU")


def test_report_runs_its_script_in_the_artifacts_tab(page: Page) -> None:
    page.open("artifacts")
    page.wait(lambda: "report.html" in page.text(), "the list of files")
    page.driver.find_element("xpath", "//*[text()='report.html']").click()
    (frame,) = page.wait(lambda: page.elements("iframe"), "the report's frame")
    page.driver.switch_to.frame(frame)
    try:
        assert page.wait(lambda: page.text().strip() == "Dice 0.75", "what the script writes")
    finally:
        page.driver.switch_to.default_content()


def test_no_page_logs_an_error_or_asks_another_machine(page: Page) -> None:
    """Runs last: over all pages above."""
    messages = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 50
    own = f"http://127.0.0.1:{page.newest.split(':')[2].split('/')[0]}/"
    assert [url for url in asked if not url.startswith((own, "data:", f"blob:{own}"))] == []
    severe = [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if not any(known in message for known in MLFLOWS_OWN)] == []
