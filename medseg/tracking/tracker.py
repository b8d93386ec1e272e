"""What a run may record, whoever records it, and the tracker that records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ends, in MLflow's words."""


class Tracker(Protocol):
    """The book in which one run is written down.

    No method raises because the store is away or full: what could not be recorded becomes one warning a kind of call,
    so that hours of training never end over a line in a database.
    """

    @property
    def run_id(self) -> str | None:
        """The run's id in the store (what a resume needs); None when nothing is recorded."""

    @property
    def key(self) -> str | None:
        """The run's own name for itself, there before any store has answered: children give it as their parent."""

    @property
    def url(self) -> str | None:
        """Address of the run in the UI (``serve_ui`` on its default port, or the tracking server), or None."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings: nested mappings become dotted keys; a value too long for MLflow is cut and ends in `...`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers of one step (an epoch) at once; values that are not finite are left out.

        Args:
            metrics: name -> value; `val/dice/liver` becomes chart `liver` in section `val/dice`.
            step: place on the charts' horizontal axis.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file into the run's artifacts, replacing one of the same name.

        Args:
            path: the file.
            folder: where in the artifacts; "" is the top.
        """

    def log_text(self, text: str, name: str) -> None:
        """Write a text artifact; ``name`` may hold folders (`config/resolved.yaml`)."""

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Write rows as a table that the UI pages and sorts, replacing one of the same name.

        Args:
            rows: one mapping a row; columns are the union of their keys in order of appearance, gaps are null. May be
                empty.
            name: artifact name, ending in `.json`.
        """

    def log_image(self, path: Path, key: str, step: int) -> None:
        """Add a picture to the image grid, where a slider goes through the steps of ``key``.

        The slider starts at step 0: a key with several pictures should have one there, or the grid first looks empty.
        """

    def log_dataset(self, manifest: Path, digest: str, context: str, n_studies: int) -> None:
        """Name the data of the run: the manifest's file name, its digest, its role (`training` ...) and its studies."""

    def log_model(self, model_dir: Path, name: str = "model") -> None:
        """Record a model folder as an MLflow model whose pyfunc segments NIfTI files (see ``pyfunc.py``)."""

    def register_model(self, name: str, alias: str | None = None) -> None:
        """Make the run's newest recorded model a version of a registered model, and point the alias at it."""

    def finish(self, status: Status, reason: str = "") -> None:
        """End the run; the first 500 characters of ``reason`` become the tag `medseg.failure`."""


class NoTracker:
    """A Tracker that records nothing: `tracking: none`, and all processes but the first of a distributed run."""

    run_id: str | None = None
    key: str | None = None
    url: str | None = None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Do nothing."""

    def log_text(self, text: str, name: str) -> None:
        """Do nothing."""

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Do nothing."""

    def log_image(self, path: Path, key: str, step: int) -> None:
        """Do nothing."""

    def log_dataset(self, manifest: Path, digest: str, context: str, n_studies: int) -> None:
        """Do nothing."""

    def log_model(self, model_dir: Path, name: str = "model") -> None:
        """Do nothing."""

    def register_model(self, name: str, alias: str | None = None) -> None:
        """Do nothing."""

    def finish(self, status: Status, reason: str = "") -> None:
        """Do nothing."""
