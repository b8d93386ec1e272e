"""The loop on a network of one number: epochs, validation, stopping, budget, checkpoints, resume."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medseg.data.dataset import Sample
from medseg.data.loaders import Batches
from medseg.errors import CheckpointError
from medseg.training import fit as fit_module
from medseg.training.checkpoint import TrainingState, load_checkpoint
from medseg.training.fit import FitHooks, fit, progress
from medseg.training.objective import LABELLED, Batch, Supervised
from medseg.training.optimizers import SGD
from medseg.training.schedule import Schedule
from medseg.training.settings import Training
from medseg.training.trainee import Trainee, averaged


class _Numbers(Dataset[Sample]):
    """Sample ``index`` is a function of the index alone; remembers which were asked for."""

    def __init__(self, broken_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.broken_at = broken_at

    def __getitem__(self, index: int) -> Sample:
        self.asked.append(index)
        value = float("nan") if index == self.broken_at else float(index % 7)
        return {"image": torch.full((1, 1, 1), value), "label": torch.zeros(1, 1, dtype=torch.int64)}


class _Line(nn.Module):
    """weight * dropout(image): depends on the random state, as a real network does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(image)
        return self.weight * dropped


class _Square(nn.Module):
    def forward(self, logits: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = (logits - 1).square().mean()
        return value, {"square": value.detach()}


def _streams(data: Dataset[Sample]) -> dict[str, Batches]:
    return {LABELLED: Batches(data, batch_size=2)}


def _trainee(ema_decay: float | None = None) -> Trainee:
    network = _Line()
    return Trainee(
        network=network,
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9),
        average=averaged(network, ema_decay),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        device=torch.device("cpu"),
    )


def _settings(*, learning_rate: float = 0.01, **changes: Any) -> Training:
    plain = {"epochs": 3, "steps_per_epoch": 4, "validate_every": 1, "clip_grad_norm": None}
    return Training(**{**plain, "optimizer": SGD(learning_rate=learning_rate), **changes})


def _stop_after(step: int) -> FitHooks:
    """Stop the training like a signal does."""
    steps: list[int] = []
    return FitHooks(on_step=lambda s: steps.append(s.step), should_stop=lambda: "SIGTERM" if step in steps else "")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[TrainingState, Trainee]]:
    def run(
        hooks: FitHooks | None = None,
        *,
        resume: bool = False,
        ema: float | None = None,
        data: Any = None,
        **changes: Any,
    ) -> tuple[TrainingState, Trainee]:
        trainee, data = _trainee(ema), data or _Numbers()
        settings = _settings(**changes)
        state = fit(
            trainee,
            Supervised(_Square()),
            _streams(data),
            settings,
            hooks or FitHooks(),
            checkpoints=tmp_path,
            resume=resume,
        )
        return state, trainee

    return run


Run = Callable[..., tuple[TrainingState, Trainee]]


def test_all_steps_of_all_epochs_each_batch_once(run: Run, tmp_path: Path) -> None:
    data, rows = _Numbers(), []
    state, _ = run(FitHooks(on_epoch=lambda s: rows.append(s.history[-1])), data=data)
    assert (state.step, state.finished) == (12, "last epoch")
    assert data.asked == list(range(24))
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert [row["step"] for row in state.history] == [4, 8, 12]
    assert rows == state.history
    assert state.history[0].keys() == {"epoch", "step", "train/loss", "train/square", "learning_rate", "epoch_s"}
    assert load_checkpoint(tmp_path / "last.ckpt")[1] == state


def test_row_holds_the_mean_loss_of_its_epoch(run: Run) -> None:
    losses: list[float] = []
    sums = [0.0]

    def on_step(state: TrainingState) -> None:
        losses.append(state.loss_sums["loss"] - sums[0])
        sums[0] = 0.0 if state.step % 4 == 0 else state.loss_sums["loss"]

    state, _ = run(FitHooks(on_step=on_step))
    means = [sum(losses[i : i + 4]) / 4 for i in (0, 4, 8)]
    assert [row["train/loss"] for row in state.history] == pytest.approx(means)


def test_learning_rate_falls_by_the_schedule(run: Run) -> None:
    state, _ = run(schedule=Schedule("poly", power=1.0), learning_rate=1.2e-3)
    # the last step of each epoch has done 3, 7 and 11 of 12 steps
    assert [row["learning_rate"] for row in state.history] == pytest.approx([9e-4, 5e-4, 1e-4])


def test_accumulation_takes_that_many_batches_a_step(run: Run) -> None:
    data = _Numbers()
    state, _ = run(data=data, accumulate=3, epochs=1)
    assert state.step == 4
    assert data.asked == list(range(4 * 3 * 2))


def _scores(*values: float) -> tuple[Callable[[nn.Module], Mapping[str, float]], list[float]]:
    """A validation that gives these scores in turn, and the weights that it saw."""
    left, seen = list(values), []

    def validate(network: nn.Module) -> Mapping[str, float]:
        seen.append(network.weight.item())
        return {"val/dice/liver": left[0], "score": left.pop(0)}

    return validate, seen


def test_validation_every_second_epoch_and_after_the_last(run: Run) -> None:
    validate, seen = _scores(0.5, 0.4, 0.3)
    state, _ = run(FitHooks(validate), epochs=5, validate_every=2)
    assert [row["epoch"] for row in state.history if "val/dice/liver" in row] == [2, 4, 5]
    assert len(seen) == 3


def test_best_weights_are_kept(run: Run, tmp_path: Path) -> None:
    validate, seen = _scores(0.5, 0.75, 0.75)
    state, trainee = run(FitHooks(validate))
    assert (state.best_score, state.best_epoch, state.stale_validations) == (0.75, 2, 1)
    tensors, at_best = load_checkpoint(tmp_path / "best.ckpt")
    assert tensors["network"]["weight"].item() == seen[1] != trainee.network.weight.item()
    assert at_best.step == 8


def test_average_is_what_validates_and_is_kept(run: Run, tmp_path: Path) -> None:
    validate, seen = _scores(0.5)
    _, trainee = run(FitHooks(validate), epochs=1, ema=0.9)
    assert seen == [trainee.evaluated.weight.item()] != [trainee.network.weight.item()]
    assert load_checkpoint(tmp_path / "best.ckpt")[0]["network"]["weight"].item() == seen[0]


def test_early_stopping_counts_validations_without_a_better_score(run: Run) -> None:
    validate, _ = _scores(0.5, 0.6, 0.6, 0.1)
    state, _ = run(FitHooks(validate), epochs=10, early_stopping=2)
    assert (state.finished, state.step) == ("no better validation in 2", 16)
    again, _ = run(epochs=20, resume=True)
    assert (again.finished, again.step) == ("no better validation in 2", 16)


def test_validation_without_a_score_is_no_verdict(run: Run, tmp_path: Path) -> None:
    state, _ = run(FitHooks(lambda network: {"val/dice/liver": float("nan")}), early_stopping=1)
    assert state.finished == "last epoch"
    assert state.best_score is None
    assert not (tmp_path / "best.ckpt").exists()


def test_loss_that_is_no_number_ends_with_advice_and_a_good_checkpoint(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 6; lower training\.optimizer\.learning_rate"):
        run(data=_Numbers(broken_at=11))
    tensors, state = load_checkpoint(tmp_path / "last.ckpt")
    assert state.step == 4
    assert torch.isfinite(tensors["network"]["weight"]).all()


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_stopped_and_resumed_training_is_as_if_never_stopped(run: Run, stop: int) -> None:
    through, whole = run(ema=0.5)
    stopped, _ = run(_stop_after(stop), ema=0.5)
    assert (stopped.step, stopped.finished) == (stop, "")
    data = _Numbers()
    resumed, trainee = run(ema=0.5, resume=True, data=data)
    assert data.asked == list(range(2 * stop, 24))
    assert torch.equal(trainee.network.weight, whole.network.weight)
    assert torch.equal(trainee.evaluated.weight, whole.evaluated.weight)
    assert _numbers(resumed) == _numbers(through)


def _numbers(state: TrainingState) -> list[dict[str, float]]:
    """The history without its clocks."""
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in state.history]


def test_step_is_saved_when_the_seconds_between_checkpoints_are_over(run: Run, tmp_path: Path) -> None:
    saved: list[int] = []
    hooks = FitHooks(on_step=lambda state: saved.append(load_checkpoint(tmp_path / "last.ckpt")[1].step))
    run(hooks, epochs=1, checkpoint_every_s=0.0)
    assert saved == [0, 1, 2, 3]
    saved.clear()
    run(hooks, epochs=2, checkpoint_every_s=1e6)
    assert saved == [0, 0, 0, 0, 4, 4, 4, 4]


def test_finished_training_goes_on_with_more_epochs(run: Run) -> None:
    run(epochs=2)
    same, _ = run(epochs=2, resume=True)
    assert (same.step, same.finished, len(same.history)) == (8, "last epoch", 2)
    more, _ = run(epochs=3, resume=True)
    assert (more.step, more.finished, len(more.history)) == (12, "last epoch", 3)


def test_fewer_epochs_than_were_done_is_finished(run: Run) -> None:
    run(_stop_after(6))
    state, _ = run(epochs=1, resume=True)
    assert (state.step, state.finished) == (6, "last epoch")


def test_nothing_to_resume_is_an_error(run: Run) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(resume=True)


def test_checkpoint_of_another_network_is_refused(run: Run, tmp_path: Path) -> None:
    run(epochs=1)
    other = _trainee()
    other.network.bias = nn.Parameter(torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"last\.ckpt does not fit .*1 tensors missing.*first: bias"):
        fit(
            other,
            Supervised(_Square()),
            _streams(_Numbers()),
            _settings(),
            FitHooks(),
            checkpoints=tmp_path,
            resume=True,
        )


class _Time:
    """A clock that only moves when a step is made."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Time]:
    clock = _Time()
    monkeypatch.setattr(fit_module, "time", clock)
    return clock


def _six_seconds_a_step(time: _Time) -> FitHooks:
    def on_step(state: TrainingState) -> None:
        time.now += 6.0

    return FitHooks(on_step=on_step)


def test_budget_ends_training_in_the_middle_of_an_epoch(run: Run, time: _Time) -> None:
    validate, seen = _scores(0.5, 0.5)
    hooks = FitHooks(validate, on_step=_six_seconds_a_step(time).on_step)
    state, _ = run(hooks, epochs=100, max_minutes=0.6, validate_every=50)
    # 36 seconds are over after 6 steps; the last row's losses are those of its 2 steps, and it is validated
    assert (state.step, state.finished, state.elapsed_s) == (6, "budget of 0.6 minutes", 36.0)
    assert [row["epoch_s"] for row in state.history] == [24.0, 12.0]
    assert len(seen) == 1
    assert "val/dice/liver" in state.history[-1]


def test_mean_of_an_epoch_cut_short_is_over_its_steps(run: Run, time: _Time) -> None:
    sums: list[float] = []

    def on_step(state: TrainingState) -> None:
        time.now += 6.0
        sums.append(state.loss_sums["loss"])

    state, _ = run(FitHooks(on_step=on_step), epochs=100, max_minutes=0.6)
    assert state.history[-1]["train/loss"] == pytest.approx(sums[5] / 2)


def test_learning_rate_reaches_its_end_with_the_budget(run: Run, time: _Time) -> None:
    schedule = Schedule("poly", power=1.0)
    state, _ = run(_six_seconds_a_step(time), epochs=100, max_minutes=0.8, schedule=schedule, learning_rate=0.01)
    # 48 seconds are 8 steps: in the second epoch the clock says 24/48, and 24 seconds an epoch
    assert state.history[-1]["learning_rate"] == pytest.approx(0.01 * (1 - 7 / 8))


def test_budgets_clock_goes_on_after_a_resume(run: Run, time: _Time) -> None:
    ticking = _six_seconds_a_step(time)
    stopping = _stop_after(5)

    def on_step(state: TrainingState) -> None:
        ticking.on_step(state)
        stopping.on_step(state)

    run(FitHooks(on_step=on_step, should_stop=stopping.should_stop), epochs=100, max_minutes=0.8)
    time.now += 1e6  # the machine was off: that does not count
    state, _ = run(ticking, epochs=100, max_minutes=0.8, resume=True)
    assert (state.step, state.elapsed_s) == (8, 48.0)
    assert state.finished == "budget of 0.8 minutes"


def test_larger_budget_goes_on_with_a_learning_rate_above_zero(run: Run, time: _Time) -> None:
    ticking, schedule = _six_seconds_a_step(time), Schedule("poly", power=1.0)
    run(ticking, epochs=100, max_minutes=0.6, schedule=schedule)
    state, _ = run(ticking, epochs=100, max_minutes=1.2, schedule=schedule, resume=True)
    assert (state.step, state.finished) == (12, "budget of 1.2 minutes")
    rates = [row["learning_rate"] for row in state.history]
    assert all(rate > 0 for rate in rates)
    assert [row["step"] for row in state.history] == [4, 6, 8, 12]


@pytest.mark.parametrize(
    ("step", "clock", "expected"),
    [
        (6, (0.0, 0.0), 0.5),  # by steps: 6 of 12
        (4, (30.0, 30.0), 0.5),  # by the clock: 30 of 60 seconds
        (6, (30.0, 20.0), 40 / 60),  # and half an epoch of 20 seconds
        (7, (59.0, 30.0), 1.0),
    ],
)
def test_progress_is_the_further_of_steps_and_clock(step: int, clock: tuple[float, float], expected: float) -> None:
    assert progress(_settings(max_minutes=1.0), TrainingState(step=step, clock=clock)) == pytest.approx(expected)


def test_without_a_budget_only_steps_count() -> None:
    assert progress(_settings(), TrainingState(step=3, clock=(1e6, 1e6))) == 0.25


def test_a_second_stream_needs_no_change_of_the_loop(tmp_path: Path) -> None:
    """Unlabelled crops beside the labelled ones, three a batch: each resumes at its own place."""

    def objective(trainee: Trainee, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        known, unknown = (trainee(batch[name]["image"]) for name in (LABELLED, "unlabelled"))
        value = (known - 1).square().mean() + progress * (unknown - known.mean()).square().mean()  # type: ignore[operator, union-attr]
        return value, {"unlabelled": torch.tensor(float(len(batch["unlabelled"]["image"])))}

    def train(folder: Path, hooks: FitHooks, *, resume: bool = False) -> tuple[Trainee, list[int], list[int]]:
        trainee, data, more = _trainee(), _Numbers(), _Numbers()
        streams = {LABELLED: Batches(data, 2), "unlabelled": Batches(more, 3)}
        state = fit(trainee, objective, streams, _settings(), hooks, checkpoints=folder, resume=resume)
        assert state.history == [] or state.history[0]["train/unlabelled"] == 3.0
        return trainee, data.asked, more.asked

    whole, *asked = train(tmp_path / "whole", FitHooks())
    assert asked == [list(range(24)), list(range(36))]
    train(tmp_path / "cut", _stop_after(5))
    resumed, *asked = train(tmp_path / "cut", FitHooks(), resume=True)
    assert asked == [list(range(10, 24)), list(range(15, 36))]
    assert torch.equal(resumed.network.weight, whole.network.weight)
