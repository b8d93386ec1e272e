"""Studies are prepared once, again when anything that made them changes, and never half."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from medseg.data import cache
from medseg.data.cache import cache_studies
from medseg.study import load
from medseg.study.inputs import read_input
from medseg.study.load import read_label
from medseg.study.nifti import write_image, write_labels
from medseg.transforms.preprocessing import preprocess, preprocess_label
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, LabelMap, Study, StudyInput, Volume
from tests.study.dicom_files import write_series
from tests.study.every_format import write_study

LABELS = LabelMap({"liver": (1,), "tumour": (2,)}, ignore=(9,))
CHAIN = Preprocessing((2.0, 2.0, None), (-100.0, 200.0))
GRID = Grid((16, 14, 6), np.diag([-1.0, -1.0, 3.0, 1.0]))


@pytest.fixture
def study(tmp_path):
    """Write a study whose labels are 0 but for liver, tumour and ignored voxels."""

    def write(name, label=None, label_grid=GRID):
        image = np.random.default_rng(0).integers(-150, 250, GRID.shape).astype(np.int16)
        if label is None:
            label = np.zeros(GRID.shape, np.uint8)
            label[2:10, 2:8], label[4:6, 4:6], label[12:, 12:] = 1, 2, 9
        write_image(tmp_path / f"{name}.nii.gz", image, GRID)
        write_labels(tmp_path / f"{name}_label.nii.gz", label, label_grid)
        return Study(name, name, "0", tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz")

    return write


@pytest.fixture
def prepare(tmp_path):
    def run(*studies, chain=CHAIN, labels=LABELS, **options):
        return cache_studies(
            studies, folder=tmp_path / "cache", preprocessing=chain, label_map_of=lambda s: labels, **options
        )

    return run


@pytest.fixture
def reads(monkeypatch):
    """The ids of the studies whose image was read."""
    seen = []

    def read(study):
        seen.append(study.study_id)
        return original(study)

    original = load.read_input
    monkeypatch.setattr(load, "read_input", read)
    return seen


def test_cached_voxels_are_those_of_the_chain(study, prepare):
    original = study("a")
    (cached,), broken = prepare(original)
    image = read_input(StudyInput("a", original.image))
    label = read_label(original.label, LABELS)
    ready = preprocess(image, CHAIN)
    classes = preprocess_label(Volume(label.voxels, label.grid), ready, CHAIN).numpy()
    assert broken == {}
    assert (cached.study_id, cached.shape, cached.spacing_mm) == ("a", (8, 7, 6), (2.0, 2.0, 3.0))
    assert (cached.image.dtype, cached.label.dtype) == (np.float16, np.uint8)
    assert np.abs(cached.image - ready.image.numpy()).max() <= 2**-11 / 2  # half a step of float16 below 1
    assert np.array_equal(cached.label, classes)
    assert cached.class_voxels == dict(zip(*np.unique(classes, return_counts=True), strict=True))
    assert set(cached.class_voxels) == {0, 1, 2, 255}


def test_positions_lie_in_their_class_and_are_spread_over_all_of_it(study, prepare, monkeypatch):
    monkeypatch.setattr(cache, "_VOXELS_PER_CLASS", 8)
    (cached,), _ = prepare(study("a"))
    assert set(cached.voxels) == {0, 1, 2, 255}
    for value, positions in cached.voxels.items():
        assert (cached.label.ravel()[positions] == value).all()
        assert min(8, cached.class_voxels[value]) <= len(positions) < 16
        own = np.flatnonzero(cached.label.ravel() == value)
        assert positions[0] == own[0]
        assert positions[-1] > own[3 * len(own) // 4]


def test_second_run_reads_nothing(study, prepare, reads):
    studies = study("a"), study("b")
    first, _ = prepare(*studies)
    second, _ = prepare(*studies)
    assert sorted(reads) == ["a", "b"]
    assert first == second


@pytest.mark.parametrize("change", ["time", "content", "chain", "labels", "remains"])
def test_whatever_made_the_voxels_makes_them_anew_when_it_changes(study, prepare, reads, change):
    original = study("a")
    (first,), _ = prepare(original)
    settings = {}
    if change == "time":
        os.utime(original.label, ns=(1, 1))
    elif change == "content":
        write_labels(original.label, np.ones(GRID.shape, np.uint8), GRID)
    elif change == "chain":
        settings = {"chain": replace(CHAIN, antialias=False)}
    elif change == "labels":
        settings = {"labels": LabelMap({"tumour": (2,), "liver": (1,)}, ignore=(9,))}
    else:  # somebody removed a part of it
        (first.folder / "study.json").unlink()
    (second,), _ = prepare(original, **settings)
    assert reads == ["a", "a"]
    assert (second.folder != first.folder) == (change != "remains")
    assert second.image.shape == (8, 7, 6)
    assert not list(first.folder.parent.glob(".*"))


def test_broken_studies_are_reported_and_the_others_kept_in_order(study, prepare):
    moved = GRID.affine.copy()
    moved[2, 3] = 30.0
    good, cut, shifted, last = (
        study("good"),
        study("cut"),
        study("shifted", label_grid=Grid(GRID.shape, moved)),
        study("last"),
    )
    cut.image.write_bytes(cut.image.read_bytes()[:-20])
    missing, unlabelled = (
        replace(good, study_id="missing", image=good.image.with_name("x.nii")),
        replace(good, label=None),
    )
    seen = []
    studies = good, cut, missing, shifted, replace(unlabelled, study_id="unlabelled"), last
    usable, broken = prepare(*studies, on_done=seen.append)
    assert [s.study_id for s in usable] == ["good", "last"]
    assert list(broken) == ["cut", "missing", "shifted", "unlabelled"]
    assert "cut short" in broken["cut"]
    assert "x.nii" in broken["missing"]
    assert "30.00 mm apart" in broken["shifted"]
    assert "needs a label" in broken["unlabelled"]
    assert sorted(seen) == sorted(s.study_id for s in studies)


def test_failed_write_leaves_nothing(study, prepare, monkeypatch, tmp_path):
    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(cache, "_positions", full)
    assert prepare(study("a")) == ([], {"a": "OSError: No space left on device"})
    assert list((tmp_path / "cache").iterdir()) == []


def test_run_that_comes_second_takes_the_voxels_of_the_first(study, prepare, monkeypatch, reads):
    original = study("a")
    settle = cache._settle

    def overtaken(beside, place):
        monkeypatch.setattr(cache, "_settle", settle)
        prepare(original)  # another run, from start to end
        settle(beside, place)

    monkeypatch.setattr(cache, "_settle", overtaken)
    (cached,), broken = prepare(original)
    assert (reads, broken) == (["a", "a"], {})
    assert list(cached.folder.parent.iterdir()) == [cached.folder]


def test_label_without_foreground_is_a_warning_with_the_studys_name(study, prepare, caplog):
    (cached,), _ = prepare(study("a", label=np.zeros(GRID.shape, np.uint8)))
    assert cached.class_voxels == {0: 8 * 7 * 6}
    assert "a: the label is empty" in caplog.text


def test_memory_maps_stay_behind_when_a_study_is_sent_to_a_worker(study, prepare):
    (cached,), _ = prepare(study("a"))
    assert isinstance(cached.image, np.memmap)
    assert cached.label.sum() + len(cached.voxels) > 0
    sent = pickle.dumps(cached)
    assert len(sent) < 1500
    received = pickle.loads(sent)
    assert received == cached
    assert np.array_equal(received.image, cached.image)


def test_mistakes_of_the_program_are_not_taken_for_broken_studies(study, prepare, monkeypatch):
    monkeypatch.setattr(cache, "preprocess", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(study("a"))


def test_dicom_series_trains_too_and_is_prepared_again_when_a_slice_changes(tmp_path, prepare):
    write_series(tmp_path / "ct", 6)
    image = read_input(StudyInput("ct", tmp_path / "ct"))
    label = np.zeros(image.grid.shape, np.uint8)
    label[1:3, 1:3] = 1
    write_labels(tmp_path / "ct.nii.gz", label, image.grid)
    study = Study("ct", "ct", "0", tmp_path / "ct", tmp_path / "ct.nii.gz")
    (first,), broken = prepare(study)
    assert not broken
    ready = preprocess(image, CHAIN)
    assert np.array_equal(first.image, ready.image.numpy().astype(np.float16))
    os.utime(next((tmp_path / "ct").iterdir()), ns=(1, 1))
    (second,), _ = prepare(study)
    assert second.folder != first.folder


@pytest.mark.parametrize("kind", ["nrrd", "metaimage", "dicom"])
def test_other_formats_give_the_voxels_of_nifti(tmp_path, prepare, ct_series, kind):
    hu = np.random.default_rng(0).integers(-150, 250, GRID.shape).astype(np.int16)
    classes = np.zeros(GRID.shape, np.uint8)
    classes[2:10, 2:8, 1:], classes[4:6, 4:6, 2:4] = 1, 2
    (nifti,), _ = prepare(write_study(tmp_path / "nifti", "a", hu, classes, "nifti", ct_series))
    by_name = LabelMap({"liver": ("liver",), "tumour": ("tumour",)})
    study = write_study(tmp_path / kind, "a", hu, classes, kind, ct_series)
    (other,), broken = prepare(study, labels=by_name if kind == "dicom" else LABELS)
    assert broken == {}
    assert (other.shape, other.spacing_mm, other.class_voxels) == (nifti.shape, nifti.spacing_mm, nifti.class_voxels)
    np.testing.assert_array_equal(other.image, nifti.image)
    np.testing.assert_array_equal(other.label, nifti.label)
    np.testing.assert_array_equal(other.voxels[2], nifti.voxels[2])


def test_another_series_of_the_folder_is_another_study(tmp_path, prepare):
    for prefix, uid, number in (("a", "1.2.3", 4), ("b", "1.2.4", 7)):
        write_series(tmp_path / "ct", 6, prefix=prefix, SeriesInstanceUID=uid, SeriesNumber=number)
    grid = read_input(StudyInput("ct", tmp_path / "ct", "4")).grid
    write_labels(tmp_path / "ct.nii.gz", np.ones(grid.shape, np.uint8), grid)
    study = Study("ct", "ct", "0", tmp_path / "ct", tmp_path / "ct.nii.gz")
    folders = {prepare(replace(study, series=number))[0][0].folder for number in ("4", "7")}
    assert len(folders) == 2
