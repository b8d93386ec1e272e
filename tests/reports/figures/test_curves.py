import numpy as np
import pytest
from matplotlib.image import imread

from medseg.reports.figures import training_curves


def test_curves_are_drawn_from_epochs_with_and_without_validation(tmp_path):
    history = [
        {"epoch": 1.0, "train/loss": 1.0, "learning_rate": 0.1},
        {"epoch": 2.0, "train/loss": 0.5, "val/dice/liver": 0.7, "val/dice/tumour": float("nan")},
        {"epoch": 3.0, "train/loss": 0.4, "val/dice/liver": 0.9, "val/dice/tumour": 0.2},
    ]
    training_curves(history, tmp_path / "curves.png")
    picture = imread(tmp_path / "curves.png")[..., :3]
    left, right = np.split(picture, 2, axis=1)
    yellow = [
        int(np.sum((half[..., 0] > 0.95) & (half[..., 1] > 0.75) & (half[..., 2] < 0.4))) for half in (left, right)
    ]
    assert yellow[0] == 0  # one line on the left
    assert yellow[1] > 20  # two on the right: tumour, one point and its place in the legend
    training_curves(history[:1], tmp_path / "curves.png")
    with pytest.raises(ValueError, match="at least one epoch"):
        training_curves([], tmp_path / "curves.png")
