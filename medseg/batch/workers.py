"""Several processes on one machine, each with the model loaded once; one that is killed costs at most its own study."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from medseg.batch.pipeline import SegmentsVolumes, Stages, Task, ignore_stage, run_pipeline
from medseg.batch.record import Outcome
from medseg.batch.worklist import POLL_S, Worklist
from medseg.errors import CheckpointError, MedsegError

Load = Callable[[], SegmentsVolumes]
"""Loads the model; goes to other processes, so it must be picklable."""

_LEAVING_S = 30.0
"""Time that an interrupted worker has to finish the file that it is writing."""

_STILLBORN = 3
"""Workers in a row that may be killed before they have loaded the model."""


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    loaded: bool = False
    asking: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Asks for a task, and may be given one: a task that must be alone is."""
        return self.asking and not any(task.alone for task in self.tasks.values())


def run_workers(load: Load, worklist: Worklist, stages: Stages, workers: int) -> None:
    """Work a list off with several processes; each asks for its next study when it has room to read it.

    A worker that is killed is replaced, and what it had in hand is tried once more, each study alone in its process.

    Args:
        load: called once in every worker.
        worklist: what is to be done.
        stages: how to read and write; picklable but for ``on_stage``, which is called here.
        workers: number of processes, at least 1.

    Raises:
        CheckpointError: the model cannot be loaded.
        MedsegError: worker after worker is killed while it loads the model.
    """
    crew = [_start(load, stages, workers) for _ in range(workers)]
    stillborn = 0
    try:
        while True:
            _hand_out(crew, worklist)
            if worklist.exhausted and not any(worker.tasks for worker in crew):
                break
            patience = None if worklist.exhausted else POLL_S  # another run's studies may be let go
            for connection in wait([worker.connection for worker in crew], patience):
                worker = next(w for w in crew if w.connection is connection)
                if _hear(worker, worklist, stages):
                    stillborn = 0 if worker.loaded else stillborn
                    continue
                stillborn += not worker.loaded
                why = _how_it_ended(worker.process)
                if stillborn >= _STILLBORN:
                    raise MedsegError(f"{_STILLBORN} workers in a row ended while loading the model ({why}); use fewer")
                crew[crew.index(worker)] = _start(load, stages, workers)
                worklist.lost(list(worker.tasks.values()), why)
        for worker in crew:
            _send(worker, None)
            worker.process.join()
    finally:
        _dismiss(crew)


def _start(load: Load, stages: Stages, workers: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that torch's threads hold
    ours, theirs = context.Pipe()
    arguments = (theirs, load, replace(stages, on_stage=ignore_stage), workers)
    process = context.Process(target=_work, args=arguments, daemon=True, name="medseg worker")
    process.start()
    theirs.close()  # or the end of the worker would not be heard
    return _Worker(process, ours)


def _hand_out(crew: list[_Worker], worklist: Worklist) -> None:
    """Whoever is free gets the next; near the end none is given ahead, where it might wait behind a slow one."""
    for worker in crew:
        if worker.free and (not worker.tasks or len(worklist) > len(crew)):
            task = worklist.next(alone=not worker.tasks)
            if task is not None:
                worker.asking = False
                worker.tasks[task.study.study_id] = task
                _send(worker, task)


def _send(worker: _Worker, task: Task | None) -> None:
    try:
        worker.connection.send(task)
    except OSError:  # it has died; the next look at its connection says so
        return


def _hear(worker: _Worker, worklist: Worklist, stages: Stages) -> bool:
    """Take one message; False if the worker has died."""
    try:
        kind, content = worker.connection.recv()
    except (EOFError, OSError):
        worker.connection.close()
        worker.process.join()
        return False
    if kind == "ask":
        worker.asking = worker.loaded = True
    elif kind == "stage":
        stages.on_stage(*content)
    elif kind == "done":
        worker.tasks.pop(content.study_id)
        worklist.finish(content)
    else:
        raise CheckpointError(content)
    return True


def _how_it_ended(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code == -signal.SIGKILL:
        return "killed, most likely for memory"
    return f"its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _dismiss(crew: list[_Worker]) -> None:
    for worker in crew:
        worker.connection.close()
        if worker.process.is_alive():
            worker.process.terminate()
    for worker in crew:
        worker.process.join(_LEAVING_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(connection: Connection, load: Load, stages: Stages, workers: int) -> None:
    """A worker's life; its interruptions come from the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    speaking = threading.Lock()
    stopped = threading.Event()

    def say(kind: str, content: Any = None) -> None:
        try:
            with speaking:
                connection.send((kind, content))
        except OSError:  # nobody listens any more
            stopped.set()

    def tell(outcome: Outcome) -> None:
        say("done", outcome)

    def tasks() -> Iterator[Task]:
        while True:
            say("ask")
            while not stopped.is_set() and not connection.poll(POLL_S):
                continue
            task = None if stopped.is_set() else connection.recv()
            if task is None:
                return
            yield task

    try:
        _share_cores(workers)
        try:
            segmenter = load()
        except Exception as error:
            say("broken", str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}")
            return
        told = replace(stages, on_stage=lambda study_id, stage: say("stage", (study_id, stage)))
        run_pipeline(segmenter, tasks(), told, tell, stopped.set)
    except (KeyboardInterrupt, EOFError, ConnectionError):
        return


def _share_cores(workers: int) -> None:
    torch = sys.modules.get("torch")  # unpickling ``load`` has imported what it needs
    if torch is not None:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _end_with_parent() -> None:
    """Without the process that started it, a worker would go on with a study whose claim is already another run's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
