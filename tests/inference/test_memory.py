import numpy as np
import pytest
import torch

from medseg.errors import StudyError
from medseg.inference import memory
from medseg.inference.memory import bytes_of, plan, resident_bytes

GIB = 2**30
STUDY = {"batch_size": 8, "window_bytes": GIB // 8, "plane": (256, 256), "depth": 64, "num_scores": 16}


@pytest.fixture
def _half_a_gib_is_held(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: GIB // 2)


def needed(size, windows):
    """0.5 held, 0.25 native; 2^20 scores a slice: 64 held and three times 8 on their way; 1/8 a window."""
    return 0.75 + 2**20 * (64 * size + 24 * 4) / GIB + windows / 8


@pytest.mark.usefixtures("_half_a_gib_is_held")
@pytest.mark.parametrize(
    ("budget", "batch", "dtype"),
    [
        (8.0, 8, torch.float32),
        (needed(4, 8), 8, torch.float32),
        (needed(4, 8) - 0.01, 7, torch.float32),
        (needed(4, 1), 1, torch.float32),
        (needed(4, 1) - 0.01, 1, torch.float16),
        (needed(2, 1), 1, torch.float16),
    ],
)
def test_batch_shrinks_first_and_the_sums_then(budget, batch, dtype):
    chosen = plan(budget, native_bytes=GIB // 4, **STUDY)
    assert (chosen.batch_size, chosen.dtype) == (batch, dtype)
    assert chosen.expected_gib <= budget


@pytest.mark.usefixtures("_half_a_gib_is_held")
def test_what_cannot_be_kept_is_refused_with_what_it_takes():
    with pytest.raises(StudyError, match=f"memory_gib 1, and it takes at least {needed(2, 1):.2f} GiB"):
        plan(1.0, native_bytes=GIB // 4, **STUDY)


def test_peak_of_some_work_is_measured():
    if not resident_bytes():
        pytest.skip("this system does not say how much memory a process holds")
    assert bytes_of(lambda: np.ones(2**25)) == pytest.approx(2**28, rel=0.1)
