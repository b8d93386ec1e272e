"""Scores on whole studies, with a network whose answer is known: a threshold on the window."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.errors import StudyError
from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.model.spec import ModelSpec
from medseg.model.view import View
from medseg.training import validation
from medseg.training.validation import ValidationStudy, Validator
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, Volume

Labels = NDArray[np.uint8]
LIVER_HU, TUMOUR_HU = 100, 200


class _Threshold(nn.Module):
    """Class 1 from 0.25 of the window on, class 2 from 0.75 on."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(1.0)  # would break everything if the network were not set to eval
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        image = self.dropout(image)
        return torch.cat([0.25 - image, (image - 0.25) * (image < 0.75), (image - 0.5) * (image >= 0.75)], 1)


def _spec(names: tuple[str, ...] = ("liver", "tumour")) -> ModelSpec:
    return ModelSpec(
        network="none",
        options={},
        classes=Classes(names),
        view=View(),
        preprocessing=Preprocessing(intensity_range_hu=(0, 200), crop_to_body=False),
        inference=Inference(window_size=(4, 4, 4), overlap=0.0),
    )


def _study(study_id: str, image: NDArray[np.int16], reference: NDArray[np.uint8]) -> ValidationStudy:
    i, j, k = image.shape
    return ValidationStudy(study_id, lambda: (Volume(image, Grid((i, j, k), np.diag([1.0, 1.0, 2.0, 1.0]))), reference))


def _two_classes(shifted: int = 0) -> ValidationStudy:
    """8 voxels of liver and 8 of tumour in 64; the reference's liver lies ``shifted`` slices further."""
    image, reference = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8)
    image[0, :, :2], image[2, :, 2:] = LIVER_HU, TUMOUR_HU
    reference[0, :, shifted : 2 + shifted], reference[2, :, 2:] = 1, 2
    return _study(f"shifted_{shifted}", image, reference)


def test_perfect_segmentation_scores_one() -> None:
    metrics = Validator([_two_classes()], _spec())(_Threshold())
    names = [f"val/{score}/{label}" for score in ("dice", "iou") for label in ("liver", "tumour", "mean")]
    assert list(metrics) == [*names, "score"]
    assert set(metrics.values()) == {1.0}


def test_means_over_studies_and_classes_by_hand() -> None:
    seen: list[tuple[str, int]] = []

    def look(study_id: str, image: Volume, reference: Labels, segmentation: Labels) -> None:
        assert image.grid.shape == reference.shape == segmentation.shape
        seen.append((study_id, int((reference != segmentation).sum())))

    validator = Validator([_two_classes(), _two_classes(shifted=1)], _spec(), on_study=look)
    metrics = validator(_Threshold())
    # shifted by one of two slices: liver Dice 2 * 4 / 16 = 0.5, IoU 4 / 12
    assert metrics["val/dice/liver"] == pytest.approx((1 + 0.5) / 2)
    assert metrics["val/iou/liver"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["val/dice/tumour"] == 1.0
    assert metrics["score"] == metrics["val/dice/mean"] == pytest.approx((0.75 + 1) / 2)
    assert [study_id for study_id, _ in seen] == ["shifted_0", "shifted_1"]
    assert seen[0][1] == 0 < seen[1][1]


def test_class_absent_everywhere_has_no_dice_and_does_not_spoil_the_mean() -> None:
    image, reference = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8)
    image[0], reference[0] = LIVER_HU, 1
    metrics = Validator([_study("liver only", image, reference)], _spec())(_Threshold())
    assert math.isnan(metrics["val/dice/tumour"])
    assert metrics["score"] == 1.0


def test_ignored_voxels_do_not_count() -> None:
    image, reference = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8)
    image[:2], reference[0], reference[1] = LIVER_HU, 1, 255
    metrics = Validator([_study("half ignored", image, reference)], _spec())(_Threshold())
    assert metrics["val/dice/liver"] == 1.0


def _broken(study_id: str) -> ValidationStudy:
    def read() -> tuple[Volume, NDArray[np.uint8]]:
        raise StudyError(f"{study_id}.nii.gz: truncated")

    return ValidationStudy(study_id, read)


def test_broken_study_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "medseg"):
        metrics = Validator([_broken("b"), _two_classes()], _spec())(_Threshold())
    assert metrics["score"] == 1.0
    assert "b: left out of validation: b.nii.gz: truncated" in caplog.text


def test_without_any_readable_study_there_is_no_score() -> None:
    metrics = Validator([_broken("a"), _broken("b")], _spec())(_Threshold())
    assert "score" not in metrics
    assert all(math.isnan(value) for value in metrics.values())


@pytest.mark.parametrize(("keep_bytes", "reads"), [(2**31, 1), (0, 3)])
def test_studies_are_kept_in_memory_within_the_limit(
    keep_bytes: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "_KEEP_BYTES", keep_bytes)
    count: list[int] = []
    plain: Callable[[], tuple[Volume, NDArray[np.uint8]]] = _two_classes().read

    def read() -> tuple[Volume, NDArray[np.uint8]]:
        count.append(1)
        return plain()

    validator = Validator([ValidationStudy("a", read)], _spec())
    network = _Threshold()
    scores = [validator(network)["score"] for _ in range(3)]
    assert scores == [1.0] * 3
    assert len(count) == reads
