"""The training loop: steps, epochs, validation, checkpoints, budget; killed at any moment it goes on as if it were not.

Two facts make that exact: batch b of every stream is a pure function of (seed, b), and the random state of a step
(dropout) is seeded by (seed, step). What is left - weights, optimiser, averages, sums, best score - is the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medseg.data.loaders import Stream
from medseg.model.folder import load_weights
from medseg.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from medseg.training.distributed import ALONE, World, any_process, from_main
from medseg.training.objective import Batch, Objective
from medseg.training.settings import Training
from medseg.training.step import train_step
from medseg.training.trainee import Trainee


@dataclass(frozen=True)
class FitHooks:
    """What the loop calls; all of it on the main process.

    Attributes:
        validate: network -> metrics; ``score`` among them decides which weights are best. None: no validation.
        on_step: after each optimiser step, with the state.
        on_epoch: after each epoch, with the state; the last row of its history is the epoch's.
        should_stop: a reason to save and stop now, or "".
    """

    validate: Callable[[nn.Module], Mapping[str, float]] | None = None
    on_step: Callable[[TrainingState], None] = lambda state: None
    on_epoch: Callable[[TrainingState], None] = lambda state: None
    should_stop: Callable[[], str] = lambda: ""


def fit(
    trainee: Trainee,
    objective: Objective,
    streams: Mapping[str, Stream],
    settings: Training,
    hooks: FitHooks,
    *,
    checkpoints: Path,
    resume: bool = False,
    world: World = ALONE,
) -> TrainingState:
    """Train until the last epoch, the budget, early stopping or a reason to stop.

    Args:
        trainee: network, optimiser, average.
        objective: what is minimised.
        streams: what it is minimised on, by name; the objective gets a batch of each.
        settings: the loop's settings.
        hooks: validation, reporting, stopping.
        checkpoints: folder of last.ckpt and best.ckpt.
        resume: go on from last.ckpt instead of starting anew.
        world: this process among its peers.

    Returns:
        The final state; ``finished`` says why training ended, "" if it was stopped and can be resumed.

    Raises:
        CheckpointError: ``resume`` and there is nothing to resume, or it does not fit.
        FloatingPointError: the loss is no longer a number; the last checkpoint is older than that.
    """
    last = checkpoints / "last.ckpt"
    state = TrainingState()
    if resume:
        tensors, state = load_checkpoint(last)
        load_weights(trainee.network, tensors["network"], str(last), type(trainee.network).__name__)
        trainee.load_state_dicts(tensors)
        state.finished = _still_finished(settings, state)
    clock = _Clock(settings, state, world)

    def save() -> None:
        state.elapsed_s = clock.elapsed_s()
        if world.is_main:
            save_checkpoint(last, trainee.state_dicts(), state)
        clock.saved()

    if state.step == 0:
        save()  # a run killed in its first epoch resumes too
    batches = _batches(streams, settings, state)
    while not state.finished:
        _run_epoch_step(trainee, objective, next(batches), settings, state, world)
        hooks.on_step(state)
        out_of_time = bool(from_main(world, clock.out_of_time()) if settings.max_minutes else False)
        epoch_ended = state.step % settings.steps_per_epoch == 0 or out_of_time
        if epoch_ended:
            _end_epoch(trainee, settings, state, hooks, clock, checkpoints, world, out_of_time=out_of_time)
            save()
            if world.is_main:
                hooks.on_epoch(state)
        stop = any_process(world, bool(hooks.should_stop()), trainee.device)
        if not epoch_ended and (stop or clock.save_due()):
            save()
        if stop:
            break
    return state


def _still_finished(settings: Training, state: TrainingState) -> str:
    """Why training is finished under today's epochs and budget, which may have changed; "" if it goes on."""
    if state.step >= settings.total_steps:
        return state.finished or "last epoch"
    if state.finished.startswith("no better"):
        return state.finished
    over = settings.max_minutes is not None and state.elapsed_s >= settings.max_minutes * 60.0
    return state.finished if over else ""


def _batches(streams: Mapping[str, Stream], settings: Training, state: TrainingState) -> Iterator[list[Batch]]:
    """For each step to come the batches that it accumulates, each with one of every stream."""
    first, last = state.step * settings.accumulate, settings.total_steps * settings.accumulate
    loaders = {name: iter(stream.batches(first, last)) for name, stream in streams.items()}
    for _ in range(state.step, settings.total_steps):
        yield [{name: next(loader) for name, loader in loaders.items()} for _ in range(settings.accumulate)]


def _run_epoch_step(
    trainee: Trainee,
    objective: Objective,
    batches: Sequence[Batch],
    settings: Training,
    state: TrainingState,
    world: World,
) -> None:
    torch.manual_seed(settings.seed * 1_000_003 + state.step * world.size + world.rank)
    done = progress(settings, state)
    totals = train_step(
        trainee,
        objective,
        batches,
        learning_rate=settings.optimizer.learning_rate * settings.schedule.factor(done, state.step),
        progress=done,
        clip_grad_norm=settings.clip_grad_norm,
    )
    state.step += 1
    for name, value in totals.items():
        state.loss_sums[name] = state.loss_sums.get(name, 0.0) + float(value)
    if not math.isfinite(state.loss_sums["loss"]):
        raise FloatingPointError(
            f"the loss is {state.loss_sums['loss']} at step {state.step}; lower training.optimizer.learning_rate, set "
            "training.clip_grad_norm, or use bfloat16 or float32 instead of float16"
        )


def progress(settings: Training, state: TrainingState) -> float:
    """Training done, 0 to 1: by steps, or by the budget's clock where that is further.

    The clock is read at the start of an epoch only, so that a resumed epoch repeats its learning rates.
    """
    by_steps = state.step / settings.total_steps
    if settings.max_minutes is None:
        return min(1.0, by_steps)
    started_s, epoch_s = state.clock
    seconds = started_s + epoch_s * (state.step % settings.steps_per_epoch) / settings.steps_per_epoch
    return min(1.0, max(by_steps, seconds / (settings.max_minutes * 60.0)))


def _end_epoch(
    trainee: Trainee,
    settings: Training,
    state: TrainingState,
    hooks: FitHooks,
    clock: _Clock,
    checkpoints: Path,
    world: World,
    *,
    out_of_time: bool,
) -> None:
    epoch = math.ceil(state.step / settings.steps_per_epoch)
    steps = state.step - int(state.history[-1]["step"] if state.history else 0)
    row = {"epoch": float(epoch), "step": float(state.step)}
    row.update({f"train/{name}": total / steps for name, total in state.loss_sums.items()})
    row["learning_rate"] = float(trainee.optimizer.param_groups[0]["lr"])
    state.loss_sums = {}
    ends = out_of_time or state.step == settings.total_steps
    metrics: Mapping[str, float] = {}
    if world.is_main and hooks.validate is not None and (ends or epoch % settings.validate_every == 0):
        started = time.monotonic()
        metrics = hooks.validate(trainee.evaluated)
        row["validation_s"] = time.monotonic() - started
    row.update(metrics)
    if "score" in metrics:
        _remember_best(trainee, settings, state, epoch, metrics["score"], checkpoints)
    row["epoch_s"] = clock.epoch_s()
    state.history.append(row)
    clock.next_epoch()
    if out_of_time:
        state.finished = f"budget of {settings.max_minutes:g} minutes"
    elif state.step == settings.total_steps:
        state.finished = "last epoch"
    elif settings.early_stopping is not None and state.stale_validations >= settings.early_stopping:
        state.finished = f"no better validation in {state.stale_validations}"
    state.finished = str(from_main(world, state.finished))


def _remember_best(
    trainee: Trainee, settings: Training, state: TrainingState, epoch: int, score: float, checkpoints: Path
) -> None:
    if state.best_score is not None and not score > state.best_score:
        state.stale_validations += 1
        return
    state.best_score, state.best_epoch, state.stale_validations = score, epoch, 0
    save_checkpoint(checkpoints / "best.ckpt", {"network": trainee.evaluated.state_dict()}, state)


class _Clock:
    """Seconds of training over all resumes, kept out of everything that must repeat exactly."""

    def __init__(self, settings: Training, state: TrainingState, world: World) -> None:
        self.settings, self.state, self.world = settings, state, world
        self.before_s = state.elapsed_s
        self.started = self.epoch_started = self.last_save = time.monotonic()

    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.started

    def epoch_s(self) -> float:
        return time.monotonic() - self.epoch_started

    def out_of_time(self) -> bool:
        return self.settings.max_minutes is not None and self.elapsed_s() >= self.settings.max_minutes * 60.0

    def save_due(self) -> bool:
        return time.monotonic() - self.last_save >= self.settings.checkpoint_every_s

    def saved(self) -> None:
        self.last_save = time.monotonic()

    def next_epoch(self) -> None:
        if self.settings.max_minutes is not None:
            self.state.clock = from_main(self.world, (self.elapsed_s(), self.epoch_s()))  # type: ignore[assignment]
        self.epoch_started = time.monotonic()
