"""The learning rate's share, by hand."""

import pytest

from medseg.training.schedule import Schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("poly", power=1.0), [1.0, 0.75, 0.5, 0.0]),
        (Schedule("poly", power=2.0), [1.0, 0.5625, 0.25, 0.0]),
        (Schedule("cosine"), [1.0, 0.8535533905932737, 0.5, 0.0]),
        (Schedule("constant"), [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_factor_at_the_start_a_quarter_half_and_the_end(schedule: Schedule, expected: list[float]) -> None:
    found = [schedule.factor(progress, step=0) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx(expected)


def test_poly_is_the_default_with_nnunets_power() -> None:
    assert Schedule().factor(0.5, step=100) == pytest.approx(0.5**0.9)


def test_progress_outside_0_to_1_is_clamped() -> None:
    assert Schedule().factor(1.2, step=0) == 0.0
    assert Schedule().factor(-0.1, step=0) == 1.0


def test_warm_up_rises_linearly_and_reaches_the_schedule_after_its_steps() -> None:
    schedule = Schedule("constant", warmup_steps=4)
    assert [schedule.factor(0.0, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_warm_up_multiplies_the_schedule() -> None:
    assert Schedule("poly", power=1.0, warmup_steps=1).factor(0.5, step=0) == pytest.approx(0.25)


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'poly', 'cosine' or 'constant'"):
        Schedule("step")  # type: ignore[arg-type]
