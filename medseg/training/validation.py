"""Scores on whole validation studies during training: sliding window, back to the study's own grid, one confusion pass.

The numbers are the same as those of the final evaluation (same grid, same definitions), so a curve and a report agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medseg.errors import StudyError
from medseg.inference.segmenter import Segmenter
from medseg.metrics.overlap import confusion, overlap_scores
from medseg.model.spec import ModelSpec
from medseg.types import Volume

logger = logging.getLogger(__name__)

OnStudy = Callable[[str, Volume, NDArray[np.uint8], NDArray[np.uint8]], None]
"""What may look at a validation study: its id, image, reference and segmentation."""

_KEEP_BYTES = 2**31
"""Validation studies are kept in memory up to this much in all, then read again each time."""


@dataclass(frozen=True)
class ValidationStudy:
    """One study to score.

    Attributes:
        study_id: as in the manifest.
        read: its image in HU and its class indices, on one grid.
    """

    study_id: str
    read: Callable[[], tuple[Volume, NDArray[np.uint8]]]


class Validator:
    """Callable network -> metrics, for ``FitHooks.validate``.

    Args:
        studies: the validation set.
        spec: how the network is used; the same as in the final model.
        on_study: called with each study's id, image, reference and segmentation (class indices on the image's grid).
    """

    def __init__(
        self,
        studies: Sequence[ValidationStudy],
        spec: ModelSpec,
        on_study: OnStudy | None = None,
    ) -> None:
        self.studies = list(studies)
        self.spec = spec
        self.on_study = on_study
        self._kept: dict[str, tuple[Volume, NDArray[np.uint8]]] = {}
        self._kept_bytes = 0

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Segment and score every study.

        Returns:
            ``val/dice/<class>``, ``val/iou/<class>`` (means over the studies where they are defined), their means over
            classes ``val/dice/mean`` and ``val/iou/mean``, and ``score``, the mean Dice. Undefined means are NaN, and
            count as a score of 0; there is no score where no study could be read.
        """
        device = next(network.parameters()).device
        segmenter = Segmenter((network,), self.spec, device)
        dice, iou = [], []
        for study in self.studies:
            try:
                image, reference = self._read(study)
            except (StudyError, OSError) as error:
                logger.error("%s: left out of validation: %s", study.study_id, error)
                continue
            segmentation = segmenter.segment(image).classes
            scores = overlap_scores(confusion(reference, segmentation, self.spec.classes.num_channels))
            dice.append(scores.dice[1:])
            iou.append(scores.iou[1:])
            if self.on_study is not None:
                self.on_study(study.study_id, image, reference, segmentation)
        names = self.spec.classes.names
        metrics: dict[str, float] = {}
        for name, values in (("dice", dice), ("iou", iou)):
            by_class = [_mean(column) for column in np.asarray(values).reshape(-1, len(names)).T]
            metrics.update({f"val/{name}/{c}": v for c, v in zip(names, by_class, strict=True)})
            metrics[f"val/{name}/mean"] = _mean(np.asarray(by_class))
        if not dice:
            return metrics  # no study could be read: that is no verdict on these weights
        score = metrics["val/dice/mean"]
        return {**metrics, "score": 0.0 if np.isnan(score) else score}

    def _read(self, study: ValidationStudy) -> tuple[Volume, NDArray[np.uint8]]:
        if study.study_id in self._kept:
            return self._kept[study.study_id]
        image, reference = study.read()
        size = image.voxels.nbytes + reference.nbytes
        if self._kept_bytes + size <= _KEEP_BYTES:
            self._kept[study.study_id] = image, reference
            self._kept_bytes += size
        return image, reference


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
