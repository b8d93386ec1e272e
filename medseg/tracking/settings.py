"""The tracking section of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from medseg.settings import MACHINE_PATH, settings


@settings
class TrackingSettings:
    """MLflow."""

    uri: Annotated[str | None, MACHINE_PATH] = None
    """Tracking URI; null is a SQLite file beside the runs (or MLFLOW_TRACKING_URI)."""
    experiment: str | None = None
    """Experiment name; null takes the pipeline's name."""
    tags: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    """Ask no store: the run folder keeps all records, and `medseg track-upload RUN` sends them later."""
    system_metrics: bool = True
    """Record how busy CPU, memory and GPU are, every ten seconds."""
    register_as: str | None = None
    """Make the run's model a version of this registered model: `models:/<register_as>/1`."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")] | None = None
    """Point this alias at that version: with `champion`, `models:/<register_as>@champion` is the newest run's model."""

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        # The configuration is logged and kept with every run.
        if value and re.search(r"://[^/@]*:[^/@]+@", value):
            raise ValueError("expected a URI without a password; leave it out and set MLFLOW_TRACKING_URI instead")
        return value

    @field_validator("register_as")
    @classmethod
    def _name_of_a_model(cls, value: str | None) -> str | None:
        if value is not None and (not value or set(value) & set("/:.%\"'@")):
            raise ValueError(f"expected a name without / : . % @ and quotes, found {value!r}")
        return value

    @model_validator(mode="after")
    def _alias_of_something(self) -> TrackingSettings:
        if self.alias and re.fullmatch(r"latest|v\d+", self.alias):
            raise ValueError(f"MLflow keeps the alias {self.alias!r} for itself; choose another, such as champion")
        if self.alias and not self.register_as:
            raise ValueError("alias without register_as: name the registered model that it belongs to")
        return self
