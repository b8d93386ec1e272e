"""The page that is written: which studies, in which order, what happens to broken ones."""

import gc
import logging
import weakref

import numpy as np
import pytest

from medseg.errors import StudyError
from medseg.evaluation.results import Evaluation, Failure
from medseg.reports.page import ReportStudy, write_report
from medseg.reports.page import write as module
from medseg.types import Grid, Volume
from tests.reports.page.report_phantoms import CLASSES, block_study, embedded, phantom_report, report, scored

FACTS = {"title": "T", "facts": {"n": "1"}, "class_names": CLASSES, "intensity_range_hu": (-100.0, 240.0)}


def test_phantoms_give_one_small_file_with_every_study_worst_first(tmp_path):
    (path,) = phantom_report(tmp_path / "report.html")
    blocks = embedded(path)
    entries = blocks["data"]["studies"]
    assert [entry["id"] for entry in entries] == ["phantom_2", "phantom_1", "phantom_0"]
    assert entries[2]["dice"] == 1.0
    assert list(blocks) == ["data", "study-1", "study-2", "study-3"]
    assert all(blocks[entry["block"]]["image"]["src"].startswith("data:image/") for entry in entries)
    assert blocks["data"]["facts"] == [["network", "unet"]]
    assert path.stat().st_size < 400_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_study_that_cannot_be_loaded_gets_a_line_and_stops_nothing(tmp_path, caplog):
    def broken():
        raise StudyError("a: images/a.nii.gz is truncated; copy it again")

    other_grid = block_study()
    other_grid = (other_grid[0], other_grid[1], Volume(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4))))
    studies = [ReportStudy("a", broken), ReportStudy("b", lambda: other_grid), ReportStudy("c", block_study)]
    with caplog.at_level(logging.WARNING):
        (path,) = write_report(tmp_path / "report.html", Evaluation(()), studies, **FACTS)
    blocks = embedded(path)
    a, b, c = blocks["data"]["studies"]
    assert a["problem"] == "a: images/a.nii.gz is truncated; copy it again"
    assert "expected one grid" in b["problem"]
    assert (a["block"], b["block"], c["block"]) == (None, None, "study-3")
    assert set(blocks) == {"data", "study-3"}
    assert "a: no pictures in the report" in caplog.text


def test_nothing_scored_and_nothing_to_show_is_a_page_too(tmp_path):
    (path,) = report(tmp_path / "report.html", Evaluation((), (Failure("x", "no label"),)), {})
    data = embedded(path)["data"]
    assert (data["rows"], data["studies"], data["failures"]) == ([], [], [["x", "no label"]])


def test_studies_without_a_reference_or_scores_are_shown_last(tmp_path):
    image, _, segmentation = block_study()
    loaded = {"new": (image, None, segmentation), "old": block_study(shift=1)}
    (path,) = report(tmp_path / "report.html", Evaluation((scored("old", loaded["old"]),)), loaded)
    blocks = embedded(path)
    assert [entry["id"] for entry in blocks["data"]["studies"]] == ["old", "new"]
    assert blocks["data"]["studies"][1]["dice"] is None
    assert not blocks["study-2"]["reference"]


@pytest.mark.parametrize("names", [("liver",), tuple(f"organ {i}" for i in range(1, 105))], ids=["one", "104"])
def test_any_number_of_classes(tmp_path, names):
    grid = Grid((40, 40, 40), np.diag([5.0, 5.0, 5.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:36, 4:36, 4:36] = (np.arange(32**3) // 300 % len(names) + 1).reshape(32, 32, 32)
    study = (Volume(np.zeros(grid.shape, np.int16), grid), Volume(labels, grid), Volume(np.roll(labels, 1), grid))
    (path,) = report(
        tmp_path / "report.html", Evaluation((scored("a", study, names),)), {"a": study}, class_names=names
    )
    blocks = embedded(path)
    assert blocks["study-1"]["present"] == list(range(1, len(names) + 1))
    assert len(blocks["data"]["rows"]) == len(blocks["data"]["colours"]) == len(names)


def test_a_hostile_study_id_stays_text(tmp_path):
    name = "</script><img src=x onerror=alert(1)> \ud83d.nii"
    study = block_study(shift=1)
    (path,) = report(tmp_path / "report.html", Evaluation((scored(name, study),)), {name: study}, title=name)
    assert embedded(path)["data"]["studies"][0]["id"] == name
    assert path.read_text(encoding="utf-8").count("<img") == 0


def test_studies_are_loaded_once_and_let_go_one_by_one(tmp_path):
    alive: list[weakref.ref] = []

    def load():
        gc.collect()
        assert not [volume for volume in alive if volume() is not None]
        loaded = block_study(shift=1)
        alive.append(weakref.ref(loaded[0]))
        return loaded

    write_report(tmp_path / "report.html", Evaluation(()), [ReportStudy(str(i), load) for i in range(3)], **FACTS)
    assert len(alive) == 3


def test_many_studies_get_pages_of_their_own_and_the_worst_stay_in_the_main_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_EMBEDDED", 3)
    monkeypatch.setattr(module, "WORST_EMBEDDED", 2)
    loaded = {f"s{shift}": block_study(shift=shift) for shift in range(4)}
    evaluation = Evaluation(tuple(scored(*study) for study in loaded.items()))
    path, *pages = report(tmp_path / "report.html", evaluation, loaded)
    assert [page.relative_to(tmp_path).as_posix() for page in pages] == [
        f"report_studies/{n}.html" for n in (1, 2, 3, 4)
    ]
    blocks = embedded(path)
    assert set(blocks) == {"data", "study-1", "study-2"}
    assert [(e["id"], e["page"]) for e in blocks["data"]["studies"]] == [
        (f"s{3 - n}", f"report_studies/{n + 1}.html") for n in range(4)
    ]
    second = embedded(pages[1])
    assert set(second) == {"data", "study-2"}
    assert {row[0] for row in second["data"]["rows"]} == {"s2"}
    assert second["data"]["alone"] == {
        "home": "../report.html",
        "previous": "1.html",
        "next": "3.html",
        "place": "2 of 4",
    }
    assert embedded(pages[0])["data"]["alone"]["previous"] is None
    assert embedded(pages[3])["data"]["alone"]["next"] is None


def test_nothing_is_left_where_the_page_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_report(tmp_path / "file" / "report.html", Evaluation(()), [], **FACTS)


def test_real_ct_fits_its_budget(tmp_path, shared_data):
    import nibabel as nib

    def load(name: str) -> Volume:
        file = nib.load(shared_data / "organs_3mm" / name)
        return Volume(np.asarray(file.dataobj).astype(np.int16), Grid(file.shape, file.affine))

    image, label = load("image.nii.gz"), load("label.nii.gz")
    label = Volume(label.voxels.astype(np.uint8), image.grid)
    segmentation = Volume(np.roll(label.voxels, 1, axis=2), image.grid)
    study = ReportStudy("organs", lambda: (image, label, segmentation))
    names = tuple(f"organ {i}" for i in range(1, 105))
    (path,) = write_report(tmp_path / "r.html", Evaluation(()), [study], **{**FACTS, "class_names": names})
    assert path.stat().st_size < 450_000
