"""The picture of techniques: what is gained in speed, what is lost in quality, and what it takes to store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.report import svg
from results.report.charts import Labels, drawn_axes, span, ticks
from results.report.svg import Mark

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Tried:
    """A technique: times faster, percent of quality lost, stored size over fp32's; the first two with their ends.

    `ranked` is False for what may not be on the front: a control, or an invalid result.
    """

    speed: float
    lost: float
    size: float
    series: int
    mark: Mark
    label: str
    ranked: bool
    speeds: tuple[float, float]
    losses: tuple[float, float]


def tradeoff(points: Sequence[Tried], label: str, prefix: str) -> Markup:
    """Speed-up over fp32, logarithmic, against the percent of quality lost, linear up to 1 % and logarithmic beyond.

    The area of a disc is the size; fp32 is the ring at 1x and 0 %. What something else beats in both is grey.
    """
    canvas, axes = drawn_axes(452, 320, left=42, bottom=38, top=26, right=16)
    _tradeoff_scales(axes, points)
    best = tradeoff_front(points)
    ends = [(1.0, 0.0), *((point.speed, point.lost) for point in best)]
    axes.step(*zip(*ends, strict=True), where="post", color=svg.FRONT, lw=1.1, ls=(0, (4, 3)), zorder=1)
    axes.plot([1], [0], "o", ms=_disc(1.0), mfc="none", mec=svg.INK, mew=1.2, zorder=3)
    placed = Labels(axes)
    for x, y, size in ((1.0, 0.0, 1.0), *((point.speed, point.lost, point.size) for point in points)):
        placed.keep_clear(x, y, _disc(size) / 2)
    marks = {}
    for number, point in enumerate(sorted(points, key=lambda point: -point.size)):
        _draw_tried(axes, point, point in best, f"mark:{number}")
        marks[f"mark:{number}"] = point.mark
    _label(placed, 1.0, 0.0, 1.0, "fp32", svg.INK)
    for point in sorted(points, key=lambda point: point not in best):
        _label(placed, point.speed, point.lost, point.size, point.label, svg.INK if point in best else svg.MUTED)
    axes.set_xlabel("times faster than fp32", labelpad=2, fontsize=10.5, color=svg.MUTED)
    axes.text(4 / 452, 1 - 12 / 320, "% of quality lost", transform=canvas.transFigure, fontsize=10.5, color=svg.MUTED)
    return svg.inline(canvas, label, prefix, marks)


def tradeoff_front(points: Sequence[Tried]) -> list[Tried]:
    """Those that may be ranked, are faster than fp32 and lose less than whatever is as fast, by speed."""
    best: list[Tried] = []
    for point in sorted((p for p in points if p.ranked and p.speed > 1), key=lambda p: (-p.speed, p.lost)):
        if not best or point.lost < best[-1].lost:
            best.append(point)
    return best[::-1]


def _tradeoff_scales(axes: Axes, points: Sequence[Tried]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = span([1.0, *(end for point in points for end in (point.speed, point.speed))], 0.12)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1, linscale=1.2)
    axes.set_xlim(low, high)
    lost = [0.0, *(point.lost for point in points)]
    axes.set_ylim(min(-0.5, 1.5 * min(lost)), max(1.6, 1.8 * max(lost)))
    axes.axhline(1, color=svg.FRONT, lw=0.8, zorder=0)
    down, up = axes.get_ylim()
    steps = [tick for tick in (-100, -30, -10, -3, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 30, 100) if down <= tick <= up]
    for axis, marked, names in (
        (axes.xaxis, (across := ticks(low, high)), [f"{tick:g}x" for tick in across]),
        (axes.yaxis, steps, [f"{tick:g}".replace("-", "\u2212") for tick in steps]),
    ):
        axis.set_major_locator(FixedLocator(marked))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels(names)


def _disc(size: float) -> float:
    """Diameter in pixels, at least one that can be seen."""
    return max(5.0, 17 * math.sqrt(size))


def _draw_tried(axes: Axes, point: Tried, best: bool, gid: str) -> None:
    """Its disc, over the intervals that it lies in, cut where the axes end."""
    colour = svg.series(point.series) if best else svg.FRONT
    (left, right), (down, up) = axes.get_xlim(), axes.get_ylim()
    ends = [max(left, point.speeds[0]), min(right, point.speeds[1])]
    axes.plot(ends, [point.lost] * 2, color=colour, lw=1, zorder=2)
    axes.plot([point.speed] * 2, [max(down, point.losses[0]), min(up, point.losses[1])], color=colour, lw=1, zorder=2)
    style: dict[str, Any] = {"ms": _disc(point.size), "mec": svg.PAPER, "mew": 1, "clip_on": False}
    axes.plot([point.speed], [point.lost], "o", color=colour, zorder=4, gid=gid, **style)


def _label(placed: Labels, x: float, y: float, size: float, text: str, color: str) -> None:
    if text:
        far = _disc(size) / 2 + 3
        beside = ((far, -5, "left"), (-far, -5, "right"), (0, far - 1, "center"), (0, -far - 10, "center"))
        aslant = ((sign * far, up, side) for up in (5, -15) for sign, side in ((1, "left"), (-1, "right")))
        sides = (*beside, *aslant, (far, 15, "left"), (-far, 15, "right"))
        placed.write(x, y, text, color=color, sides=sides)
