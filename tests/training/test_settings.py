"""What the training section refuses, and what follows from it."""

from typing import Any

import pytest

from medseg.training.settings import Training


def test_an_epoch_is_so_many_steps() -> None:
    assert Training(epochs=7, steps_per_epoch=11).total_steps == 77


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"max_minutes": 0},
        {"loss": ()},
        {"ema_decay": 1.0},
        {"precision": "float8"},
        {"device": "tpu"},
        {"seed": -1},
        {"checkpoint_every_s": float("nan")},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Training(**wrong)
