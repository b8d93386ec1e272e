"""Several processes on one machine, each with the model loaded once; one that is killed costs at most its own study."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from medseg.batch.pipeline import SegmentsVolumes, Stages, Task, ignore_stage, run_pipeline
from medseg.batch.worklist import POLL_S, Worklist
from medseg.errors import CheckpointError, MedsegError
from medseg.signals import interrupt_on_sigterm

Load = Callable[[], SegmentsVolumes]
"""Loads the model; goes to other processes, so it must be picklable."""

_LEAVING_S = 30.0
"""Time that an interrupted worker has to finish the file that it is writing."""

_FAILED_STARTS = 3
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
        """Asks for a task, and may be given one: beside an isolated task it may not."""
        return self.asking and not any(task.isolated for task in self.tasks.values())


def run_workers(load: Load, worklist: Worklist, stages: Stages, num_workers: int) -> None:
    """Work a list off with several processes; each asks for its next study when it has room to read it.

    A worker that is killed is replaced, and what it had in hand is tried once more, each study alone in its process.

    Args:
        load: called once in every worker.
        worklist: what is to be done.
        stages: how to read and write; picklable but for ``on_stage``, which is called here.
        num_workers: how many processes, at least 1.

    Raises:
        CheckpointError: the model cannot be loaded.
        MedsegError: worker after worker is killed while it loads the model.
    """
    workers = [_start(load, stages, num_workers) for _ in range(num_workers)]
    failed_starts = 0
    try:
        while True:
            _hand_out(workers, worklist)
            if worklist.exhausted and not any(worker.tasks for worker in workers):
                break
            patience = None if worklist.exhausted else POLL_S  # another run's studies may be let go
            for connection in wait([worker.connection for worker in workers], patience):
                worker = next(w for w in workers if w.connection is connection)
                if _receive(worker, worklist, stages):
                    failed_starts = 0 if worker.loaded else failed_starts
                    continue
                failed_starts += not worker.loaded
                why = _how_it_ended(worker.process)
                if failed_starts >= _FAILED_STARTS:
                    raise MedsegError(
                        f"{_FAILED_STARTS} workers in a row ended while loading the model ({why}); use fewer"
                    )
                workers[workers.index(worker)] = _start(load, stages, num_workers)
                worklist.lost(list(worker.tasks.values()), why)
        for worker in workers:
            _send(worker, None)
            worker.process.join()
    finally:
        _dismiss(workers)


def _start(load: Load, stages: Stages, num_workers: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that torch's threads hold
    ours, theirs = context.Pipe()
    arguments = (theirs, load, replace(stages, on_stage=ignore_stage), num_workers)
    process = context.Process(target=_work, args=arguments, daemon=True, name="medseg worker")
    process.start()
    theirs.close()  # or the worker's end of it would stay open after its death
    return _Worker(process, ours)


def _hand_out(workers: list[_Worker], worklist: Worklist) -> None:
    """Whoever is free gets the next; near the end none is given ahead, where it might wait behind a slow one."""
    for worker in workers:
        if worker.free and (not worker.tasks or len(worklist) > len(workers)):
            task = worklist.next(idle=not worker.tasks)
            if task is not None:
                worker.asking = False
                worker.tasks[task.study.study_id] = task
                _send(worker, task)


def _send(worker: _Worker, task: Task | None) -> None:
    try:
        worker.connection.send(task)
    except OSError:  # it has died; the next look at its connection says so
        return


def _receive(worker: _Worker, worklist: Worklist, stages: Stages) -> bool:
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


def _dismiss(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.connection.close()
        if worker.process.is_alive():
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_LEAVING_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


@interrupt_on_sigterm()
def _work(connection: Connection, load: Load, stages: Stages, num_workers: int) -> None:
    """A worker's life; its interruptions come from the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sending = threading.Lock()
    stopped = threading.Event()

    def send(kind: str, content: Any = None) -> None:
        try:
            with sending:
                connection.send((kind, content))
        except OSError:  # nobody listens any more
            stopped.set()

    def tasks() -> Iterator[Task]:
        while True:
            send("ask")
            while not stopped.is_set() and not connection.poll(POLL_S):
                continue
            task = None if stopped.is_set() else connection.recv()
            if task is None:
                return
            yield task

    try:
        _share_cores(num_workers)
        try:
            segmenter = load()
        except Exception as error:
            send("broken", str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}")
            return
        remote = replace(stages, on_stage=lambda study_id, stage: send("stage", (study_id, stage)))
        run_pipeline(segmenter, tasks(), remote, partial(send, "done"), stopped.set)
    except (KeyboardInterrupt, EOFError, ConnectionError):
        return


def _share_cores(num_workers: int) -> None:
    torch = sys.modules.get("torch")  # unpickling ``load`` has imported what it needs
    if torch is not None:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))


def _end_with_parent() -> None:
    """Without the process that started it, a worker would go on with a study whose claim is already another run's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
