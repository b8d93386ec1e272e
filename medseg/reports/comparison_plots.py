"""Pictures of a comparison: what each study gains, where the scores of each method lie, and how the ranks hold."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medseg.evaluation.comparison import Comparison, Paired
from medseg.evaluation.ranking import Ranking
from medseg.reports.style import BACKGROUND, DPI, QUIET, SPINE, TEXT, colour, dress, save

_BETTER, _WORSE, _SAME = "#4fc3f7", "#ff8a65", QUIET
"""Blue and orange: told apart by readers who do not see red and green as two colours."""

_NAMED_STUDIES = 30
"""Studies whose names still fit beside their points."""

_COLUMNS = 3
"""Panels side by side; one more where there would be more than two rows."""

_TITLE_LETTERS = 34
"""Letters that fit above a panel of differences."""

_LETTER_INCHES = 0.085
"""Width of a letter of a method's name below its rank."""

_TITLE_LETTER_INCHES = 0.12
"""Width of a letter of a picture's title: the picture is no narrower."""

_NAME_LETTERS = 22
"""Letters of such a name at most."""

_UNITS = {"_mm": " (mm)", "_ml": " (ml)"}
_NAMES = {"dice": "Dice", "iou": "IoU", "nsd": "NSD", "hd": "HD", "hd95": "HD95", "assd": "ASSD", "ravd": "RAVD"}
"""How scores are written, without their unit; others as they are, without underscores."""


def write_plots(comparison: Comparison, folder: Path, most_labels: int = 8) -> list[Path]:
    """Write ``ranks.png`` and, for each label, ``differences-<n>-<label>.png`` and ``scores-<n>-<label>.png``.

    Args:
        comparison: of ``evaluation.comparison.compare_evaluations``.
        folder: made if it is missing.
        most_labels: labels drawn at most, the first ones and the mean over all; the tables have the others.

    Returns:
        The files.
    """
    labels = list(comparison.labels)
    if len(labels) > most_labels:
        labels = [*labels[: most_labels - 1], labels[-1]]
    paths = []
    for label in labels:
        number = comparison.labels.index(label) + 1
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in label)  # a label may hold what no file name may
        if any(paired.n for paired in comparison.paired if paired.label == label):
            paths.append(folder / f"differences-{number}-{name}.png")
            differences_plot(comparison, label, paths[-1])
        if _ranking(comparison, label).standings:
            paths.append(folder / f"scores-{number}-{name}.png")
            scores_plot(comparison, label, paths[-1])
    if any(len(_ranking(comparison, label).studies) > 1 for label in labels):
        paths.append(folder / "ranks.png")
        ranks_plot(comparison, labels, paths[-1])
    return paths


def differences_plot(comparison: Comparison, label: str, path: Path) -> None:
    """Draw one panel a pair of methods: each study's difference, the greatest gain on top, and the mean over them.

    The band is the 95 % interval of the mean. Blue studies are better with the second method, orange ones worse.

    Args:
        comparison: of ``evaluation.comparison.compare_evaluations``.
        label: one of ``comparison.labels``.
        path: the PNG; written whole or not at all.

    Raises:
        ValueError: no pair of methods has a study of this label in common.
    """
    pairs = [paired for paired in comparison.paired if paired.label == label and paired.n]
    if not pairs:
        raise ValueError(f"differences: expected pairs of studies with {label!r}, found none")
    most = max(paired.n for paired in pairs)
    named = most <= _NAMED_STUDIES
    height = max(2.0, 0.5 + 0.185 * most) if named else 4.2
    title = f"{label}: difference in {_axis(comparison.metric)}"
    figure, axes = _grid(len(pairs), 4.6 if named else 4.1, height + 1.05, title)
    reach = max(abs(d) for paired in pairs for d in (*paired.differences, 0.0)) or 1.0
    for ax, paired in zip(axes, pairs, strict=True):
        _draw_differences(ax, paired, comparison.metric, reach * 1.08)
    save(figure, path)


def scores_plot(comparison: Comparison, label: str, path: Path) -> None:
    """Draw one strip a method, the best mean first: each study is a point, and a line follows it between methods.

    The diamond is the mean with its 95 % interval, the short line the median. Only studies that all methods have a
    score for are drawn.

    Args:
        comparison: of ``evaluation.comparison.compare_evaluations``.
        label: one of ``comparison.labels``.
        path: the PNG; written whole or not at all.

    Raises:
        ValueError: no study has this label scored by all methods.
    """
    ranking = _ranking(comparison, label)
    if not ranking.standings:
        raise ValueError(f"scores: expected studies with {label!r} that all methods have a score for, found none")
    count = len(ranking.standings)
    width = max(5.2, 1.8 + 1.75 * count)
    figure, (ax,) = _grid(1, width, 5.4, "")
    scores = np.array([standing.scores for standing in ranking.standings])
    opacity = float(np.clip(12 / len(ranking.studies), 0.12, 0.5))
    jitter = _spread_out(len(ranking.studies))
    places = np.arange(count)
    for study in range(len(ranking.studies)):
        ax.plot(places + jitter[study], scores[:, study], color=QUIET, linewidth=0.8, alpha=opacity, zorder=2)
    for place, standing in enumerate(ranking.standings):
        hue = colour(comparison.methods.index(standing.method) + 1)
        ax.scatter(place + jitter, standing.scores, s=17, color=hue, alpha=0.75, linewidths=0, zorder=3)
        _draw_mean(ax, place + 0.3, standing.mean, standing.low, standing.high, hue)
        median = float(np.median(standing.scores))
        ax.plot([place - 0.2, place + 0.2], [median, median], color=TEXT, linewidth=1.8, zorder=4)
    names = [f"{_wrapped(s.method)}\n{_value(s.mean, comparison.metric)}" for s in ranking.standings]
    ax.set_xticks(places, names, color=TEXT, fontsize=9.5)
    ax.set_xlim(-0.5, count - 0.35)
    ax.grid(visible=False, axis="x")
    ax.set_ylabel(_axis(comparison.metric), color=QUIET)
    better = "up" if comparison.direction == "larger" else "down"
    title = f"{label}: {_studies(len(ranking.studies))}, better is {better}"
    ax.set_title(title, color=TEXT, fontsize=12, loc="left", pad=22)
    said = "diamond: mean and its 95 % interval; bar: median; a line: one study"
    ax.text(0, 1.015, said, transform=ax.transAxes, color=QUIET, fontsize=9, ha="left", va="bottom", in_layout=False)
    save(figure, path)


def ranks_plot(comparison: Comparison, labels: Sequence[str], path: Path) -> None:
    """Draw one panel a label: the area of each bubble is how often resampled studies gave the method that rank.

    Methods stand in the order of their mean; bubbles on the diagonal are a ranking that holds (challengeR's blob plot,
    Wiesenfarth et al. 2021).

    Args:
        comparison: of ``evaluation.comparison.compare_evaluations``.
        labels: some of ``comparison.labels``; those with fewer than 2 studies are passed over.
        path: the PNG; written whole or not at all.

    Raises:
        ValueError: no label has 2 studies that all methods have a score for.
    """
    rankings = [r for r in (_ranking(comparison, label) for label in labels) if len(r.studies) > 1]
    if not rankings:
        raise ValueError("ranks: expected 2 studies or more that all methods have a score for, found none")
    count = len(comparison.methods)
    side = max(3.0, 0.78 * count)
    title = f"Ranks by mean {_axis(comparison.metric)}"
    cell = side / (count + 0.2)
    longest = _LETTER_INCHES * min(_NAME_LETTERS, max(len(method) for method in comparison.methods))
    below = 0.25 if longest <= cell else 0.6 * longest  # names that do not fit side by side are turned by 30 degrees
    figure, axes = _grid(len(rankings), side + 0.6, side + 0.6 + below, title)
    for ax, ranking in zip(axes, rankings, strict=True):
        _draw_ranks(ax, ranking, comparison, cell, turned=longest > cell)
    save(figure, path)


def _draw_differences(ax: Axes, paired: Paired, metric: str, reach: float) -> None:
    named = paired.n <= _NAMED_STUDIES
    gains = np.array(paired.differences)
    better = gains if paired.direction == "larger" else -gains
    order = np.argsort(better, kind="stable")
    places = np.arange(len(gains))
    hues = [_BETTER if better[i] > 0 else _WORSE if better[i] < 0 else _SAME for i in order]
    if not math.isnan(paired.low):
        ax.axvspan(paired.low, paired.high, color=TEXT, alpha=0.13, linewidth=0, zorder=1)
    ax.axvline(0, color=QUIET, linewidth=1.0, zorder=2)
    ax.axvline(paired.mean, color=TEXT, linewidth=1.6, linestyle=(0, (4, 2)), zorder=2)
    ax.hlines(places, 0, gains[order], colors=hues, linewidth=1.4 if named else 0.8, alpha=0.55, zorder=3)
    ax.scatter(gains[order], places, c=hues, s=30 if named else 12, linewidths=0, zorder=4)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-0.9, len(gains) - 0.1)
    ax.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    ax.grid(visible=False, axis="y")
    if named:
        ax.set_yticks(places, [_shortened(paired.studies[i], 22) for i in order], fontsize=8)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(gains)} studies, sorted", color=QUIET, fontsize=9.5)
    p = "p < 0.001" if paired.p_holm < 0.001 else f"p = {paired.p_holm:.3f}"
    low, high = (_value(end, metric, "+") for end in (paired.low, paired.high))
    interval = "" if math.isnan(paired.low) else f" [{low}, {high}]"
    whole = f"{paired.second} - {paired.first}"
    two_lines = f"{_shortened(paired.second, 32)}\n- {_shortened(paired.first, 32)}"
    title = whole if len(whole) <= _TITLE_LETTERS else two_lines
    ax.set_title(title, color=TEXT, fontsize=11, loc="left", pad=21)
    said = f"mean {_value(paired.mean, metric, '+')}{interval}, {p} (Holm)"
    ax.text(0, 1.015, said, transform=ax.transAxes, color=QUIET, fontsize=9, ha="left", va="bottom", in_layout=False)
    _say_directions(ax, paired)


def _say_directions(ax: Axes, paired: Paired) -> None:
    same = paired.n - paired.better - paired.worse
    better, worse = f"{paired.better} better", f"{paired.worse} worse"
    # into the corners that sorted differences leave free, each on its own side of zero
    if paired.direction == "larger":
        corners = ((0.02, 0.98, worse, _WORSE), (0.98, 0.02, better, _BETTER))
    else:
        corners = ((0.98, 0.98, worse, _WORSE), (0.02, 0.02, better, _BETTER))
    for x, y, text, hue in corners:
        ha, va = "left" if x < 0.5 else "right", "bottom" if y < 0.5 else "top"
        ax.text(x, y, text, transform=ax.transAxes, color=hue, fontsize=9.5, ha=ha, va=va)
    if same:
        ax.set_xlabel(f"{same} the same", color=QUIET, fontsize=9)


def _draw_mean(ax: Axes, place: float, mean: float, low: float, high: float, hue: str) -> None:
    if not math.isnan(low):
        ax.plot([place, place], [low, high], color=hue, linewidth=2.2, solid_capstyle="round", zorder=5)
    ax.scatter([place], [mean], marker="D", s=52, color=hue, edgecolors=BACKGROUND, linewidths=1.2, zorder=6)


def _draw_ranks(ax: Axes, ranking: Ranking, comparison: Comparison, cell_inches: float, *, turned: bool) -> None:
    count = len(comparison.methods)
    largest = (cell_inches * 72 * 0.92) ** 2  # the bubble of a rank held always fills its cell
    ax.plot([-0.5, count - 0.5], [0.5, count + 0.5], color=SPINE, linewidth=1.0, zorder=1)
    for place, standing in enumerate(ranking.standings):
        hue = colour(comparison.methods.index(standing.method) + 1)
        shares = np.array(standing.shares)
        held = np.flatnonzero(shares > 0)
        areas = largest * shares[held]
        ax.scatter(np.full(held.size, place), held + 1, s=areas, color=hue, alpha=0.9, linewidths=0, zorder=3)
        for rank, share in enumerate(standing.shares, start=1):
            _say_share(ax, place, rank, share, cell_inches)
    ax.set_xlim(-0.6, count - 0.4)
    ax.set_ylim(count + 0.6, 0.4)
    ax.set_aspect("equal")
    look: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    names = [_shortened(standing.method, _NAME_LETTERS) for standing in ranking.standings]
    ax.set_xticks(range(count), names, color=TEXT, fontsize=9, **look)
    ax.set_yticks(range(1, count + 1))
    ax.set_ylabel("rank", color=QUIET)
    tau = "" if math.isnan(ranking.tau) else f", τ {ranking.tau:.2f}"
    ax.set_title(f"{_shortened(ranking.label, 26)}", color=TEXT, fontsize=12, loc="left", pad=20)
    said = f"{_studies(len(ranking.studies))}, resampled{tau}"
    ax.text(0, 1.02, said, transform=ax.transAxes, color=QUIET, fontsize=9, ha="left", va="bottom", in_layout=False)


def _say_share(ax: Axes, place: int, rank: int, share: float, cell_inches: float) -> None:
    """Percent in a bubble that holds it, beside a smaller one, nowhere if it rounds to 0."""
    if math.sqrt(share) * cell_inches >= 0.46:
        ax.text(place, rank, f"{100 * share:.0f} %", color=BACKGROUND, fontsize=9, ha="center", va="center", zorder=4)
    elif share >= 0.005:
        beside = place + math.sqrt(share) * 0.46 + 0.05
        ax.text(beside, rank, f"{100 * share:.0f}", color=TEXT, fontsize=9, ha="left", va="center", zorder=4)


def _grid(panels: int, width: float, height: float, title: str) -> tuple[Figure, list[Axes]]:
    """A dark figure of panels, so many inches each, in rows."""
    columns = min(panels, _COLUMNS if panels <= 2 * _COLUMNS else _COLUMNS + 1)
    rows = math.ceil(panels / columns)
    top = 0.5 if title else 0.0
    size = (max(columns * width, 0.3 + _TITLE_LETTER_INCHES * len(title)), rows * height + top)
    figure = Figure(figsize=size, dpi=DPI, facecolor=BACKGROUND)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.04, hspace=0.06))
    if title:
        figure.suptitle(title, color=TEXT, fontsize=13, fontweight="bold", x=0.012, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[panels:]:
        ax.remove()
    for ax in axes[:panels]:
        dress(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[:panels])


def _ranking(comparison: Comparison, label: str) -> Ranking:
    return next(ranking for ranking in comparison.rankings if ranking.label == label)


def _spread_out(n: int) -> NDArray[np.float64]:
    """Sideways places of a method's points, always the same."""
    return np.random.default_rng(0).uniform(-0.14, 0.14, n)


def _axis(metric: str) -> str:
    bare, unit = metric, ""
    for ending, written in _UNITS.items():
        if metric.endswith(ending):
            bare, unit = metric.removesuffix(ending), written
    return _NAMES.get(bare, bare.replace("_", " ")) + unit


def _value(value: float, metric: str, sign: str = "") -> str:
    return f"{value:{sign}.2f}" if metric.endswith(tuple(_UNITS)) else f"{value:{sign}.3f}"


def _studies(n: int) -> str:
    return "1 study" if n == 1 else f"{n} studies"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"  # run ids differ at their ends


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(_shortened(text, 51), 18))
