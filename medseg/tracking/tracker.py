"""The book in which a run is written down, whoever keeps it, and the tracker that records nothing."""

from __future__ import annotations

from typing import Protocol

from medseg.tracking.records import Record, Status


class Tracker(Protocol):
    """The book in which one run is written down.

    Nothing is raised because the store is away or full: what could not be recorded becomes one warning a kind, so that
    hours of training never end over a line in a database.
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

    def note(self, record: Record) -> None:
        """Write one thing down; see ``records`` for all that there is."""

    def finish(self, status: Status, reason: str = "") -> None:
        """End the run, as ``records.End`` says, and give the store a bounded time to take the rest."""


class NoTracker:
    """A Tracker that records nothing: `tracking: none`, and all processes but the first of a distributed run."""

    run_id: str | None = None
    key: str | None = None
    url: str | None = None

    def note(self, record: Record) -> None:
        """Do nothing."""

    def finish(self, status: Status, reason: str = "") -> None:
        """Do nothing."""
