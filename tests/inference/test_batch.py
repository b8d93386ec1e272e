"""Many studies: a broken one stops none of the others."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import StudyError
from medseg.inference.batch import segment_studies
from medseg.inference.model import load_segmenter
from medseg.inference.segmenter import Segmenter
from medseg.study.geometry import require_same_grid
from medseg.study.inputs import find_inputs, read_input
from medseg.study.nifti import read_grid, read_image, write_image
from medseg.types import Grid
from tests.study.dicom_files import write_series


@pytest.fixture
def studies(tmp_path):
    """good, cut (short), gone (not there), last: all inputs but two can be read."""
    for name in ("good", "cut", "last"):
        voxels = np.random.default_rng(0).integers(-200, 300, (12, 10, 8)).astype(np.int16)
        write_image(tmp_path / f"{name}.nii.gz", voxels, Grid(voxels.shape, np.diag([-6.0, 6.0, 5.0, 1.0])))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    return [(name, tmp_path / f"{name}.nii.gz") for name in ("good", "cut", "gone", "last")]


def test_broken_studies_fail_with_their_reason_and_the_others_are_segmented(model, studies, tmp_path, caplog):
    seen = []
    output = tmp_path / "out" / "deep"
    outcomes = segment_studies(load_segmenter(model()[0], "cpu"), studies, output, on_done=seen.append)
    assert outcomes == seen
    assert [(o.study_id, o.status) for o in outcomes] == [
        ("good", "ok"),
        ("cut", "failed"),
        ("gone", "failed"),
        ("last", "ok"),
    ]
    assert "cut short" in outcomes[1].reason
    assert "no such file" in outcomes[2].reason
    assert [o.reason for o in outcomes if o.status == "ok"] == ["", ""]
    assert [o.segmentation for o in outcomes] == [str(output / "good.nii.gz"), "", "", str(output / "last.nii.gz")]
    assert sorted(p.name for p in output.iterdir()) == ["good.nii.gz", "last.nii.gz", "segment.jsonl"]
    assert read_image(output / "good.nii.gz").voxels.shape == (12, 10, 8)
    assert [record.message[:4] for record in caplog.records if record.levelname == "ERROR"] == ["cut:", "gone"]


def test_record_has_a_line_for_every_study_of_every_run(model, studies, tmp_path):
    segmenter = load_segmenter(model()[0], "cpu")
    segment_studies(segmenter, studies[:2], tmp_path / "out")
    segment_studies(segmenter, studies[3:], tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "segment.jsonl").read_text().splitlines()]
    assert [line["study_id"] for line in lines] == ["good", "cut", "last"]
    assert set(lines[0]) == {"study_id", "status", "reason", "segmentation", "seconds"}
    assert lines[0]["seconds"] > 0


@pytest.mark.parametrize(
    "error", [StudyError("a\nb"), OSError("a b"), MemoryError(), RuntimeError("CUDA out of memory")]
)
def test_any_failure_of_a_study_is_one_line_and_not_the_end(studies, tmp_path, monkeypatch, error):
    class Failing(Segmenter):
        def __init__(self):
            pass

        def segment_file(self, image, output):
            raise error

    outcomes = segment_studies(Failing(), studies, tmp_path / "out")
    assert {o.status for o in outcomes} == {"failed"}
    expected = {StudyError: "a b", OSError: "OSError: a b", MemoryError: "MemoryError"}
    assert {o.reason for o in outcomes} == {expected.get(type(error), "RuntimeError: CUDA out of memory")}


def test_output_folder_that_is_the_input_folder_costs_no_image(model, studies, tmp_path):
    before = studies[0][1].read_bytes()
    (outcome,) = segment_studies(load_segmenter(model()[0], "cpu"), studies[:1], tmp_path)
    assert "would replace its own image" in outcome.reason
    assert studies[0][1].read_bytes() == before


def test_every_format_is_segmented_on_its_own_grid(model, tmp_path):
    folder = tmp_path / "in"
    write_series(folder / "ct", 6)
    write_series(folder / "tilted", 6, step=(0, 0.75, 2))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 10, 12), np.int16)), str(folder / "b.nrrd"))
    inputs = find_inputs(folder)
    outcomes = segment_studies(load_segmenter(model()[0], "cpu"), inputs, tmp_path / "out")
    assert [(o.study_id, o.status) for o in outcomes] == [("b", "ok"), ("ct", "ok"), ("tilted", "ok")]
    for study, outcome in zip(inputs, outcomes, strict=True):
        require_same_grid(read_input(study).grid, read_grid(Path(outcome.segmentation)), study.study_id)


def test_no_studies_have_no_outcomes(tmp_path):
    assert segment_studies(None, [], tmp_path / "out") == []
