"""The chart of cold starts: what a fresh process spends its time on before its first answer."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from results.metrics import BY_KEY, PHASES
from results.report import charts
from results.report.charts import Bar
from results.report.lines import Line
from results.report.plots import Figure
from results.report.svg import Mark

BARS_MAX = 24
SERIES = {name: number for number, name in enumerate(PHASES)}


def cold_starts(lines: Sequence[Line]) -> list[Figure]:
    """One figure, or none; where not all fit it has the slowest."""
    found = [line for line in lines if line.kind == "cold_start" and line.value]
    if not found:
        return []
    kept = sorted(found, key=lambda line: -(line.value or 0))[:BARS_MAX]
    drawn = sorted(kept, key=lambda line: (line.row["workload"], line.config, line.row["scenario"]))
    caption = "Milliseconds from the start of a process to its first answer, by phase."
    if len(found) > len(drawn):
        caption += f" Drawn are the {len(drawn)} slowest of {len(found)}; the table has all."
    bars = [Bar(_label(line), _parts(line)) for line in drawn]
    used = {series for bar in bars for series, _, _ in bar.parts}
    svg = charts.stacks(bars, "ms", "Cold starts by phase, in ms", "c")
    return [Figure("Cold start by phase", svg, caption, _key(used))]


def _label(line: Line) -> str:
    parameters = line.row["scenario"].partition("(")[2].rstrip(")").replace("_", " ").replace("=", " ")
    return ", ".join(filter(None, (line.row["workload"], line.config, parameters)))


def _parts(line: Line) -> list[tuple[int, float, Mark]]:
    """A phase that another one holds has no part of its own."""
    shown = BY_KEY["cold_start_ns"].shown
    return [
        (SERIES[name], ns / 1e6, Mark(f"{_label(line)}: {BY_KEY[name].label} {shown(ns)} ms", (line.id,)))
        for name, ns in ((name, line.row[name]) for name in PHASES)
        if ns
    ]


def _key(used: set[int]) -> Markup:
    items = [
        Markup('<li><span class="swatch" style="background:var(--s{})"></span>{}</li>').format(
            series, BY_KEY[name].label
        )
        for name, series in SERIES.items()
        if series in used
    ]
    return Markup('<ul class="key">{}</ul>').format(Markup("").join(items))
