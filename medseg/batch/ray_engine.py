"""Several machines: an actor with the model for each share of a Ray cluster, studies handed to actors that are free.

The machines need the same medseg, and see inputs, model and output under the same paths.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from medseg.batch.pipeline import SegmentsVolumes, Stages, Task, ignore_stage, segment_task
from medseg.batch.record import Outcome
from medseg.batch.worklist import POLL_S, Worklist
from medseg.errors import CheckpointError, MedsegError

LOST = "its Ray actor was lost: killed, most likely for memory, or its machine went away"
"""Why a study failed whose actors died twice."""

_IN_HAND = 2
"""Studies an actor has at a time: one is predicted while the other is read or written."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Actor:
    handle: Any
    loading: Any
    tasks: dict[Any, Task] = field(default_factory=dict)

    def may_have(self, number: int) -> bool:
        """Whether it is ready for its ``number``-th study; one with an isolated task is not."""
        return self.loading is None and len(self.tasks) < number and not any(t.isolated for t in self.tasks.values())


def run_ray(
    load: Callable[[], SegmentsVolumes], worklist: Worklist, stages: Stages, workers: int, address: str | None = None
) -> None:
    """Work a list off on an existing Ray cluster.

    An actor that is lost is replaced, and what it had in hand is tried once more, each study alone on an actor.

    Args:
        load: called once in every actor.
        worklist: what is to be done.
        stages: how to read and write; picklable but for ``on_stage``, which is called here.
        workers: number of actors; 0 is one a GPU, or one a machine where there are none.
        address: of the cluster; RAY_ADDRESS or the one on this machine by default.

    Raises:
        MedsegError: Ray is not installed, or no cluster answers.
        CheckpointError: the model cannot be loaded.
    """
    ray, ours = _connect(address)
    make = _actor_class(ray, workers)
    actors: list[_Actor] = []
    try:
        start = _starter(make, load, replace(stages, on_stage=ignore_stage))
        actors += [start() for _ in range(workers or _default_workers(ray))]
        while True:
            _hand_out(actors, worklist, stages)
            if worklist.exhausted and not any(actor.tasks for actor in actors):
                return
            awaited = [ref for actor in actors for ref in (*actor.tasks, actor.loading) if ref is not None]
            done, _ = ray.wait(awaited, timeout=None if worklist.exhausted else POLL_S)
            for ref in done:
                actor = next((a for a in actors if ref in a.tasks or ref is a.loading), None)
                if actor is not None and not _receive(ray, actor, ref, worklist):
                    actors[actors.index(actor)] = start()
    finally:
        for actor in actors:
            ray.kill(actor.handle)
        if ours:
            ray.shutdown()


class _Segmenting:
    """What runs in an actor."""

    def __init__(self, load: Callable[[], SegmentsVolumes], stages: Stages) -> None:
        self._stages = stages
        self._predicting = threading.Lock()
        self._broken = ""
        try:
            self._segmenter = load()
        except Exception as error:
            self._broken = str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"

    def broken(self) -> str:
        """Why the model could not be loaded, "" if it could."""
        return self._broken

    def segment(self, task: Task) -> Outcome:
        """Segment one study."""
        return segment_task(self._segmenter, task, self._stages, self._predicting)


def _connect(address: str | None) -> tuple[Any, bool]:
    """Ray, connected, and whether it was this call that did it."""
    try:
        import ray
    except ImportError as error:
        raise MedsegError(f"--engine ray needs Ray ({error}): pip install 'medseg[ray]'") from error
    if ray.is_initialized():
        return ray, False
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise MedsegError(
            f"no Ray cluster answers at {address!r}: start one with `ray start --head` (on further machines "
            "`ray start --address=<head>:6379`) or set RAY_ADDRESS; one machine needs no Ray: --workers"
        ) from error
    return ray, True


def _default_workers(ray: Any) -> int:
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return gpus or sum(bool(node["Alive"]) for node in ray.nodes())


def _actor_class(ray: Any, workers: int) -> Any:
    """The actor with its share of the cluster's cores and cards."""
    total, workers = ray.cluster_resources(), workers or _default_workers(ray)
    cpus, gpus = max(1, int(total.get("CPU", 1)) // workers), float(total.get("GPU", 0)) / workers
    return ray.remote(_Segmenting).options(
        num_cpus=cpus, num_gpus=float(int(gpus)) if gpus >= 1 else gpus, max_concurrency=_IN_HAND, max_restarts=0
    )


def _starter(make: Any, load: Callable[[], SegmentsVolumes], stages: Stages) -> Callable[[], _Actor]:
    def start() -> _Actor:
        handle = make.remote(load, stages)
        return _Actor(handle, handle.broken.remote())

    return start


def _hand_out(actors: list[_Actor], worklist: Worklist, stages: Stages) -> None:
    """One study to everybody who is free, then a second; near the end none, where it might wait behind a slow one."""
    for number in range(1, _IN_HAND + 1):
        for actor in actors:
            if actor.may_have(number) and (number == 1 or len(worklist) > len(actors)):
                task = worklist.next(idle=not actor.tasks)
                if task is not None:
                    stages.on_stage(task.study.study_id, "segment")
                    actor.tasks[actor.handle.segment.remote(task)] = task


def _receive(ray: Any, actor: _Actor, ref: Any, worklist: Worklist) -> bool:
    """Take what has come; False if the actor was lost."""
    try:
        content = ray.get(ref)
    except ray.exceptions.RayError as error:
        logger.warning("a Ray actor was lost: %s", " ".join(str(error).split())[:300])
        worklist.lost(list(actor.tasks.values()), LOST)
        ray.kill(actor.handle)
        return False
    if ref is actor.loading:
        if content:
            raise CheckpointError(content)
        actor.loading = None
    else:
        del actor.tasks[ref]
        worklist.finish(content)
    return True
