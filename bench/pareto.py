"""Points that cost something and are worth something, with the front of those that none beats; shared by plots here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

SHADES = "viridis"
FRONT, INK, QUIET, GRID = "#d1495b", "#22252b", "#6c7078", "#e6e7ea"
_REACHES = (9, 16, 26, 40)
"""Distances in points at which a label may stand from its point, the nearest free one is taken."""


@dataclass(frozen=True)
class Point:
    """One thing measured: x is a cost, y is a cost or a worth; area in points squared; shade from 0 to 1."""

    name: str
    x: float
    y: float
    area: float = 60.0
    shade: float = 0.5


def front(points: Sequence[Point], *, higher: bool) -> list[Point]:
    """Those that no other one beats in both, by growing x; ``higher`` says that a larger y is the better one."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y if higher else p.y)):
        if not best or (point.y > best[-1].y if higher else point.y < best[-1].y):
            best.append(point)
    return best


def draw(ax: Axes, points: Sequence[Point], *, higher: bool) -> None:
    """Scatter the points, step along the front and name every point; x is logarithmic, y as it is. Call it last."""
    ax.set_xscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_formatter(NullFormatter())
    ax.grid(True, which="major", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(colors=QUIET, labelsize=8, which="both")
    best = front(points, higher=higher)
    ax.plot(
        [p.x for p in best],
        [p.y for p in best],
        drawstyle="steps-post",
        color=FRONT,
        linewidth=1.4,
        alpha=0.8,
        zorder=2,
    )
    ax.scatter(
        [p.x for p in points],
        [p.y for p in points],
        s=[p.area for p in points],
        c=[p.shade for p in points],
        cmap=SHADES,
        norm=Normalize(0, 1),
        edgecolors=[FRONT if p in best else "white" for p in points],
        linewidths=[1.6 if p in best else 0.6 for p in points],
        zorder=3,
    )
    _name(ax, points, best)


def _name(ax: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Labels beside their points, each at the first place that covers no point and no other label."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    ax.margins(0.12)
    canvas.draw()  # settles the layout, so that places on the page are known
    renderer = canvas.get_renderer()
    scale = figure.dpi / 72
    centres = [ax.transData.transform((p.x, p.y)) for p in points]
    taken = [
        Bbox.from_bounds(x - r, y - r, 2 * r, 2 * r)
        for (x, y), p in zip(centres, points, strict=True)
        for r in [scale * p.area**0.5 / 2]
    ]
    for point in sorted(points, key=lambda p: p not in best):  # the front chooses first
        text = ax.annotate(
            point.name,
            (point.x, point.y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            color=INK if point in best else QUIET,
            fontweight="bold" if point in best else "normal",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=4,
        )
        own = text.get_window_extent(renderer)
        places = []
        sides = (-1, 0, 1) if point in best else (1, -1, 0)  # the front's line leaves to the right
        for reach, (sx, sy) in itertools.product(_REACHES, itertools.product(sides, (0, 1, -1))):
            if sx or sy:
                shift = (
                    sx * (own.width / 2 + scale * reach * (0.5 if sy else 1)),
                    sy * (own.height / 2 + scale * reach * (0.6 if sx else 1)),
                )
                box = own.translated(*shift)
                places.append((_overlap(box, taken) + _outside(box, ax.bbox), reach, shift, box))
        _, reach, shift, box = min(places, key=lambda place: (place[0], place[1]))
        text.set_position((shift[0] / scale, shift[1] / scale))
        taken.append(box)
        if reach > _REACHES[1]:
            ax.annotate(
                "",
                (point.x, point.y),
                xytext=(shift[0] / scale, shift[1] / scale),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "alpha": 0.7},
                zorder=2,
            )


def _overlap(box: Bbox, others: Sequence[Bbox]) -> float:
    return sum(shared.width * shared.height for other in others if (shared := Bbox.intersection(box, other)))


def _outside(box: Bbox, frame: Bbox) -> float:
    shared = Bbox.intersection(box, frame)
    inside = shared.width * shared.height if shared else 0.0
    return 3 * (box.width * box.height - inside)
