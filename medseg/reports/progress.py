"""What a person sees while medseg works: one line for the whole, one for the part at hand, with the time left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """A progress bar on a terminal, plain lines where the output is a file.

    Args:
        console: where to; the standard error by default, so that tables can be piped.
        quiet: nothing at all.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Display]:
        """Count to ``total`` with ``advance`` inside the block; None lets ``advance`` say it later."""
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        if not self.console.is_terminal:
            self.console.print(name if total is None else f"{name}: {total}", highlight=False)
        with Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        ) as progress:
            self._progress, self._task = progress, progress.add_task(name, total=total, note="")
            try:
                yield self
            finally:
                self._progress = self._task = None

    def advance(self, note: str = "", *, completed: int | None = None, total: int | None = None) -> None:
        """One more done, or ``completed`` in all, of ``total`` where the stage did not know it."""
        if self._progress is None or self._task is None:
            return
        if completed is None:
            self._progress.advance(self._task)
        else:
            self._progress.update(self._task, completed=completed)
        self._progress.update(self._task, note=note, total=total)

    def message(self, text: str) -> None:
        """One line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """One line for an epoch that validated: losses, rate and class-wise Dice."""
        dice = {k.removeprefix("val/dice/"): v for k, v in row.items() if k.startswith("val/dice/")}
        scores = "  ".join(f"{name} {value:.3f}" for name, value in dice.items())
        if scores:
            self.message(f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train/loss']:.4f}  validation Dice: {scores}")
