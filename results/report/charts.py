"""One function per chart: plain data in, one themed SVG out. What is drawn is chosen in `plots.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.numbers import si
from results.report import palette, svg
from results.report.svg import Mark

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""By precision, in the order of the legend."""
LABELS_MAX = 24
HEAT_CELL = (74, 24)


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    series: int
    marker: int
    mark: Mark
    label: str = ""


@dataclass(frozen=True)
class Roof:
    """A machine's measured ceilings at one precision."""

    label: str
    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Bar:
    """A stack of (series, length, mark), drawn from the left."""

    label: str
    parts: Sequence[tuple[int, float, Mark]]


@dataclass(frozen=True)
class Tile:
    """One heat-map cell. `ratio` None: nothing to compare, and `text` says in a word why."""

    ratio: float | None
    text: str
    mark: Mark


def pareto(points: Sequence[Point], label: str, prefix: str) -> Markup:
    """Latency in ms against samples/s, both logarithmic, with the front of points that no other one beats in both."""
    canvas, axes = drawn_axes(278, 200, left=40, bottom=34, top=22, right=12)
    _log_scale(axes, [p.x for p in points], [p.y for p in points], pad=0.14)
    best = front(points)
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    xs, ys = [best[0].x, *(p.x for p in best), right], [bottom, *(p.y for p in best), best[-1].y]
    axes.step(xs, ys, where="post", color=svg.FRONT, lw=1.1, ls=(0, (4, 3)), zorder=1)
    marks = _scatter(axes, points)
    axes.set_xlabel("p50 latency (ms)", labelpad=2, fontsize=10.5, color=svg.MUTED)
    axes.text(4 / 278, 1 - 10 / 200, "samples/s", transform=canvas.transFigure, fontsize=10.5, color=svg.MUTED)
    return svg.inline(canvas, label, prefix, marks)


def front(points: Sequence[Point]) -> list[Point]:
    """The points with no other at most as slow and at least as productive, by latency."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def roofline(roofs: Sequence[Roof], points: Sequence[Point], label: str, prefix: str) -> Markup:
    """Achieved FLOP/s against arithmetic intensity in FLOP/byte, under min(peak, bandwidth x intensity)."""
    canvas, axes = drawn_axes(760, 420, left=64, bottom=44, top=14, right=16)
    ridges = [roof.flops_per_s / roof.bytes_per_s for roof in roofs]
    xs = [p.x for p in points] + ridges
    low, high = min(xs) / 2, max(xs) * 8
    ys = [p.y for p in points] + [height for roof in roofs for height in (roof.flops_per_s, roof.bytes_per_s * low)]
    _log_scale(axes, [low, high], ys, pad=0.1, unit=si)
    placed = Labels(axes)
    for point in points:
        placed.keep_clear(point.x, point.y)
    for roof in roofs:
        _draw_roof(axes, roof, low, high, placed)
    marks = _scatter(axes, points, size=7)
    for point in points[:LABELS_MAX]:
        placed.write(point.x, point.y, point.label)
    axes.set_xlabel("arithmetic intensity (FLOP/byte)", labelpad=4, color=svg.MUTED)
    axes.set_ylabel("achieved FLOP/s", labelpad=4, color=svg.MUTED)
    return svg.inline(canvas, label, prefix, marks)


def _draw_roof(axes: Axes, roof: Roof, low: float, high: float, placed: Labels) -> None:
    ridge = roof.flops_per_s / roof.bytes_per_s
    xs = (low, ridge, high)
    axes.plot(xs, [min(roof.flops_per_s, roof.bytes_per_s * x) for x in xs], color=svg.INK, lw=1.4, zorder=2)
    for step in range(101):
        x = low * (high / low) ** (step / 100)
        placed.keep_clear(x, min(roof.flops_per_s, roof.bytes_per_s * x), reach=2)
    text = f"{roof.label}: {si(roof.flops_per_s, 'FLOP/s')}, {si(roof.bytes_per_s, 'B/s')}"
    placed.write(high, roof.flops_per_s, text, color=svg.INK, sides=((-2, 4, "right"), (-2, -15, "right")), always=True)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], tiles: Mapping[tuple[int, int], Tile], label: str, prefix: str
) -> Markup:
    """Ratios in words and colour; a tile without a ratio is an outline with its reason."""
    wide, high = HEAT_CELL
    left = 12 + 6.2 * max(len(name) for name in rows)
    top = 18 + 13 * max(name.count("\n") for name in columns)
    canvas, axes = drawn_axes(
        left + wide * len(columns) + 4, top + high * len(rows) + 4, left=left, bottom=4, top=top, right=4
    )
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([i + 0.5 for i in range(len(columns))], columns)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=svg.INK, labelsize=10.5)
    marks = {}
    for (row, column), tile in tiles.items():
        _draw_tile(axes, row, column, tile)
        marks[f"mark:{row}:{column}"] = tile.mark
    return svg.inline(canvas, label, prefix, marks)


def stacks(bars: Sequence[Bar], unit: str, label: str, prefix: str) -> Markup:
    """Lying bars, the first on top, on one linear axis from 0."""
    left, high = 14 + 6.2 * max(len(bar.label) for bar in bars), 24
    canvas, axes = drawn_axes(left + 560, high * len(bars) + 46, left=left, bottom=38, top=8, right=16)
    axes.grid(visible=False, axis="y")
    axes.set(ylim=(len(bars), 0))
    axes.set_yticks([row + 0.5 for row in range(len(bars))], [bar.label for bar in bars])
    axes.tick_params(axis="y", length=0, labelcolor=svg.INK, labelsize=10.5)
    marks = {}
    for row, bar in enumerate(bars):
        start = 0.0
        for number, (series, length, mark) in enumerate(bar.parts):
            gid = f"mark:{row}:{number}"
            axes.barh(row + 0.5, length, height=0.66, left=start, color=svg.series(series), linewidth=0, gid=gid)
            marks[gid] = mark
            start += length
    axes.set_xlim(0)
    axes.set_xlabel(unit, labelpad=2, color=svg.MUTED)
    return svg.inline(canvas, label, prefix, marks)


def heat_bin(ratio: float) -> int:
    """0 (a quarter or less) to 8 (four times or more), half a doubling each, 4 for as fast."""
    return max(0, min(palette.BINS - 1, round(2 * math.log2(ratio)) + palette.MIDDLE_BIN)) if ratio > 0 else 0


def _draw_tile(axes: Axes, row: int, column: int, tile: Tile) -> None:
    from matplotlib.patches import Rectangle

    known = tile.ratio is not None
    fill = svg.heat(heat_bin(tile.ratio)) if tile.ratio is not None else "none"
    style: dict[str, Any] = (
        {"edgecolor": "none"} if known else {"edgecolor": svg.GRID, "linestyle": (0, (2, 2)), "linewidth": 1}
    )
    axes.add_patch(
        Rectangle((column + 0.02, row + 0.05), 0.96, 0.9, facecolor=fill, gid=f"mark:{row}:{column}", **style)
    )
    colour = svg.heat_text(heat_bin(tile.ratio)) if tile.ratio is not None else svg.MUTED
    axes.text(
        column + 0.5, row + 0.5, tile.text, ha="center", va="center", fontsize=10.5 if known else 9.5, color=colour
    )


def plain(value: float) -> str:
    """A tick: "0.05", "20", "1,000", "50k", "2M"."""
    if value >= 1e4:
        return si(value).replace(" ", "")
    return f"{value:,g}"


def drawn_axes(
    width: float, height: float, *, left: float, bottom: float, top: float, right: float
) -> tuple[Any, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(svg.RC):
        canvas = Figure(figsize=(width / 72, height / 72), dpi=72)
        canvas.patch.set_visible(False)
        axes = canvas.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height),
            facecolor="none",
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(svg.FRONT)
    axes.tick_params(color=svg.FRONT, labelcolor=svg.MUTED, labelsize=10, length=3, pad=3)
    axes.grid(visible=True, color=svg.GRID, lw=0.8)
    axes.set_axisbelow(True)
    return canvas, axes


def _log_scale(axes: Axes, xs: Sequence[float], ys: Sequence[float], *, pad: float, unit: Any = None) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set(xscale="log", yscale="log")
    for axis, values, name in ((axes.xaxis, xs, plain), (axes.yaxis, ys, unit or plain)):
        low, high = span(values, pad)
        marked = ticks(low, high)
        axis.set_major_locator(FixedLocator(marked))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([name(tick) for tick in marked])
        (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(low, high)


def span(values: Sequence[float], pad: float) -> tuple[float, float]:
    """Limits with `pad` of their length to spare, and at least a factor of four wide."""
    low, high = math.log10(min(values)), math.log10(max(values))
    spare = max((high - low) * pad, (math.log10(4) - (high - low)) / 2, 0.05)
    return 10 ** (low - spare), 10 ** (high + spare)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values between the limits, `most` of them at most: the finest of a few usual steps that keeps to it."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def _scatter(axes: Axes, points: Sequence[Point], size: float = 6.5) -> dict[str, Mark]:
    marks = {}
    for number, point in enumerate(points):
        shape = MARKERS[point.marker % len(MARKERS)]
        colour = svg.series(point.series)
        axes.plot(
            [point.x], [point.y], shape, color=colour, ms=size, mew=0, zorder=3, gid=f"mark:{number}", clip_on=False
        )
        marks[f"mark:{number}"] = point.mark
    return marks


class Labels:
    """Writes beside points where there is room, and leaves out what would overlap unless it has to be there."""

    _SIDES = ((7, -4, "left"), (-7, -4, "right"), (0, 7, "center"), (0, -15, "center"))

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.taken: list[tuple[float, float, float, float]] = []

    def keep_clear(self, x: float, y: float, reach: float = 4) -> None:
        across, up = self.axes.transData.transform((x, y))
        self.taken.append((across - reach, up - reach, across + reach, up + reach))

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        color: str = svg.MUTED,
        sides: Sequence[tuple[float, float, str]] = _SIDES,
        always: bool = False,
    ) -> None:
        across, up = self.axes.transData.transform((x, y))
        wide = 5.6 * len(text)
        for right, above, align in (*sides, *(sides[:1] if always else ())):
            start = across + right - {"left": 0, "right": wide, "center": wide / 2}[align]
            box = (start, up + above - 1, start + wide, up + above + 10)
            if self._free(box):
                break
        else:
            if not always:
                return
        self.taken.append(box)
        style: dict[str, Any] = {"ha": align, "va": "bottom", "fontsize": 10, "color": color}
        self.axes.annotate(text, (x, y), (right, above), textcoords="offset pixels", **style)

    def _free(self, box: tuple[float, float, float, float]) -> bool:
        edge = self.axes.bbox
        inside = box[0] >= edge.x0 and box[2] <= edge.x1 and box[1] >= edge.y0 and box[3] <= edge.y1 + 12
        return inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in self.taken
        )
