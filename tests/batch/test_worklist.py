"""The list of what is left: other runs' studies come last, the lost once more, and each ends once."""

import os

import pytest

from medseg.batch.claims import Claims
from medseg.batch.record import RECORD, Outcome
from medseg.batch.worklist import Worklist


@pytest.fixture
def make(tmp_path):
    """Lists of one folder, each as of another run."""
    opened = []

    def make(inputs, **options):
        opened.append(Claims(tmp_path).__enter__())
        return Worklist(inputs, tmp_path, opened[-1], **{"fingerprint": "f", **options})

    yield make
    for claims in opened:
        claims.__exit__(None, None, None)


def done(tmp_path, task, status="ok"):
    study_id = task.study.study_id
    (tmp_path / f"{study_id}.nii.gz").touch()
    return Outcome(study_id, status, fingerprint=task.fingerprint, input_digest=task.input_digest)


def test_tasks_come_in_order_with_what_their_line_will_say(make, numbers):
    inputs = numbers(1, 2)
    worklist = make(inputs)
    tasks = [worklist.next(), worklist.next(), worklist.next()]
    assert [task.study if task else None for task in tasks] == [*inputs, None]
    assert (tasks[0].fingerprint, len(tasks[0].input_digest), tasks[0].isolated) == ("f", 32, False)
    assert worklist.exhausted


def test_study_of_another_run_comes_last_and_is_skipped_once_that_has_done_it(make, numbers, tmp_path):
    one, two = make(numbers(1, 2)), make(numbers(1, 2))
    a, b = one.next(), two.next()
    assert (a.study.study_id, b.study.study_id) == ("a", "b")
    assert two.next() is None
    assert not two.exhausted
    one.finish(done(tmp_path, a))
    assert two.next() is None
    assert two.exhausted
    assert two.outcomes["a"].status == "skipped"


def test_study_that_failed_in_another_run_meanwhile_is_not_tried_twice(make, numbers, tmp_path):
    one, two = make(numbers(1)), make(numbers(1))
    task = one.next()
    assert two.next() is None
    one.finish(done(tmp_path, task, "failed"))
    assert two.next() is None
    assert two.outcomes["a"].status == "failed"
    assert len((tmp_path / RECORD).read_text().splitlines()) == 1
    assert make(numbers(1)).next() is not None  # but a later run tries


def test_study_that_another_run_gave_up_is_taken_over(make, numbers):
    one, two = make(numbers(1)), make(numbers(1))
    one.next()
    assert two.next() is None
    one._claims.release("a")  # as when its process is killed
    assert two.next().study.study_id == "a"


def test_two_runs_with_again_do_each_study_once(make, numbers, tmp_path):
    first = make(numbers(1))
    first.finish(done(tmp_path, first.next()))
    one, two = make(numbers(1), again=True), make(numbers(1), again=True)
    one.finish(done(tmp_path, one.next()))
    assert two.next() is None
    assert two.outcomes["a"].status == "skipped"


def test_changed_input_is_not_skipped(make, numbers, tmp_path):
    inputs = numbers(1)
    worklist = make(inputs)
    worklist.finish(done(tmp_path, worklist.next()))
    assert make(inputs).next() is None
    os.utime(inputs[0].path, ns=(1, 1))
    assert make(inputs).next() is not None


def test_lost_study_is_tried_once_more_isolated_and_then_has_failed(make, numbers):
    worklist = make(numbers(1, 2))
    task = worklist.next()
    worklist.lost([task], "killed")
    other = worklist.next(idle=False)
    assert other.study.study_id == "b"
    assert worklist.next(idle=False) is None
    assert not worklist.exhausted
    second = worklist.next()
    assert (second.study, second.isolated) == (task.study, True)
    worklist.lost([second], "killed, most likely for memory")
    assert worklist.outcomes["a"].reason == "killed, most likely for memory"
    assert worklist.exhausted


def test_stopped_list_hands_out_nothing(make, numbers):
    worklist = make(numbers(1, 2, 3))
    tasks = worklist.tasks()
    worklist.lost([next(tasks)], "killed")
    worklist.stop()
    assert (list(tasks), worklist.next(), worklist.exhausted) == ([], None, True)
