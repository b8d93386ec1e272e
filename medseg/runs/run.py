"""One pipeline on its way: what all of its stages need, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from medseg.config.schema import PipelineConfig
from medseg.model.spec import ModelSpec
from medseg.reports.progress import Display
from medseg.runs.build import model_spec
from medseg.runs.folder import RunFolder
from medseg.runs.studies import label_map_of, segmentation_map
from medseg.study.manifest import Splits
from medseg.tracking import Tracker
from medseg.types import LabelMap, Study

if TYPE_CHECKING:
    import torch

    from medseg.training.distributed import World


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has begun, or one of the past.

    Attributes:
        config: the pipeline.
        folder: where its files lie.
        studies: all of the manifest, with the folds that were used.
        splits: the same by their part in this run.
        tracker: the book in which it is written down.
        display: where its progress is shown.
        device: where its network runs.
        world: this process among those that train together.
    """

    config: PipelineConfig
    folder: RunFolder
    studies: tuple[Study, ...]
    splits: Splits
    tracker: Tracker
    display: Display
    device: torch.device
    world: World

    @cached_property
    def spec(self) -> ModelSpec:
        """What its model.json says."""
        return model_spec(self.config)

    @cached_property
    def label_map_of(self) -> Callable[[Study], LabelMap]:
        """How the label values of each study become classes."""
        return label_map_of(self.config)

    @property
    def segmentation_map(self) -> LabelMap:
        """How the values of its own segmentations do."""
        return segmentation_map(self.config.label_map.names)
