"""The typed, strict schema of a pipeline YAML: one frozen model a section, a docstring under each field.

Nothing here reads files; ``config.load`` turns YAML into a ``PipelineConfig`` and gathers every mistake.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg.config.agreement import disagreements
from medseg.config.labels import parse_labels as parse_labels
from medseg.types import LabelMap, Mode

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Range = tuple[float, float]
Spacing = tuple[Positive | None, Positive | None, Positive | None]
LabelValues = int | list[int]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _ordered(value: Range) -> Range:
    if value[0] > value[1]:
        raise ValueError(f"the first number must not exceed the second: {list(value)}")
    return value


class DataConfig(_Section):
    """Which studies, and how they reach the network."""

    manifest: Path
    """CSV with the columns study_id, subject_id, fold, image, label (and, optionally, label_map), relative to the
    working directory."""
    root: Path = Path(".")
    """Folder that the manifest's paths are relative to, and may not leave."""
    fold: int | Literal["all"] = 0
    """Fold that validates; the others train. "all" trains on every fold and validates on none."""
    label_maps: dict[str, dict[str, LabelValues | Literal["rest"]]] = {}
    """Other meanings of label values, for rows whose label_map column names one; each names classes of `labels`."""
    mode: Mode = "patch"
    """slice (2D), slab (2.5D: neighbouring slices as channels) or patch (3D)."""
    slab_neighbours: Annotated[int, Field(ge=1)] = 1
    """Slices on each side of the centre that become channels; only in mode slab."""
    patch_size: Annotated[list[PositiveInt], Field(min_length=2, max_length=3)]
    """Voxels of a training crop on the network grid: two numbers in modes slice and slab, three in patch."""
    batch_size: PositiveInt = 2
    """Crops per step over all processes."""
    foreground_share: Fraction = 0.5
    """Share of crops centred on a voxel of a foreground class; the rest lie anywhere."""
    class_shares: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    """Relative share of each class among the foreground crops; classes not named get 1."""
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    cache_dir: Path | None = None
    """Where preprocessed studies are kept as memory maps; default runs/cache."""

    @field_validator("label_maps")
    @classmethod
    def _label_maps_make_maps(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, entries in value.items():
            try:
                parse_labels(entries)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return value


class PreprocessingConfig(_Section):
    """The one deterministic chain of training, validation and inference."""

    spacing_mm: Spacing | None = None
    """Voxel spacing of the network grid along R, A, S; null keeps the study's own (for one axis, or for all)."""
    intensity_range_hu: Range = (-175.0, 250.0)
    """HU window; clipped and scaled to [0, 1]."""
    crop_to_body: bool = True
    """Cut the air around the body away."""
    antialias: bool = True
    """Average, rather than pick, voxels when the network grid is coarser than the study's."""

    @field_validator("intensity_range_hu")
    @classmethod
    def _window_is_open(cls, value: Range) -> Range:
        if value[0] >= value[1]:
            raise ValueError(f"the first number must be below the second: {list(value)}")
        return value


class FlipConfig(_Section):
    """Mirror along axes."""

    probability: Fraction = 0.5
    """Chance for each axis."""
    axes: list[Literal["R", "A", "S"]] = ["R"]
    """Axes that may be mirrored (of the RAS network grid)."""


class RotateConfig(_Section):
    """Rotate about the centre."""

    probability: Fraction = 0.3
    degrees: Positive = 15.0
    """Angle drawn from [-degrees, degrees]; in 3D for each of the three axes."""


class ScaleConfig(_Section):
    """Zoom about the centre."""

    probability: Fraction = 0.3
    factor: Range = (0.8, 1.25)
    """Above 1 enlarges."""
    _factor = field_validator("factor")(_ordered)


class TranslateConfig(_Section):
    """Move; matters where a patch holds the whole study, which is otherwise always centred."""

    probability: Fraction = 0.5
    mm: Positive = 10.0
    """Distance along each axis drawn from [-mm, mm]."""


class ElasticConfig(_Section):
    """Smooth random displacement, 2D and 3D."""

    probability: Fraction = 0.2
    displacement_voxels: Positive = 4.0
    """Standard deviation of the displacement at the control points."""
    control_points: Annotated[int, Field(ge=2)] = 4
    """Control points along each axis; fewer is smoother."""


class ClassShiftConfig(_Section):
    """Brighten or darken each class by its own amount, as another contrast phase would."""

    probability: Fraction = 0.3
    shift: Range = (-0.15, 0.15)
    """Drawn for each class, in units of the [0, 1] window."""
    _shift = field_validator("shift")(_ordered)


class TruncateConfig(_Section):
    """Blank the patch above and below some of its slices, as a shorter scan would end; only in mode patch."""

    probability: Fraction = 0.2
    share: tuple[Fraction, Fraction] = (0.2, 1.0)
    """Share of the patch's slices that is kept."""
    _share = field_validator("share")(_ordered)


class NoiseConfig(_Section):
    """Gaussian noise."""

    probability: Fraction = 0.15
    std: Range = (0.0, 0.1)
    """Standard deviation in units of the [0, 1] window."""
    _std = field_validator("std")(_ordered)


class BlurConfig(_Section):
    """Gaussian blur."""

    probability: Fraction = 0.15
    sigma_voxels: Range = (0.5, 1.0)
    _sigma = field_validator("sigma_voxels")(_ordered)


class ContrastConfig(_Section):
    """Multiply the distance to the crop's mean, and shift."""

    probability: Fraction = 0.2
    factor: Range = (0.75, 1.25)
    shift: Range = (0.0, 0.0)
    """Added to every voxel, in units of the [0, 1] window."""
    _ranges = field_validator("factor", "shift")(_ordered)


class GammaConfig(_Section):
    """Raise the [0, 1] image to a power."""

    probability: Fraction = 0.2
    gamma: Range = (0.7, 1.5)
    _gamma = field_validator("gamma")(_ordered)


class LowResolutionConfig(_Section):
    """Shrink and enlarge again, as a thicker-sliced scanner would have seen it."""

    probability: Fraction = 0.15
    zoom: Range = (0.5, 1.0)
    _zoom = field_validator("zoom")(_ordered)


class AugmentationConfig(_Section):
    """Training only; a key that is absent or null is off, and `augmentation: null` turns all of a fragment's off."""

    flip: FlipConfig | None = None
    rotate: RotateConfig | None = None
    scale: ScaleConfig | None = None
    translate: TranslateConfig | None = None
    elastic: ElasticConfig | None = None
    class_shift: ClassShiftConfig | None = None
    truncate: TruncateConfig | None = None
    noise: NoiseConfig | None = None
    blur: BlurConfig | None = None
    contrast: ContrastConfig | None = None
    gamma: GammaConfig | None = None
    low_resolution: LowResolutionConfig | None = None


class NetworkConfig(_Section):
    """A name from `medseg networks` and that network's own arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str
    """One of `medseg networks`."""

    @property
    def options(self) -> dict[str, Any]:
        """The network's own arguments; ``build`` checks them against its signature."""
        return dict(self.model_extra or {})


class DiceLossConfig(_Section):
    """1 - 2 sum(y p) / (sum y^2 + sum p^2), per class, averaged."""

    name: Literal["dice"]
    weight: Positive = 1.0
    include_background: bool = False
    """Count class 0 as a class of the average."""
    batch: bool = False
    """Sum over the whole batch before the division instead of over each sample."""


class CrossEntropyLossConfig(_Section):
    """Pixel cross-entropy, weighted by class on request."""

    name: Literal["cross_entropy"]
    weight: Positive = 1.0
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0.0)]] | None = None
    """`balanced`: inverse to each class's share of the training voxels; or a weight a class (background too)."""


LossTerm = Annotated[DiceLossConfig | CrossEntropyLossConfig, Field(discriminator="name")]


class SGDConfig(_Section):
    """Stochastic gradient descent with Nesterov momentum."""

    name: Literal["sgd"]
    learning_rate: Positive = 0.01
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4


class AdamWConfig(_Section):
    """AdamW."""

    name: Literal["adamw"]
    learning_rate: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-2


class ScheduleConfig(_Section):
    """How the learning rate falls."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: Positive = 0.9
    """Exponent of poly: lr * (1 - progress) ** power."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear rise from 0."""


class TrainingConfig(_Section):
    """The training loop."""

    epochs: PositiveInt = 100
    """An epoch is `steps_per_epoch` optimiser steps."""
    steps_per_epoch: PositiveInt = 100
    max_minutes: Positive | None = None
    """Wall-clock budget of training; the learning rate reaches its end at the budget, if that comes before the last
    epoch."""
    loss: Annotated[list[LossTerm], Field(min_length=1)] = [
        DiceLossConfig(name="dice"),
        CrossEntropyLossConfig(name="cross_entropy"),
    ]
    """Terms that are weighted and added."""
    optimizer: Annotated[SGDConfig | AdamWConfig, Field(discriminator="name")] = SGDConfig(name="sgd")
    schedule: ScheduleConfig = ScheduleConfig()
    validate_every: PositiveInt = 10
    """Epochs between validations on whole studies (and one after the last)."""
    keep: Literal["best", "last"] = "best"
    """Weights of the final model: the best validation's, or the last (unbiased where the same studies are scored)."""
    early_stopping: PositiveInt | None = None
    """Validations without a better mean Dice before training ends; null never ends early."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are added before each optimiser step."""
    clip_grad_norm: Positive | None = 12.0
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Decay of the averaged weights that validate and are kept; null keeps the plain weights."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type; float16 scales the loss and needs CUDA."""
    compile: bool = False
    """torch.compile the network."""
    channels_last: bool = False
    """Memory layout that convolutions prefer on most machines."""
    deterministic: bool = False
    """Only deterministic kernels (slower on CUDA; CPU runs repeat bit for bit anyway)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    threads: PositiveInt | None = None
    """CPU threads; null leaves torch's choice."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 300.0
    """Seconds between checkpoints inside an epoch; one is written after every epoch anyway."""


class InferenceConfig(_Section):
    """Sliding window and what follows it."""

    window_size: Annotated[list[PositiveInt], Field(min_length=2, max_length=3)] | None = None
    """Voxels of a window on the network grid; null takes data.patch_size."""
    overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of a window that its neighbour covers too."""
    blending: Literal["gaussian", "constant"] = "gaussian"
    batch_size: PositiveInt = 4
    """Windows per forward pass."""
    flip_axes: list[Literal["R", "A", "S"]] = []
    """Test-time augmentation: average over all combinations of mirroring along these axes."""
    keep_largest: list[str] = []
    """Classes of which only the largest 26-connected component is kept."""


class EvaluationConfig(_Section):
    """Which studies `run` segments and scores at the end."""

    split: Literal["auto", "train", "validation", "test"] = "auto"
    """auto: test studies with labels if there are any, else validation, else train."""


class TrackingConfig(_Section):
    """MLflow."""

    uri: str | None = None
    """Tracking URI; null is a SQLite file beside the runs (or MLFLOW_TRACKING_URI)."""
    experiment: str | None = None
    """Experiment name; null takes the pipeline's name."""
    tags: dict[str, str] = {}

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        # The configuration is logged and kept with every run.
        if value and re.search(r"://[^/@]*:[^/@]+@", value):
            raise ValueError("expected a URI without a password; leave it out and set MLFLOW_TRACKING_URI instead")
        return value


class PipelineConfig(_Section):
    """One pipeline YAML."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Names the run folder runs/<name>/ and the MLflow experiment."""
    labels: dict[str, LabelValues | Literal["rest"]]
    """Class name -> value(s) in the label files; `ignore: [5]` and `background: rest` are understood."""
    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    network: NetworkConfig
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig | Literal["none"] = TrackingConfig()
    runs_dir: Path = Path("runs")
    """Folder of all run folders."""

    @field_validator("labels")
    @classmethod
    def _labels_make_a_map(cls, value: dict[str, Any]) -> dict[str, Any]:
        parse_labels(value)
        return value

    @model_validator(mode="after")
    def _sections_agree(self) -> PipelineConfig:
        mistakes = disagreements(self.model_dump(mode="json"))
        if mistakes:
            raise ValueError("; ".join(str(mistake) for mistake in mistakes))
        return self

    @property
    def label_map(self) -> LabelMap:
        """``labels`` as a LabelMap."""
        return parse_labels(dict(self.labels))

    @property
    def spatial_dims(self) -> int:
        """3 in mode patch, else 2."""
        return 3 if self.data.mode == "patch" else 2

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return 2 * self.data.slab_neighbours + 1 if self.data.mode == "slab" else 1
