"""Scoring many studies, in this process or in several; one that is killed costs at most its own study."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from pathlib import Path

from medseg.errors import ConfigError, reason
from medseg.evaluation.files import score_files
from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Failure
from medseg.evaluation.scores import StudyScores
from medseg.types import LabelMap

OnDone = Callable[[str, int, int], None]
"""Called after each study with its id, how many are done, and how many there are."""

Outcome = StudyScores | Failure


ATTEMPTS_ISOLATED = 2
"""A study may have been handed to a process that died before it began: its first death alone may be its first."""


@dataclass(frozen=True)
class Job:
    """One study to score; the arguments of ``files.score_files``."""

    study_id: str
    reference: Path
    segmentation: Path
    reference_map: LabelMap
    segmentation_map: LabelMap
    options: ScoringOptions
    resample_segmentation: bool = False


def score_job(job: Job) -> Outcome:
    """Score one study; whatever is wrong with it becomes its failure.

    Raises:
        ConfigError: wrong for every study alike.
    """
    try:
        return score_files(
            job.study_id,
            job.reference,
            job.segmentation,
            job.reference_map,
            job.segmentation_map,
            job.options,
            resample_segmentation=job.resample_segmentation,
        )
    except ConfigError:
        raise
    except Exception as error:
        return Failure(job.study_id, reason(job.study_id, error))


def score_jobs(
    jobs: Sequence[Job],
    workers: int = 1,
    on_done: OnDone | None = None,
    *,
    score: Callable[[Job], Outcome] = score_job,
) -> list[Outcome]:
    """Score studies.

    A process that is killed takes those beside it along, and which of them was killed is not known. So what all of
    them had in hand is tried again, each study alone in a fresh process; one that is killed twice alone becomes a
    failure.

    Args:
        jobs: the studies.
        workers: processes; each holds one study at a time. 1 stays in this process.
        on_done: called here, in the order in which studies end.
        score: scores one study; picklable where there are several workers.

    Returns:
        One outcome a job, in the jobs' order.

    Raises:
        ConfigError: wrong for every study alike, or less than one worker.
    """
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, found {workers}")
    outcomes: dict[int, Outcome] = {}
    parallel = workers > 1 and len(jobs) > 1
    for index, outcome in _in_processes(jobs, workers, score) if parallel else _here(jobs, score):
        outcomes[index] = outcome
        if on_done is not None:
            on_done(jobs[index].study_id, len(outcomes), len(jobs))
    return [outcomes[index] for index in range(len(jobs))]


def _here(jobs: Sequence[Job], score: Callable[[Job], Outcome]) -> Iterator[tuple[int, Outcome]]:
    yield from ((index, score(job)) for index, job in enumerate(jobs))


def _in_processes(jobs: Sequence[Job], workers: int, score: Callable[[Job], Outcome]) -> Iterator[tuple[int, Outcome]]:
    waiting = iter(range(len(jobs)))
    while suspects := (yield from _until_broken(jobs, waiting, workers, score)):
        for index in suspects:
            for _attempt in range(ATTEMPTS_ISOLATED):
                if not (yield from _until_broken(jobs, iter([index]), 1, score)):
                    break
            else:
                yield index, Failure(jobs[index].study_id, "its process was killed twice, most likely for memory")


def _until_broken(
    jobs: Sequence[Job], waiting: Iterator[int], workers: int, score: Callable[[Job], Outcome]
) -> Generator[tuple[int, Outcome], None, list[int]]:
    """One pool's life; returns what it had in hand when it broke, nothing if it came to the end."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    running: dict[Future[Outcome], int] = {}
    lost: list[int] = []
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_live_with_parent) as pool:
        while True:
            # no more than one a process is handed out: what waits in the pool's own queue would be lost with it
            while not lost and len(running) < workers and (index := next(waiting, None)) is not None:
                try:
                    running[pool.submit(score, jobs[index])] = index
                except BrokenProcessPool:
                    lost.append(index)
            if not running:
                return lost
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lost.append(index)
                else:
                    yield index, outcome


def _live_with_parent() -> None:
    """Without the process that started it, a worker would wait for its next study for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
