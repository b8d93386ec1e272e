"""Read, predict and write: one study after the other, the stages of successive studies overlapped in threads.

While a study is predicted, the next one is read and the one before is written, so at most three volumes are in memory.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from medseg.batch.record import Outcome, now
from medseg.errors import StudyError, reason
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.types import StudyInput, Volume

Read = Callable[[StudyInput], Volume]
"""Reads a study."""

Write = Callable[[Segmentation, Volume, Path, str], Path]
"""Writes a study's outputs into a folder, the label map <study_id>.nii.gz last, and returns its path."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class SegmentsVolumes(Protocol):
    """What the batch needs of a segmenter."""

    def segment(self, image: Volume, request: Request = Request(), /) -> Segmentation:
        """Segment one CT."""
        ...


def ignore_stage(study_id: str, stage: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Stages:
    """What is done with every study.

    Attributes:
        read: reads it.
        write: writes what was made of it.
        output: folder of the outputs.
        request: what is asked of the segmenter.
        on_stage: called with the study's id and ``read``, ``predict`` or ``write``, from several threads.
    """

    read: Read
    write: Write
    output: Path
    request: Request = Request()
    on_stage: Callable[[str, str], None] = ignore_stage


@dataclass(frozen=True)
class Task:
    """One study that is to be segmented.

    Attributes:
        study: which.
        input_digest: of its files, as they were before they were read.
        fingerprint: of the model and settings.
        isolated: no other study may be in the same process with it: its first process was killed, and who was to blame?
    """

    study: StudyInput
    input_digest: str = ""
    fingerprint: str = ""
    isolated: bool = False


@dataclass
class _Job:
    """A task on its way through the stages."""

    task: Task
    started: float = field(default_factory=time.monotonic)
    why: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    volume: Volume | None = None
    segmentation: Segmentation | None = None


def label_map_path(output: Path, study_id: str) -> Path:
    """Where a study's label map lies."""
    return output / f"{study_id}.nii.gz"


def run_pipeline(
    segmenter: SegmentsVolumes,
    tasks: Iterator[Task],
    stages: Stages,
    finish: Callable[[Outcome], None],
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Segment all tasks; an error in any stage belongs to its study alone.

    Args:
        segmenter: used in the calling thread only.
        tasks: asked for the next one in a thread, when there is room for it; may wait.
        stages: how to read and write.
        finish: called with every outcome, in order, from the thread that writes.
        stop: called when an interruption ends it early; ``tasks`` must then come to its end. What is being written
            is finished, what is being read or predicted is dropped.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        writing: Future[None] | None = None
        ahead = reader.submit(_read_next, tasks, stages)
        try:
            while (job := ahead.result()) is not None:
                ahead = reader.submit(_read_next, tasks, stages)
                _predict(job, segmenter, stages)
                if writing:
                    writing.result()
                writing = writer.submit(_write, job, stages, finish)
            if writing:
                writing.result()
        except BaseException:
            stop()
            raise


def segment_task(
    segmenter: SegmentsVolumes,
    task: Task,
    stages: Stages,
    predicting: threading.Lock | None = None,
) -> Outcome:
    """Segment one study in the calling thread; ``predicting`` is held for the time of the prediction."""
    outcomes: list[Outcome] = []
    job = _read(task, stages)
    _predict(job, segmenter, stages, predicting or nullcontext())
    _write(job, stages, outcomes.append)
    return outcomes[0]


def _read_next(tasks: Iterator[Task], stages: Stages) -> _Job | None:
    task = next(tasks, None)
    return None if task is None else _read(task, stages)


def _read(task: Task, stages: Stages) -> _Job:
    def read() -> Volume:
        study, place = task.study, label_map_path(stages.output, task.study.study_id)
        if place.parent != stages.output or "\0" in place.name:
            raise StudyError(f"{study.study_id!r} cannot name a file in {stages.output}; choose another study id")
        if os.path.realpath(study.path) == os.path.realpath(place):  # resolve() raises where links run in a circle
            raise StudyError(f"{study.path}: the segmentation would replace its own image; choose another output")
        return stages.read(study)

    job = _Job(task)
    job.volume = _attempt(job, "read", read, stages)
    return job


def _predict(
    job: _Job, segmenter: SegmentsVolumes, stages: Stages, turn: AbstractContextManager[object] | None = None
) -> None:
    def predict() -> Segmentation:
        assert job.volume is not None
        return segmenter.segment(job.volume, stages.request)

    if not job.why:
        with turn or nullcontext():
            job.segmentation = _attempt(job, "predict", predict, stages)


def _write(job: _Job, stages: Stages, finish: Callable[[Outcome], None]) -> None:
    study_id = job.task.study.study_id

    def write() -> Path:
        assert job.segmentation is not None
        assert job.volume is not None
        return stages.write(job.segmentation, job.volume, stages.output, study_id)

    path = _attempt(job, "write", write, stages)
    outcome = Outcome(
        study_id,
        status="failed" if job.why else "ok",
        reason=job.why,
        segmentation="" if job.why else str(path),
        **{f"{stage}_s": round(seconds, 3) for stage, seconds in job.seconds.items()},
        total_s=round(time.monotonic() - job.started, 3),
        peak_gib=peak_gib(),
        voxels=0 if job.volume is None else int(job.volume.voxels.size),
        notes=() if job.segmentation is None else tuple(job.segmentation.notes),
        fingerprint=job.task.fingerprint,
        input_digest=job.task.input_digest,
        ended=now(),
    )
    finish(outcome)


def _attempt(job: _Job, stage: str, work: Callable[[], T], stages: Stages) -> T | None:
    """Do a stage unless an earlier one failed; whatever it raises becomes the study's reason."""
    if job.why:
        return None
    study_id = job.task.study.study_id
    stages.on_stage(study_id, stage)
    started = time.monotonic()
    try:
        return work()
    except Exception as error:  # the next study may well succeed, whatever this one did to a library
        job.why = reason(study_id, error)
        logger.debug("%s: failed in stage %s", study_id, stage, exc_info=True)
        return None
    finally:
        job.seconds[stage] = time.monotonic() - started


def peak_gib() -> float:
    """The most memory that this process ever held, in GiB; 0 where the platform does not count it."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    in_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return round(in_bytes / 2**30, 3)
