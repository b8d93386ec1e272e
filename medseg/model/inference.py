"""Settings of how a trained network is used on a whole study; the room ``inference`` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medseg.model.crf import CRF
from medseg.model.postprocess import PostProcessing
from medseg.settings import NotNegative, Positive, PositiveInt, settings
from medseg.types import AxisName


@settings
class Locate:
    """Coarse to fine: a quick pass finds the organ, and the full pass runs in its box alone.

    Where nothing or too much is found the whole body is segmented, and it is said. Validation during training always
    sees the whole body.
    """

    model: Path | None = None
    """A run folder or model folder trained for the coarse pass, which becomes a part of this model; null runs this
    network on the coarser grid."""
    spacing_mm: Positive = 5.0
    """Of the coarse pass where `model` is null; a model has its own."""
    classes: tuple[str, ...] = ()
    """Classes of the coarse model that are looked for; [] takes them all."""
    margin_mm: NotNegative = 20.0
    """Added to the box on each side."""
    minimum_ml: NotNegative = 5.0
    """Smaller pieces are no organ."""
    largest_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Of the body's box; a box beyond it saves nothing."""


@settings
class Inference:
    """Sliding window and what follows it."""

    window_size: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)] | None = None
    """Voxels of a window on the network grid; null takes data.patch_size."""
    overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of a window that its neighbour covers too."""
    placement: Literal["even", "steps"] = "even"
    """even: windows spread evenly from edge to edge; steps: at multiples of one step, the last pushed back (MONAI)."""
    blending: Literal["gaussian", "constant"] = "gaussian"
    batch_size: PositiveInt = 4
    """Windows per forward pass."""
    flip_axes: tuple[AxisName, ...] = ()
    """Test-time augmentation: average over all combinations of mirroring along these axes."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Test-time augmentation: the network sees each window resized by these factors (all its axes), mirrored at each of
    them as flip_axes says; [0.75, 1.0, 1.25] takes three times as many forward passes."""
    scale_fusion: Literal["mean", "max"] = "mean"
    """What becomes of the logits of several scales; max is DeepLab v2's."""
    crf: CRF | None = None
    """Fully connected CRF; null is off, {} takes DeepLab v1's numbers."""
    locate: Locate | None = None
    """Find the organ first; null segments the whole body."""
    memory_gib: Positive | None = None
    """The whole process's memory at most while a study is segmented: smaller batches and sums of half the size keep it,
    and a study that cannot be segmented within it is refused beforehand. null sets no limit."""
    postprocess: PostProcessing = PostProcessing()
    """Cleaning the label map; nothing by default."""
