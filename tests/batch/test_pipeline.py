"""The three stages: overlapped, bounded, and each error its study's own."""

import errno
import threading
import weakref
from functools import partial

import numpy as np
import pytest

from medseg.batch.pipeline import Stages, Task, peak_gib, run_pipeline, segment_task
from medseg.errors import StudyError
from medseg.inference.result import Segmentation
from medseg.types import Grid, StudyInput, Volume

VOLUME = Volume(np.ones((2, 3, 4), np.int16), Grid((2, 3, 4), np.eye(4)))


class Stub:
    """Segments everything as class 0; ``act`` is called first."""

    def __init__(self, act=lambda image: None):
        self.act = act

    def segment(self, image, request):
        self.act(image)
        return Segmentation(np.zeros(image.grid.shape, np.uint8), ("liver",), notes=("a note",))


def tasks(output, *names):
    return iter([Task(StudyInput(name, output / f"{name}.in"), f"digest {name}", "print") for name in names])


def write(segmentation, image, folder, study_id):
    path = folder / f"{study_id}.nii.gz"
    path.touch()
    return path


def run(output, names, *, act=lambda image: None, read=lambda study: VOLUME, write=write, on_stage=lambda *a: None):
    outcomes = []
    run_pipeline(Stub(act), tasks(output, *names), Stages(read, write, output, on_stage=on_stage), outcomes.append)
    return outcomes


def test_outcome_says_what_was_made_of_what(tmp_path):
    (outcome,) = run(tmp_path, "a")
    assert (outcome.study_id, outcome.status, outcome.reason) == ("a", "ok", "")
    assert outcome.segmentation == str(tmp_path / "a.nii.gz")
    assert (outcome.voxels, outcome.notes) == (24, ("a note",))
    assert (outcome.fingerprint, outcome.input_digest) == ("print", "digest a")
    assert 0 <= outcome.read_s + outcome.predict_s + outcome.write_s <= outcome.total_s + 0.002
    assert 0 < outcome.peak_gib <= peak_gib()


@pytest.mark.parametrize("stage", ["read", "predict", "write"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StudyError("a\nb"), "a b"),
        (OSError(errno.ENOSPC, "No space left"), "OSError: [Errno 28] No space left"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_any_error_in_any_stage_is_one_line_of_its_study_alone(tmp_path, stage, error, reason):
    def bad(study):
        return Volume(VOLUME.voxels, VOLUME.grid, header=study.study_id)

    def fail(name):
        if name == "b":
            raise error

    stages = {
        "read": {"read": lambda study: fail(study.study_id) or VOLUME},
        "predict": {"read": bad, "act": lambda image: fail(image.header)},
        "write": {"write": lambda s, image, folder, name: fail(name) or write(s, image, folder, name)},
    }
    outcomes = run(tmp_path, "abc", **stages[stage])
    assert [(o.study_id, o.status, o.reason) for o in outcomes] == [
        ("a", "ok", ""),
        ("b", "failed", reason),
        ("c", "ok", ""),
    ]
    assert outcomes[1].segmentation == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "c.nii.gz"]


def test_next_is_read_and_last_is_written_while_one_is_predicted(tmp_path):
    """Study b's prediction waits until c is read and a is about to be written: without overlap it waits in vain."""
    read_c, write_a = threading.Event(), threading.Event()

    def read(study):
        if study.study_id == "c":
            read_c.set()
        return Volume(VOLUME.voxels, VOLUME.grid, header=study.study_id)

    def act(image):
        if image.header == "b":
            assert read_c.wait(10)
            assert write_a.wait(10)

    def write_when(segmentation, image, folder, study_id):
        if study_id == "a":
            write_a.set()
        return write(segmentation, image, folder, study_id)

    assert [o.reason for o in run(tmp_path, "abc", act=act, read=read, write=write_when)] == ["", "", ""]


def test_no_more_than_three_volumes_are_alive(tmp_path):
    alive, most = set(), [0]

    def read(study):
        voxels = np.ones((2, 3, 4), np.int16)
        alive.add(study.study_id)
        weakref.finalize(voxels, alive.remove, study.study_id)
        most[0] = max(most[0], len(alive))
        return Volume(voxels, VOLUME.grid)

    assert len(run(tmp_path, "abcdefgh", read=read)) == 8
    assert most[0] <= 3
    assert alive == set()


def test_stages_are_told_in_order(tmp_path):
    seen = []
    run(tmp_path, "a", on_stage=lambda study_id, stage: seen.append((study_id, stage)))
    assert seen == [("a", "read"), ("a", "predict"), ("a", "write")]


def test_interruption_finishes_the_file_being_written_and_begins_no_more(tmp_path):
    writing, stopped = threading.Event(), threading.Event()
    outcomes = []

    def act(image):
        if image.header == "b":
            assert writing.wait(10)
            raise KeyboardInterrupt

    def slow(segmentation, image, folder, study_id):
        writing.set()
        assert stopped.wait(10)
        return write(segmentation, image, folder, study_id)

    def endless():
        yield from tasks(tmp_path, "a", "b", "c")
        stopped.wait(10)

    read = lambda study: Volume(VOLUME.voxels, VOLUME.grid, header=study.study_id)  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(Stub(act), endless(), Stages(read, slow, tmp_path), outcomes.append, stopped.set)
    assert [o.study_id for o in outcomes] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("study_id", ["../up", "a/b", "a\0b"])
def test_study_id_that_leaves_the_output_folder_is_refused(tmp_path, study_id):
    (outcome,) = run(tmp_path, [study_id])
    assert "cannot name a file" in outcome.reason


def test_image_in_the_place_of_its_label_map_is_refused(tmp_path):
    task = Task(StudyInput("a", tmp_path / "a.nii.gz"))
    outcome = segment_task(Stub(), task, Stages(lambda study: VOLUME, write, tmp_path))
    assert "would replace its own image" in outcome.reason
    assert list(tmp_path.iterdir()) == []


def test_one_task_holds_its_turn_for_the_prediction_alone(tmp_path):
    turn = threading.Lock()
    held = []
    stages = Stages(
        lambda study: held.append(turn.locked()) or VOLUME,
        lambda *a: held.append(turn.locked()) or write(*a),
        tmp_path,
    )
    segmenter = Stub(lambda image: held.append(turn.locked()))
    outcome = segment_task(segmenter, next(partial(tasks, tmp_path)("a")), stages, turn)
    assert (outcome.status, held) == ("ok", [False, True, False])


def test_no_tasks_have_no_outcomes(tmp_path):
    assert run(tmp_path, "") == []
