"""The comparison: one sheet per scenario, as their figures are different quantities and must not share a column."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from results.metrics import BY_KEY
from results.report.lines import OPTIONAL, USUAL, Line, precision_order, ratio
from results.report.notes import Notes


@dataclass(frozen=True)
class Column:
    """`descending`: the first click on its head puts the largest value first."""

    key: str
    label: str
    unit: str = ""
    numeric: bool = False
    descending: bool = False


@dataclass(frozen=True)
class Cell:
    """`value` sorts a number, `note` is the number of the footnote that says why there is none."""

    text: str = ""
    css: str = ""
    value: str | None = None
    tail: str = ""
    verdict: str = ""
    note: int | None = None
    ratio: bool = False


@dataclass(frozen=True)
class SheetRow:
    id: str
    name: str
    badge: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Sheet:
    slug: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[SheetRow]


@dataclass(frozen=True)
class Kind:
    """How one scenario is shown: `columns` are keys of METRICS or of `_SPECIAL`."""

    title: str
    caption: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Context:
    """What a cell may need beyond its line."""

    base: Mapping[str, Line]
    base_name: str
    notes: Notes = field(default_factory=Notes)


SINGLE_STREAM = Kind(
    "Single stream: latency",
    "One query at a time, the next sent when the last has answered. Ratios compare the median, p50; above 1 is faster.",
    (
        "latency_p50_ns", "spread", "latency_p90_ns", "latency_p99_ns", "ratio", "verdict", "bounds", "cold_start_ns",
        "quality", "usd_per_million", "usd_per_hour", "energy_j", "peak_memory_bytes",
    ),
)  # fmt: skip
OFFLINE = Kind(
    "Offline: throughput",
    "All samples available at once. Ratios compare throughput; above 1 is faster. Cost is a floor (≥): no latency "
    "bound was met.",
    (
        "throughput_per_s", "spread", "ratio", "verdict", "ceiling_share", "quality", "usd_per_million", "usd_per_hour",
        "energy_j", "peak_memory_bytes",
    ),
)  # fmt: skip
OTHER = Kind(
    "",
    "Ratios compare this scenario's own figure; above 1 is faster.",
    (
        "throughput_per_s", "latency_p50_ns", "latency_p90_ns", "latency_p99_ns", "spread", "ratio", "verdict",
        "bounds", "quality", "usd_per_million", "usd_per_hour", "energy_j", "peak_memory_bytes",
    ),
)  # fmt: skip
SHARED = {"hardware": "on {}", "precision": "in {}", "batch": "at batch {}", "usd_per_hour": "priced at {} $/h"}
"""Columns that become words of the caption where every line has the same text in them."""
KINDS = {"single_stream": SINGLE_STREAM, "offline": OFFLINE}


def sheets(lines: Sequence[Line], context: Context) -> list[Sheet]:
    """One sheet per scenario that has a measured model, in the order of KINDS, then by name."""
    shown = [line for line in lines if line.row["status"] == "ok" and line.row["role"] == "model"]
    names = {line.kind for line in shown}
    ordered = [*(name for name in KINDS if name in names), *sorted(names - KINDS.keys())]
    return [
        _sheet(name, sorted((n for n in shown if n.kind == name), key=_place_in_sheet), context) for name in ordered
    ]


def _place_in_sheet(line: Line) -> tuple[object, ...]:
    row = line.row
    batch = int(row["batch"]) if row["batch"].isdigit() else 0
    return row["workload"], line.hardware, row["engine"], precision_order(row["precision"]), batch, line.config


def _sheet(name: str, lines: Sequence[Line], context: Context) -> Sheet:
    kind = KINDS.get(name, OTHER)
    optional = tuple(part for part in OPTIONAL if any(line.row[part] != USUAL[part] for line in lines))
    scenario = ("scenario",) if any(line.row["scenario"] != name for line in lines) else ()
    wanted = ("engine", "precision", *optional, "batch", *scenario, "hardware")
    shared = _shared(lines, context)
    identity = tuple(part for part in wanted if part not in shared)
    figures = tuple(key for key in kind.columns if key not in shared)
    columns = [Column("workload", "Workload"), *map(_column, (*identity, *figures))]
    rows = [
        SheetRow(
            line.id,
            line.row["workload"],
            "" if line.row["provenance"] == "measured" else line.row["provenance"],
            [*(_word(line, part) for part in identity), *(_cell(line, key, context) for key in figures)],
        )
        for line in lines
    ]
    words = ", ".join(SHARED[part].format(text) for part, text in shared.items())
    caption = f"All {words}. {kind.caption}" if words else kind.caption
    return Sheet(name, kind.title or name.replace("_", " ").capitalize(), caption, columns, rows)


def _shared(lines: Sequence[Line], context: Context) -> dict[str, str]:
    """The parts of SHARED in which all lines agree, with their text."""
    texts = {part: {_text(line, part, context) for line in lines} for part in SHARED}
    return {part: text for part, (text, *others) in texts.items() if text and not others}


def _text(line: Line, part: str, context: Context) -> str:
    if part in BY_KEY:
        return "" if line.row[part] is None else _cell(line, part, context).text
    return _word(line, part).text


def _column(key: str) -> Column:
    if key in BY_KEY:
        metric = BY_KEY[key]
        label = metric.label.removeprefix("latency ") if key.startswith("latency_p") else metric.label
        head = label if key.startswith("latency_p") else label[0].upper() + label[1:]
        return Column(key, head, metric.unit, True, metric.better == "higher")
    return _COLUMNS.get(key, Column(key, key.capitalize()))


_COLUMNS = {
    "spread": Column("spread", "Spread", "95 % or range, n", numeric=True),
    "ratio": Column("ratio", "Ratio", "× baseline", numeric=True, descending=True),
    "bounds": Column("bounds", "In bound", "p99 if not said"),
}


def _word(line: Line, part: str) -> Cell:
    text = line.hardware if part == "hardware" else str(line.row[part])
    if part == "batch":
        chosen = line.row["batch_chosen"]
        return Cell(text if text.isdigit() or chosen is None else f"{text} ({chosen:g})", "")
    return Cell(text, "dim2" if part == "hardware" else "")


def _cell(line: Line, key: str, context: Context) -> Cell:
    if key in _SPECIAL:
        return _SPECIAL[key](line, context)
    value, metric = line.row[key], BY_KEY[key]
    if value is None:
        return _gap(line, key, context)
    css = "num doubt" if line.row["verdict"] == "invalid" and key != "usd_per_hour" else "num"
    return Cell(_sign(line, key) + metric.shown(value), css, f"{value:.6g}")


def _sign(line: Line, key: str) -> str:
    """What kind of figure a price or cost is: a floor, and one that rests on a reference price."""
    floor = "≥" if key == "usd_per_million" and line.row["usd_is_floor"] else ""
    priced = key in ("usd_per_hour", "usd_per_million") and line.row["price_kind"] == "reference"
    return floor + ("≈" if priced else "")


def _gap(line: Line, key: str, context: Context) -> Cell:
    reason = line.row["missing"].get(key, f"{key} was not recorded").replace(line.row["workload"], "the workload")
    return Cell(css="num ", note=context.notes.add(f"{BY_KEY[key].label}: {reason}" if key in BY_KEY else reason))


def _spread(line: Line, context: Context) -> Cell:
    low, high = line.row[f"{line.headline}_low"], line.row[f"{line.headline}_high"]
    if not low or not high:
        return _gap(line, line.headline, context)
    half = math.sqrt(high / low) - 1
    return Cell(spread_text(line), "num spread", f"{half:.4g}")


def spread_text(line: Line) -> str:
    """The interval as a share, the range in the metric's unit, and how many repeats stand behind it."""
    metric, n = BY_KEY[line.headline], line.row["n"]
    low, high = line.row[f"{line.headline}_low"], line.row[f"{line.headline}_high"]
    if n == 1:
        return "one run"
    if line.row["interval"] == "t":
        return f"±{100 * (math.sqrt(high / low) - 1):.1f} %, n {n}"
    return f"{metric.shown(low)} to {metric.shown(high)}, n {n}"


def _ratio(line: Line, context: Context) -> Cell:
    base = context.base.get(line.id)
    if line.unranked:
        return Cell(css="num ", note=context.notes.add(f"no ratio: {line.unranked}"), ratio=True)
    if base is None:
        return Cell(
            css="num ",
            note=context.notes.add(f"no ratio: {context.base_name} has no result to compare with"),
            ratio=True,
        )
    value = ratio(line, base)
    return Cell(f"{value:.2f}×", "num best" if base is line else "num", f"{value:.4g}", ratio=True)


def _bounds(line: Line, context: Context) -> Cell:
    met = line.row["bounds_met"]
    if met is None:
        return Cell(note=context.notes.add("in bound: " + line.row["missing"].get("bounds_met", "not judged")))
    bounds = line.row["bounds"].replace("<=", "≤")
    return Cell("yes" if met else "no", tail=bounds.removeprefix("p99 ") if bounds.count("≤") == 1 else bounds)


def _quality(line: Line, context: Context) -> Cell:
    value = line.row["quality"]
    if value is None:
        return _gap(line, "quality", context)
    return Cell(BY_KEY["quality"].shown(value), "num", f"{value:.6g}", tail=str(line.row["quality_metric"]))


def _verdict(line: Line, _: Context) -> Cell:
    codes = ", ".join(reason.code.replace("_", " ") for reason in line.row["reasons"])
    return Cell(line.row["verdict"], "verdict why" if codes else "verdict", verdict=line.row["verdict"], tail=codes)


_SPECIAL: dict[str, Callable[[Line, Context], Cell]] = {
    "spread": _spread,
    "ratio": _ratio,
    "bounds": _bounds,
    "quality": _quality,
    "verdict": _verdict,
}
