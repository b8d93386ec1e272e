"""The typed, strict schema of a pipeline YAML: the settings of the rooms, composed; a docstring under each field.

Nothing here reads files; ``config.load`` turns YAML into a ``PipelineConfig`` and gathers every mistake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg.config.agreement import disagreements
from medseg.data.settings import DataSettings
from medseg.evaluation.options import EvaluationSettings
from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.model.view import View
from medseg.settings import CONFIG, MACHINE_PATH, MAY_CHANGE
from medseg.study.label_map import LabelEntries, parse_labels
from medseg.tracking.settings import TrackingSettings
from medseg.training.settings import Training
from medseg.transforms.settings import Augmentation, Preprocessing
from medseg.types import LabelMap


class Section(BaseModel):
    """A section that no room has as its own settings; it checks its values as those do."""

    model_config = ConfigDict(**CONFIG, frozen=True)


class NetworkConfig(Section):
    """A name from `medseg networks` and that network's own arguments."""

    model_config = ConfigDict(extra="allow")

    name: str
    """One of `medseg networks`."""
    encoder_weights: Annotated[Path | None, MACHINE_PATH] = None
    """File of pretrained weights that the encoder starts from, relative to the working directory: torchvision's or
    timm's ImageNet weights, or a model's weights.safetensors; null starts from random ones."""
    weights_inflation: Literal["centre", "mean"] = "centre"
    """What a 2D kernel of that file becomes in 3D: the centre slice among zeros, or the mean over all slices."""

    @property
    def options(self) -> dict[str, Any]:
        """The network's own arguments; ``build`` checks them against its signature."""
        return dict(self.model_extra or {})


class PipelineConfig(Section):
    """One pipeline YAML."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Names the run folder runs/<name>/ and the MLflow experiment."""
    labels: LabelEntries
    """Class name -> value(s) in the label files, of a DICOM-SEG the numbers or the names of segments; `ignore: [5]` and
    `background: rest` are understood."""
    data: DataSettings
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    network: NetworkConfig
    training: Training = Training()
    inference: Inference = Inference()
    evaluation: Annotated[EvaluationSettings, MAY_CHANGE] = EvaluationSettings()
    tracking: Annotated[TrackingSettings | Literal["none"], MAY_CHANGE] = TrackingSettings()
    runs_dir: Annotated[Path, MACHINE_PATH, MAY_CHANGE] = Path("runs")
    """Folder of all run folders."""

    @field_validator("labels")
    @classmethod
    def _labels_make_a_map(cls, value: LabelEntries) -> LabelEntries:
        parse_labels(value)
        return value

    @model_validator(mode="after")
    def _sections_agree(self) -> PipelineConfig:
        mistakes = disagreements(self.model_dump(mode="json"), PipelineConfig)
        if mistakes:
            raise ValueError("; ".join(str(mistake) for mistake in mistakes))
        return self

    @property
    def label_map(self) -> LabelMap:
        """``labels`` as a LabelMap."""
        return parse_labels(self.labels)

    @property
    def classes(self) -> Classes:
        """What the network's channels mean."""
        return Classes(self.label_map.names)

    @property
    def view(self) -> View:
        """How the network sees a study."""
        return self.data.view
