import os
import signal
from pathlib import Path

import pytest

from medseg.errors import ConfigError
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Failure
from medseg.evaluation.workers import Job, Outcome, score_job, score_jobs
from medseg.types import LabelMap

LIVER = LabelMap({"liver": (1,)})


def job(study_id: str, folder: Path = Path("nowhere")) -> Job:
    return Job(study_id, folder / "reference.nii", folder / "segmentation.nii", LIVER, LIVER, ScoringOptions())


def pid(job: Job) -> Outcome:
    """Stands in for a score: which process had the study. "fatal" kills it, "once" does so the first time."""
    mark = job.reference.with_name(f"{job.study_id}.tried")
    if job.study_id == "fatal" or (job.study_id == "once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job.study_id == "wrong":
        raise ConfigError("wrong for every study")
    return Failure(job.study_id, str(os.getpid()))


def test_a_study_that_breaks_becomes_its_failure():
    outcome = score_job(job("a"))
    assert isinstance(outcome, Failure)
    assert (outcome.study_id, outcome.reason) == ("a", "no such file (nowhere/reference.nii)")


def test_one_worker_stays_in_this_process_and_keeps_the_order():
    seen = []
    outcomes = score_jobs([job("b"), job("a")], 1, lambda *args: seen.append(args), score=pid)
    assert outcomes == [Failure("b", str(os.getpid())), Failure("a", str(os.getpid()))]
    assert seen == [("b", 1, 2), ("a", 2, 2)]
    assert score_jobs([], 4) == []


def test_a_killed_process_costs_its_own_study_alone(tmp_path):
    names = ["a", "once", "fatal", "b"]
    seen = []
    outcomes = score_jobs([job(n, tmp_path) for n in names], 2, lambda name, *_: seen.append(name), score=pid)
    assert [outcome.study_id for outcome in outcomes] == names
    assert sorted(seen) == sorted(names)
    reasons = {outcome.study_id: outcome.reason for outcome in outcomes}
    assert reasons["fatal"] == "its process was killed twice, most likely for memory"
    assert str(os.getpid()) not in reasons.values()
    assert all(reasons[name].isdigit() for name in names if name != "fatal")


def test_what_is_wrong_for_every_study_stops_all(tmp_path):
    with pytest.raises(ConfigError, match="wrong for every study"):
        score_jobs([job("a", tmp_path), job("wrong", tmp_path)], 2, score=pid)
    with pytest.raises(ConfigError, match="workers: expected at least 1, found 0"):
        score_jobs([job("a")], 0)
