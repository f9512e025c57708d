"""The comparison: one sheet per scenario, as their figures are different quantities and must not share a column."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from results.metrics import BY_KEY
from results.names import COMPILE
from results.numbers import binary, si
from results.report.lines import OPTIONAL, USUAL, Line, precision_order, ratio
from results.report.notes import Notes
from results.report.scenarios import ENERGY, KINDS, OTHER, PREDICTED, SILENT
from results.report.words import spaced


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
    """`value` sorts a number, `note` is the number of the footnote that says why there is none, `tags` are neutral."""

    text: str = ""
    css: str = ""
    value: str | None = None
    tail: str = ""
    tags: Sequence[str] = ()
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
class Context:
    """What a cell may need beyond its line."""

    base: Mapping[str, Line]
    base_name: str
    notes: Notes = field(default_factory=Notes)


SHARED = {"hardware": "on {}", "precision": "in {}", "batch": "at batch {}", "usd_per_hour": "priced at {} $/h"}
"""Columns that become words of the caption where every line has the same text in them."""


def sheets(lines: Sequence[Line], context: Context) -> list[Sheet]:
    """One sheet per scenario that has a measured model, in the order of KINDS, then by name."""
    shown = [line for line in lines if line.comparable]
    names = {line.kind for line in shown}
    ordered = [*(name for name in KINDS if name in names), *sorted(names - KINDS.keys())]
    return [
        _sheet(name, sorted((n for n in shown if n.kind == name), key=_place_in_sheet), context) for name in ordered
    ]


def estimates(lines: Sequence[Line], context: Context) -> Sheet | None:
    """What was not measured, in a sheet of its own; None where there is nothing of the kind."""
    shown = sorted((line for line in lines if line.estimated), key=_place_in_sheet)
    return _sheet(COMPILE, shown, context) if shown else None


def _place_in_sheet(line: Line) -> tuple[object, ...]:
    row = line.row
    batch = int(row["batch"]) if row["batch"].isdigit() else 0
    return row["workload"], line.hardware, row["engine"], precision_order(row["precision"]), batch, line.config


def _sheet(name: str, lines: Sequence[Line], context: Context) -> Sheet:
    kind = KINDS.get(name, OTHER)
    optional = tuple(part for part in OPTIONAL if any(line.row[part] != USUAL[part] for line in lines))
    scenario = ("scenario",) if any(line.row["scenario"] != name for line in lines) else ()
    wanted = ("engine", "precision", *optional, "batch", *scenario, "hardware")
    wanted = ("hardware", *wanted[:-1]) if name == COMPILE else wanted
    shared = _shared(lines, context)
    identity = tuple(part for part in wanted if part not in shared)
    droppable = (key for key in (*ENERGY, *PREDICTED, *SILENT) if key in kind.columns)
    unmetered = [key for key in droppable if all(line.row[key] is None for line in lines)]
    figures = tuple(key for key in kind.columns if key not in (*shared, *unmetered))
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
    caption = " ".join(filter(None, (_common_words(shared), kind.caption, _unmetered_words(lines, unmetered, context))))
    return Sheet(name, kind.title or spaced(name).capitalize(), caption, columns, rows)


def _common_words(shared: Mapping[str, str]) -> str:
    words = ", ".join(SHARED[part].format(text) for part, text in shared.items())
    return f"All {words}." if words else ""


def _unmetered_words(lines: Sequence[Line], unmetered: Sequence[str], context: Context) -> str:
    """Why the sheet lacks columns, which no row of it has a figure for; those for the same reasons together."""
    by_reason: dict[str, list[str]] = {}
    for key in (key for key in unmetered if key in PREDICTED):
        by_reason.setdefault(_notes(lines, key, "", context), []).append(BY_KEY[key].label)
    words = [f"Not told: {', '.join(labels)} (note {numbers})." for numbers, labels in by_reason.items()]
    if "energy_j" in unmetered:
        numbers = _notes(lines, "energy_j", "energy and power: ", context)
        words.append(f"Energy and power are not measured (note {numbers}).")
    return " ".join(words)


def _notes(lines: Sequence[Line], key: str, prefix: str, context: Context) -> str:
    """The numbers of the reasons why no line has this figure."""
    return ", ".join(map(str, sorted({context.notes.add(f"{prefix}{line.row['missing'][key]}") for line in lines})))


def _shared(lines: Sequence[Line], context: Context) -> dict[str, str]:
    """The parts of SHARED in which all lines agree, with their text."""
    texts = {part: {_text(line, part, context) for line in lines} for part in SHARED}
    return {part: text for part, (text, *others) in texts.items() if text and not others}


def _text(line: Line, part: str, context: Context) -> str:
    if part in BY_KEY:
        return "" if line.row[part] is None else _cell(line, part, context).text
    return _word(line, part).text


def _column(key: str) -> Column:
    if key in _COLUMNS:
        return _COLUMNS[key]
    if key in BY_KEY:
        metric = BY_KEY[key]
        label = metric.label.removeprefix("latency ")
        head = label if key.startswith("latency_p") else label[0].upper() + label[1:]
        return Column(key, head, metric.unit, True, metric.better == "higher")
    return Column(key, key.capitalize())


_COLUMNS = {
    "spread": Column("spread", "Spread", "95 % or range, n", numeric=True),
    "ratio": Column("ratio", "Ratio", "× baseline", numeric=True, descending=True),
    "bounds": Column("bounds", "In bound", "p99 if not said"),
    "estimated_latency_ns": Column("estimated_latency_ns", "Latency", "ms, predicted", numeric=True),
    "estimated_cycles": Column("estimated_cycles", "Cycles", "predicted", numeric=True),
    "estimated_clock_mhz": Column("estimated_clock_mhz", "Clock", "MHz, assumed", numeric=True),
    "estimated_flops": Column("estimated_flops", "Work", "compiled, × card's", numeric=True),
    "estimated_memory_bytes": Column("estimated_memory_bytes", "Memory", "peak, of limit", numeric=True),
    "estimated_sram_bytes": Column("estimated_sram_bytes", "Fast memory", "peak", numeric=True),
    "estimated_weights_bytes": Column("estimated_weights_bytes", "Weights", "compiled", numeric=True),
    "estimated_fallback_operators": Column("estimated_fallback_operators", "Fallback", "operators", numeric=True),
    "estimate_source": Column("estimate_source", "Source"),
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
    unbelieved = key in ENERGY and line.row["power_valid"] is False
    css = "num doubt" if unbelieved or (line.row["verdict"] == "invalid" and key != "usd_per_hour") else "num"
    return Cell(_sign(line, key) + metric.shown(value), css, f"{value:.6g}")


def _sign(line: Line, key: str) -> str:
    """What kind of figure a price or cost is: a floor, and one that rests on a reference price."""
    floor = "≥" if key == "usd_per_million" and line.row["usd_is_floor"] else ""
    priced = key in ("usd_per_hour", "usd_per_million") and line.row["price_kind"] == "reference"
    return floor + ("≈" if priced else "")


def _gap(line: Line, key: str, context: Context) -> Cell:
    reason = line.row["missing"].get(key, f"{key} was not recorded").replace(line.row["workload"], "the workload")
    named = key in BY_KEY and not line.estimated  # an estimate lacks many figures for one reason
    return Cell(css="num ", note=context.notes.add(f"{BY_KEY[key].label}: {reason}" if named else reason))


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
    """The reasons that decided it; notes, and LoadGen's own verdict, are labels beside it."""
    row = line.row
    codes = ", ".join(spaced(reason.code) for reason in row["reasons"] if reason.severity != "note")
    tags = [spaced(reason.code) for reason in row["reasons"] if reason.severity == "note"]
    if row["loadgen"]:
        tags.insert(0, f"LoadGen: {row['loadgen']}")
        tags += ["not official"] if not row["official"] and "not official" not in tags else []
    css = "verdict why" if codes or tags else "verdict"
    return Cell(row["verdict"], css, verdict=row["verdict"], tail=codes, tags=tags)


def _size(key: str, beside: str = "") -> Callable[[Line, Context], Cell]:
    """Cells of bytes, as they run from kilobytes to gigabytes; `beside` is the limit's key."""

    def cell(line: Line, context: Context) -> Cell:
        value, limit = line.row[key], line.row[beside] if beside else None
        if value is None:
            return _gap(line, key, context)
        return Cell(binary(value), "num", f"{value:.6g}", "" if limit is None else f"of {binary(limit)}")

    return cell


def _work(line: Line, context: Context) -> Cell:
    value, ratio_to_ours = line.row["estimated_flops"], line.row["estimated_flops_ratio"]
    if value is None:
        return _gap(line, "estimated_flops", context)
    tail = "" if ratio_to_ours is None else f"{ratio_to_ours:.3f}\u00d7"
    return Cell(si(value, "FLOP"), "num", f"{value:.6g}", tail)


_SPECIAL: dict[str, Callable[[Line, Context], Cell]] = {
    "estimated_flops": _work,
    "estimated_memory_bytes": _size("estimated_memory_bytes", "estimated_memory_limit_bytes"),
    "estimated_sram_bytes": _size("estimated_sram_bytes"),
    "estimated_weights_bytes": _size("estimated_weights_bytes"),
    "estimate_source": lambda line, _: Cell(str(line.row["estimate_source"]), "dim2"),
    "spread": _spread,
    "ratio": _ratio,
    "bounds": _bounds,
    "quality": _quality,
    "verdict": _verdict,
}
