"""What a person sees of a batch: a line for all of it, one for the study at hand, and a summary at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from medseg.batch.record import Outcome

FAILED_SHOWN = 20
"""Failed studies that a summary names; the record has them all."""


class BatchDisplay:
    """Two lines on a terminal, plain lines where the output is a file; use as a context manager.

    Its methods may be called from several threads. A failed study gets no plain line: the log says why it failed.

    Args:
        total: studies in the batch.
        console: where to; the standard error by default, so that results can be piped.
        quiet: nothing at all.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        total: int,
        console: Console | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.console = console or Console(stderr=True, quiet=quiet)
        self._plain = not self.console.is_terminal
        self._clock = clock
        self._started = clock()
        self._counts: Counter[str] = Counter()
        self._stages: dict[str, str] = {}
        text = TextColumn("{task.description}", markup=False)
        self._batch = Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), auto_refresh=False)
        self._study = Progress(SpinnerColumn(), text, TimeElapsedColumn(), auto_refresh=False)
        self._whole = self._batch.add_task("segmenting", total=total)
        self._part = self._study.add_task("starting", total=None)
        self._live = Live(Group(self._batch, self._study), console=self.console, refresh_per_second=4)

    def __enter__(self) -> BatchDisplay:
        if self._plain:
            self.console.print(f"segmenting: {self.total}", highlight=False)
        elif not self.console.quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._study.update(self._part, visible=False)
        self._live.stop()

    def stage(self, study_id: str, stage: str) -> None:
        """A study has come to a stage: ``read``, ``predict`` or ``write``."""
        self._stages[study_id] = stage
        self._show_study()

    def done(self, outcome: Outcome) -> None:
        """A study has ended."""
        self._counts[outcome.status] += 1
        self._stages.pop(outcome.study_id, None)
        note = self._note()
        if self._plain and outcome.status != "failed":
            seconds = f" {outcome.total_s:.1f} s" if outcome.status == "ok" else f" ({outcome.reason})"
            line = f"[{self._counts.total()}/{self.total}] {outcome.study_id} {outcome.status}{seconds}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._batch.update(self._whole, completed=self._counts.total(), description=note)
        self._show_study()

    def _note(self) -> str:
        """``5 done, 1 failed, 2 skipped, 12.0/min, 3 min left``; the skipped took no time and foretell none."""
        worked = self._counts["ok"] + self._counts["failed"]
        parts = [f"{self._counts['ok']} done", f"{self._counts['failed']} failed"]
        if self._counts["skipped"]:
            parts.append(f"{self._counts['skipped']} skipped")
        elapsed_s = self._clock() - self._started
        if worked and elapsed_s > 0:
            rate = 60.0 * worked / elapsed_s
            left_min = (self.total - self._counts.total()) / rate
            parts += [f"{rate:.1f}/min", f"{left_min:.0f} min left"]
        return ", ".join(parts)

    def _show_study(self) -> None:
        running = dict(self._stages)  # a copy: another thread may add to it
        if not running:
            return
        predicted = [study_id for study_id, stage in running.items() if stage == "predict"]
        shown = (predicted or list(running))[0]
        more = f" (and {len(running) - 1} more in hand)" if len(running) > 1 else ""
        text = f"{shown}: {running[shown]}{more}"
        if self._study.tasks[0].description != text:
            self._study.reset(self._part, description=text)


def batch_summary(outcomes: Sequence[Outcome], elapsed_s: float, record: Path) -> dict[str, Any]:
    """Counts, failures, speed, and where the record is: a document for ``--json``.

    Args:
        outcomes: of all studies.
        elapsed_s: wall time of the batch.
        record: the segment.jsonl.

    Returns:
        ``studies, ok, failed, skipped, failures`` (all of them: id -> reason), ``seconds, studies_per_minute``
        (of those that were not skipped; 0 if none), ``peak_gib`` of the largest process, ``record``.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    worked = counts["ok"] + counts["failed"]
    return {
        "studies": len(outcomes),
        **{status: counts[status] for status in ("ok", "failed", "skipped")},
        "failures": {o.study_id: o.reason for o in outcomes if o.status == "failed"},
        "seconds": round(elapsed_s, 1),
        "studies_per_minute": round(60.0 * worked / elapsed_s, 2) if elapsed_s > 0 else 0.0,
        "peak_gib": max((o.peak_gib for o in outcomes if o.status != "skipped"), default=0.0),
        "record": str(record),
    }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """A summary for a person, at most ``FAILED_SHOWN`` failures by name."""
    before = f" ({summary['skipped']} of them before)" if summary["skipped"] else ""
    there = summary["ok"] + summary["skipped"]
    lines = [f"{there} of {summary['studies']} studies segmented{before}"]
    failures = list(summary["failures"].items())
    if failures:
        lines.append(f"{len(failures)} failed:")
        lines += [f"  {study_id}: {why}" for study_id, why in failures[:FAILED_SHOWN]]
        if len(failures) > FAILED_SHOWN:
            lines.append(f"  and {len(failures) - FAILED_SHOWN} more")
    speed = f"{summary['studies_per_minute']:g} studies a minute, " if summary["ok"] + summary["failed"] else ""
    return [*lines, f"{speed}log: {summary['record']}"]
