"""`segment` as one call: whatever is found in a folder, with whatever is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest

import medseg
from medseg.batch.job import SegmentJob, shard
from medseg.batch.record import fingerprint
from medseg.batch.writers import WRITERS, Writer
from medseg.errors import CheckpointError, ConfigError, ManifestError
from medseg.inference.request import Request
from medseg.model.postprocess import PostProcessing
from medseg.study.nifti import write_image
from medseg.types import Grid, StudyInput


@pytest.fixture
def images(tmp_path):
    """Folder of the studies good, cut (short) and last."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("good", "cut", "last"):
        voxels = np.random.default_rng(0).integers(-200, 300, (12, 10, 8)).astype(np.int16)
        write_image(folder / f"{name}.nii.gz", voxels, Grid(voxels.shape, np.diag([-6.0, 6.0, 5.0, 1.0])))
    cut = folder / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    return folder


@pytest.fixture
def job(model, images, tmp_path):
    """``job(...)``: a job on the images, on the CPU."""
    folder = model()[0]
    return lambda **more: SegmentJob(**{"models": folder, "input": images, "output": tmp_path / "out", **more})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_folder_in_one_call(job, tmp_path):
    seen, stages = [], []
    outcomes = job().run(on_stage=lambda *stage: stages.append(stage), on_done=seen.append)
    assert {o.study_id: o.status for o in outcomes} == {"cut": "failed", "good": "ok", "last": "ok"}
    assert [o.study_id for o in outcomes] == [study.study_id for study in job().inputs]
    assert (outcomes, ("good", "predict") in stages) == (seen, True)
    files = ["good.json", "good.nii.gz", "last.json", "last.nii.gz", "segment.jsonl"]
    assert names_in(tmp_path / "out") == files
    assert job().record == tmp_path / "out" / "segment.jsonl"
    assert job().class_names == ("liver", "tumour")


def test_it_is_exported_at_the_front_door():
    assert medseg.SegmentJob is SegmentJob
    with pytest.raises(AttributeError, match="has no attribute 'SegmentJobs'"):
        medseg.SegmentJobs  # noqa: B018


def test_what_a_format_needs_of_the_segmenter_is_asked_for(job, tmp_path):
    job(shard="2/3", write=["probabilities", "uncertainty"]).run()
    maps = ["good.nii.gz", *(f"good__{name}.nii.gz" for name in ("probability_liver", "probability_tumour"))]
    assert names_in(tmp_path / "out") == [*maps, "good__uncertainty.nii.gz", "segment.jsonl"]


def test_what_is_asked_of_the_segmenter_is_written_too(job, tmp_path):
    job(shard="2/3", write=[], request=Request(("tumour",))).run()
    assert names_in(tmp_path / "out") == ["good.nii.gz", "good__probability_tumour.nii.gz", "segment.jsonl"]


def test_relative_paths_and_several_models_are_fine(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ensemble = job(models=["model", tmp_path / "model"], input="images", output="out", shard="3/3")
    (outcome,) = replace(ensemble, request=Request(uncertainty="disagreement")).run()
    assert (outcome.status, outcome.study_id) == ("ok", "last")
    assert (tmp_path / "out" / "last__uncertainty.nii.gz").is_file()


def test_second_run_skips_what_was_done_the_same_way(job):
    def statuses(**more):
        return [outcome.status for outcome in job(**more).run() if outcome.study_id != "cut"]

    assert statuses() == ["ok", "ok"]
    assert statuses() == ["skipped", "skipped"]
    assert statuses(again=True) == ["ok", "ok"]
    assert statuses(write=["document", "masks"]) == ["ok", "ok"]
    assert statuses(write=["masks", "document"], lesions=["tumour"]) == ["ok", "ok"]
    assert statuses(write=("masks", "document"), lesions=("tumour",), largest_first=True) == ["skipped", "skipped"]
    other = Request(postprocess=PostProcessing(keep_largest=("liver",)))
    assert statuses(request=other) == ["ok", "ok"]
    assert statuses(request=other) == ["skipped", "skipped"]


def test_fingerprint_is_that_of_the_versions_before(job, tmp_path):
    """What they did is not done again."""
    settings = {
        "outputs": {"document": True, "masks": True, "dicom_seg": False, "lesions": ("liver",)},
        "wanted": {"probabilities": ("tumour",), "uncertainty": "entropy"},
        "backend": "auto",
        "gib": 3.0,
    }
    folder, request = tmp_path / "model", Request(("tumour",), "entropy")
    more = {"lesions": ["liver"], "request": request, "backend": "auto", "memory_gib": 3.0}
    outcomes = job(shard="2/3", write=["masks", "document"], **more).run()
    assert [outcome.fingerprint for outcome in outcomes] == [fingerprint([folder], settings)]


def test_mistakes_are_refused_before_anything_is_written(job, tmp_path):
    with pytest.raises(CheckpointError, match="expected a model folder"):
        job(models=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="did you mean 'masks'"):
        job(write=["mask"])
    with pytest.raises(ConfigError, match="found spleen"):
        job(lesions=["spleen"])
    with pytest.raises(ConfigError, match="takes an ensemble"):
        job(request=Request(uncertainty="disagreement")).run()
    with pytest.raises(ConfigError, match="spleen"):
        job(request=Request(("spleen",))).run()
    with pytest.raises(ManifestError, match="does not exist"):
        job(input=tmp_path / "nowhere").run()
    assert not (tmp_path / "out").exists()


def test_with_several_processes_mistakes_are_those_of_the_first(job):
    with pytest.raises(CheckpointError, match="takes an ensemble"):
        job(request=Request(uncertainty="disagreement"), workers=2).run()


def _write_count(path, study, part):
    path.write_text(f"{study.study_id} {part} {(study.segmentation.classes > 0).sum()}")


def test_a_format_is_added_by_one_row_and_one_function(job, tmp_path, monkeypatch):
    monkeypatch.setitem(WRITERS, "count", Writer("voxels of any class", ".txt", _write_count))
    (outcome,) = job(shard="2/3", write=["document", "count"]).run()
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert names_in(tmp_path / "out") == ["good.json", "good.nii.gz", "good.txt", "segment.jsonl"]
    assert (tmp_path / "out" / "good.txt").read_text().startswith("good  ")
    assert json.loads((tmp_path / "out" / "good.json").read_text())["files"] == ["good.nii.gz", "good.txt"]


@pytest.mark.parametrize("of", [1, 3, 7, 20])
def test_shards_are_disjoint_complete_and_even(tmp_path, of):
    inputs = [StudyInput(name, tmp_path) for name in "gbafcdejih"]
    shards = [[s.study_id for s in shard(inputs, f"{number}/{of}")] for number in range(1, of + 1)]
    assert sorted(name for part in shards for name in part) == list("abcdefghij")
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_second_shard_of_three_is_every_third_from_the_second(tmp_path):
    inputs = [StudyInput(name, tmp_path) for name in "hgfedcba"]
    assert [study.study_id for study in shard(inputs, "2/3")] == ["b", "e", "h"]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/4 ", "-1/4"])
def test_wrong_shard_is_explained(text):
    with pytest.raises(ConfigError, match="such as 1/8"):
        shard([], text)
