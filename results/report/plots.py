"""Which figures each chart shows, and what is said about those it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from results.metrics import BY_KEY
from results.names import scenario_name
from results.numbers import si
from results.report import charts, palette
from results.report.charts import Point, Roof, Tile
from results.report.lines import Line, Place, precision_order, ratio
from results.report.scenarios import KINDS
from results.report.svg import Mark
from results.report.words import spaced
from results.roofline import Ceiling

FACETS_MAX = 20
ROOFLINES_MAX = 4
ROOF_POINTS_MAX = 120
HEAT_MAPS_MAX = 6
HEAT_ROWS_MAX, HEAT_COLUMNS_MAX = 20, 10
HALF_WIDTH = 5
"""Columns of a heat map up to which two maps stand side by side."""
PAIR = ("single_stream", "offline")
SHORT = {"unsupported": "unsupp.", "absent": "absent", "failed": "failed"}

Ceilings = Mapping[tuple[str, str, str, str], Ceiling]


@dataclass(frozen=True)
class Figure:
    name: str
    svg: Markup
    caption: str = ""
    key: Markup | None = None
    full: bool = False


@dataclass(frozen=True)
class Legend:
    """Series by engine and hardware, markers by precision, the same in every chart."""

    series: Mapping[str, int]
    markers: Mapping[str, int]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Legend:
        series = [name for name, _ in Counter(map(series_name, lines)).most_common()]
        return cls(
            {name: min(i, palette.SERIES - 1) for i, name in enumerate(series)},
            {name: i for i, name in enumerate(sorted({line.row["precision"] for line in lines}, key=precision_order))},
        )

    def html(self) -> Markup:
        named: dict[int, str] = {}
        for name, index in self.series.items():
            named[index] = f"{named[index]}, {name}" if index in named else name
        colours = [
            Markup('<li><span class="swatch" style="background:var(--s{})"></span>{}</li>').format(i, n)
            for i, n in named.items()
        ]
        shapes = [Markup("<li>{}{}</li>").format(_shape(i), name) for name, i in self.markers.items()]
        return Markup('<ul class="key">{}{}</ul>').format(Markup("").join(colours), Markup("").join(shapes))


def series_name(line: Line) -> str:
    return line.config.replace(f" {line.row['precision']}", "", 1)


def paretos(lines: Sequence[Line], legend: Legend) -> tuple[list[Figure], str]:
    """One figure per workload, and a caption for all of them."""
    by_workload: dict[str, list[Point]] = {}
    unpaired = 0
    for pair in _pairs(lines):
        if len(pair) == 2:
            by_workload.setdefault(pair[0].row["workload"], []).append(_pareto_point(*pair, legend))
        else:
            unpaired += 1
    drawn = sorted(sorted(by_workload, key=lambda name: -len(by_workload[name]))[:FACETS_MAX])
    figures = [
        Figure(name, charts.pareto(by_workload[name], f"{name}: p50 latency in ms against samples per second", f"p{i}"))
        for i, name in enumerate(drawn)
    ]
    caption = (
        "Each point is one engine at one precision and batch: the median latency of its single stream across, its "
        "offline throughput up, both logarithmic. Better is up and left; the dashed front joins what nothing else "
        "beats in both. What LoadGen drove is in the tables only."
    )
    if unpaired:
        caption += f" {unpaired} more {'has' if unpaired == 1 else 'have'} only one of the two figures and no point."
    if len(by_workload) > len(drawn):
        caption += f" Drawn are the {len(drawn)} workloads with most points of {len(by_workload)}; the table has all."
    return figures, caption


def rooflines(lines: Sequence[Line], ceilings: Ceilings, legend: Legend) -> list[Figure]:
    """One figure per place whose ceilings were measured."""
    by_place: dict[Place, list[Line]] = {}
    for line in lines:
        if line.kind in PAIR and line.row["achieved_flops_per_s"] and line.row["intensity_flops_per_byte"]:
            by_place.setdefault(line.place, []).append(line)
    figures: list[Figure] = []
    for place, found in by_place.items():
        roofs = [
            Roof(roof.precision, roof.flops_per_s, roof.bytes_per_s)
            for key, roof in ceilings.items()
            if key[:3] == place and roof.flops_per_s and roof.bytes_per_s
        ]
        if roofs and len(figures) < ROOFLINES_MAX:
            figures.append(_roofline(f"q{len(figures)}", found, roofs, legend))
    return figures


def heat_maps(
    lines: Sequence[Line], unmeasured: Sequence[Line], base: Mapping[str, Line], base_name: str
) -> list[Figure]:
    """One figure per scenario that has ratios, those with most results where there are too many."""
    counts = Counter(line.row["scenario"] for line in lines if line.id in base and line.kind in KINDS)
    chosen = [scenario for scenario, _ in counts.most_common(HEAT_MAPS_MAX)]
    figures: list[Figure] = []
    for scenario in sorted(chosen, key=lambda name: (list(KINDS).index(scenario_name(name)), name)):
        found = [line for line in lines if line.row["scenario"] == scenario and line.id in base]
        batch = Counter(line.row["batch"] for line in found).most_common(1)[0][0]
        every = [
            line for line in (*lines, *unmeasured) if line.row["scenario"] == scenario and line.row["batch"] == batch
        ]
        figures.append(_heat_map(f"h{len(figures)}", scenario, batch, every, base, base_name))
    return figures


def ramp() -> Markup:
    """The heat map's colours with what they stand for."""
    words = {0: "¼× or less", 2: "½×", 4: "1×", 6: "2×", 8: "4× or more"}
    spans = [
        Markup('<span style="background:var(--h{0});color:var(--t{0})">{1}</span>').format(i, words.get(i, "\u00a0"))
        for i in range(palette.BINS)
    ]
    return Markup(
        '<p class="key small"><span>slower</span><span class="ramp">{}</span><span>faster than the baseline</span></p>'
    ).format(Markup("").join(spans))


def _pairs(lines: Sequence[Line]) -> Iterator[tuple[Line, ...]]:
    """A single stream with the offline run of the same configuration; other scenarios are other quantities."""
    configurations: dict[tuple[object, ...], dict[str, Line]] = {}
    for line in lines:
        if line.kind in PAIR and line.row["rules"] == "accelmark":
            key = (line.row["workload"], line.config, line.row["mode"], line.row["batch"], line.place)
            configurations.setdefault(key, {})[line.kind] = line
    for found in configurations.values():
        yield tuple(found[kind] for kind in PAIR if kind in found)


def _pareto_point(one: Line, other: Line, legend: Legend) -> Point:
    latency, rate = one.row["latency_p50_ns"], other.row["throughput_per_s"]
    title = (
        f"{one.config}, batch {one.row['batch']}: p50 {BY_KEY['latency_p50_ns'].shown(latency)} ms, "
        f"{BY_KEY['throughput_per_s'].shown(rate)} samples/s"
    )
    return Point(latency / 1e6, rate, *_look(one, legend), Mark(title, tuple(dict.fromkeys((one.id, other.id)))))


def _look(line: Line, legend: Legend) -> tuple[int, int]:
    return legend.series[series_name(line)], legend.markers[line.row["precision"]]


def _roofline(prefix: str, lines: Sequence[Line], roofs: Sequence[Roof], legend: Legend) -> Figure:
    offline = [line for line in lines if line.kind == "offline"] or [x for x in lines if x.kind == "single_stream"]
    best = sorted(offline, key=lambda line: -line.row["achieved_flops_per_s"])[:ROOF_POINTS_MAX]
    labelled: set[str] = set()
    points = []
    for line in best:
        name = line.row["workload"]
        points.append(_roof_point(line, legend, "" if name in labelled else name))
        labelled.add(name)
    hardware = lines[0].hardware
    load = spaced(offline[0].kind)
    caption = (
        f"Up: operations done per second, {load}. Across: operations per byte that has to be moved (weights once a "
        "batch, inputs and outputs once), an upper bound as caches are not counted. The roofs are this machine's own, "
        "the fastest matrix product and matrix-vector product seen: under the slope memory limits, under the flat part "
        "arithmetic does. A point over its roof is served by caches, or the roof was measured too low. Labels name the "
        "fastest point of a workload where there is room."
    )
    if len(offline) > len(best):
        caption += f" Drawn are the {len(best)} fastest of {len(offline)} results."
    roofless = sorted({line.row["precision"] for line in best} - {roof.label for roof in roofs})
    if roofless:
        caption += f" No roof was measured at {', '.join(roofless)}."
    title = f"Roofline of {hardware}"
    return Figure(title, charts.roofline(roofs, points, title, prefix), caption, legend.html())


def _roof_point(line: Line, legend: Legend, label: str) -> Point:
    x, y = line.row["intensity_flops_per_byte"], line.row["achieved_flops_per_s"]
    share = line.row["ceiling_share"]
    under = "" if share is None else f", {100 * share:.0f} % of its roof"
    where = f"{line.row['workload']}, {line.config}, batch {line.row['batch']}"
    title = f"{where}: {si(y, 'FLOP/s')} at {x:.3g} FLOP/byte{under}"
    return Point(x, y, *_look(line, legend), Mark(title, (line.id,)), label)


def _heat_map(
    prefix: str, scenario: str, batch: str, lines: Sequence[Line], base: Mapping[str, Line], base_name: str
) -> Figure:
    ranked = [line for line in lines if line.id in base]
    rows = _most_used((line.row["workload"] for line in ranked), HEAT_ROWS_MAX)
    order = {line.config: (series_name(line), precision_order(line.row["precision"])) for line in ranked}
    columns = sorted(_most_used((line.config for line in ranked), HEAT_COLUMNS_MAX), key=order.__getitem__)
    found = {(line.row["workload"], line.config): line for line in sorted(lines, key=lambda line: line.id in base)}
    tiles = {
        (i, j): _tile(workload, config, found.get((workload, config)), base)
        for i, workload in enumerate(rows)
        for j, config in enumerate(columns)
    }
    name = KINDS[scenario_name(scenario)].title + scenario.removeprefix(scenario_name(scenario)).replace("(", " (")
    caption = f"Batch {batch}. 1.00× is {base_name}." + _left_out(ranked, rows, columns)
    heads = [_wrapped(config) for config in columns]
    drawn = charts.heat_map(rows, heads, tiles, f"{name}: ratio to the baseline by workload and engine", prefix)
    return Figure(name, drawn, caption, full=len(columns) > HALF_WIDTH)


def _tile(workload: str, config: str, line: Line | None, base: Mapping[str, Line]) -> Tile:
    where = f"{workload}, {config}"
    if line is None:
        return Tile(None, "not run", Mark(f"{where}: not run"))
    if line.id in base:
        value = ratio(line, base[line.id])
        metric = BY_KEY[line.headline]
        return Tile(
            value, f"{value:.2f}×", Mark(f"{where}: {value:.2f}×, {metric.shown(line.value)} {metric.unit}", (line.id,))
        )
    reason = line.unranked or "the baseline has no result"
    status = line.row["status"]
    word = SHORT.get(status) or ("invalid" if line.row["verdict"] == "invalid" else "n/a")
    return Tile(None, word, Mark(f"{where}: {reason}", (line.id,) if status == "ok" else ()))


def _left_out(ranked: Sequence[Line], rows: Sequence[str], columns: Sequence[str]) -> str:
    text = ""
    for drawn, names, noun in (
        (rows, {line.row["workload"] for line in ranked}, "workloads"),
        (columns, {line.config for line in ranked}, "engines"),
    ):
        if len(names) > len(drawn):
            text += f" Drawn are {len(drawn)} of {len(names)} {noun}; the table has all."
    return text


def _most_used(names: Iterable[str], most: int) -> list[str]:
    """The commonest names, in their own order."""
    counted = Counter(names)
    return sorted(sorted(counted, key=lambda name: (-counted[name], name))[:most])


def _wrapped(config: str) -> str:
    engine, _, rest = config.partition(" ")
    rest, _, place = rest.partition(" on ")
    return "\n".join(part if len(part) <= 14 else part[:13] + "…" for part in (engine, rest, place) if part)


def _shape(index: int) -> Markup:
    """The chart's markers again, for the legend."""
    outline = (
        "M6 1a5 5 0 1 0 .01 0z", "M1.5 1.5h9v9h-9z", "M6 1l5.2 9.5H.8z", "M6 .5L11.5 6 6 11.5.5 6z",
        "M6 11L.8 1.5h10.4z", "M4 1h4v3h3v4H8v3H4V8H1V4h3z", "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
    )  # fmt: skip
    return Markup(
        '<svg class="shape" viewBox="0 0 12 12" aria-hidden="true"><path d="{}" fill="currentColor"/></svg>'
    ).format(escape(outline[index % len(outline)]))
