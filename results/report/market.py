"""What others published, beside what was measured here and never ranked with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from results import lints
from results.lints.market import MarketFinding
from results.numbers import si, significant
from results.published.networks import network_of
from results.published.row import Published
from results.report.notes import Notes
from results.report.sheets import Cell, Column
from results.report.words import spaced

OTHERS_MAX = 300
SOURCE_MAX = 60
RATES = {"sample": "samples", "query": "queries", "token": "tokens", "inference": "inferences"}
LEVELS = {"impossible": "invalid", "suspect": "noisy", "note": "note"}
COLUMNS = (
    Column("hardware", "Hardware"), Column("precision", "Precision"), Column("scenario", "Scenario"),
    Column("figure", "Published", "by all accelerators", numeric=True),
    Column("each", "Per accelerator", "derived", numeric=True), Column("energy", "Energy, power", numeric=True),
    Column("source", "Source"),
)  # fmt: skip


@dataclass(frozen=True)
class MarketRow:
    """`finding` is a label for what cannot be, with its `css` and `why`."""

    hardware: str
    count: str
    cells: Sequence[Cell]
    finding: str = ""
    css: str = ""
    why: str = ""


@dataclass(frozen=True)
class Group:
    """The rows of one network, with what it has to do with a workload here."""

    name: str
    why: str
    rows: Sequence[MarketRow]


@dataclass(frozen=True)
class Market:
    """`same` are networks that are workloads here, `others` are not; `left_out` are more rows of those."""

    columns: Sequence[Column]
    same: Sequence[Group]
    others: Sequence[Group]
    left_out: int
    sources: Sequence[str]
    notes: Sequence[str]
    total: int


def market(rows: Sequence[Published], notes: Notes | None = None) -> Market | None:
    """Of rows that differ in the system only the best one; None where nothing was imported."""
    if not rows:
        return None
    notes = notes or Notes()
    findings = {finding.place: finding for finding in reversed(lints.market.find(rows))}
    best = sorted(_best(_merged(rows)), key=_place)
    same = [row for row in best if network_of(row.workload).workload]
    others = [row for row in best if not network_of(row.workload).workload]
    return Market(
        columns=COLUMNS,
        same=_groups(same, findings, notes),
        others=_groups(others[:OTHERS_MAX], findings, notes),
        left_out=len(others[OTHERS_MAX:]),
        sources=sorted({f"{row.file} (SHA-256 {row.file_sha256[:12]})" for row in rows}),
        notes=notes.texts(),
        total=len(rows),
    )


def _groups(rows: Iterable[Published], findings: Mapping[tuple[str, int], MarketFinding], notes: Notes) -> list[Group]:
    made = []
    for name, group in groupby(rows, key=_network):
        each = list(group)
        shown = [_row(row, findings.get(row.place), notes) for row in each]
        made.append(Group(name, network_of(each[0].workload).why, shown))
    return made


def _network(row: Published) -> str:
    return network_of(row.workload).workload or row.workload


def _merged(rows: Iterable[Published]) -> Iterator[Published]:
    """Tables give the energy of a run in a row of its own: it joins the run's other figure."""
    runs: dict[tuple[object, ...], list[Published]] = {}
    for row in rows:
        place = (row.file, row.source, row.hardware, row.accelerators, row.software, row.workload, row.precision)
        runs.setdefault((*place, row.batch, row.scenario, row.note), []).append(row)
    for group in runs.values():
        timed = [row for row in group if row.throughput_per_s or row.latency_ns]
        beside = [row for row in group if not (row.throughput_per_s or row.latency_ns)]
        if len(timed) != 1 or not beside:
            yield from group
            continue
        update = {name: getattr(row, name) for row in beside for name in ("energy_j", "power_w") if getattr(row, name)}
        yield timed[0].model_copy(update=update)


def _best(rows: Iterable[Published]) -> Iterable[Published]:
    """Of each network, hardware, precision, scenario and figure."""
    best: dict[tuple[object, ...], Published] = {}
    for row in rows:
        place = (
            _network(row),
            row.hardware,
            row.precision,
            row.scenario,
            row.unit,
            row.metric,
            row.throughput_per_s is None,
        )
        if place not in best or _better(row, best[place]):
            best[place] = row
    return best.values()


def _better(row: Published, other: Published) -> bool:
    mine, theirs = row.per_accelerator_per_s, other.per_accelerator_per_s
    if mine is not None and theirs is not None:
        return mine > theirs
    return bool(row.latency_ns and other.latency_ns and row.latency_ns < other.latency_ns)


def _place(row: Published) -> tuple[str, ...]:
    return _network(row), row.scenario, row.hardware, row.precision, row.metric


def _row(row: Published, found: MarketFinding | None, notes: Notes) -> MarketRow:
    cells = [
        Cell(row.precision) if row.precision else Cell(note=notes.add("the table does not say the precision")),
        Cell(_scenario(row)),
        _figure(row),
        _each(row, notes),
        _energy(row, notes),
        Cell(_short(row.source), "dim2", tail="" if row.date == "undated" else row.date[:10].partition(" ")[0]),
    ]
    many = row.accelerators or row.systems
    count = "" if many == 1 else f"\u00d7 {many}" if row.accelerators else f"\u00d7 {many} systems"
    if found is None:
        return MarketRow(row.hardware, count, cells)
    why = f"{spaced(found.code)}: {found.detail}; {lints.WHY[found.code]}"
    return MarketRow(row.hardware, count, cells, found.level, LEVELS[found.level], why)


def _scenario(row: Published) -> str:
    return row.scenario + (f", batch {row.batch}" if row.batch else "")


def _figure(row: Published) -> Cell:
    if row.throughput_per_s is not None:
        return Cell(f"{significant(row.throughput_per_s, 4)} {RATES[row.unit]}/s", "num")
    if row.latency_ns is not None:
        tail = "" if row.metric.lower() == "latency" else row.metric
        return Cell(f"{significant(row.latency_ns * 1e-6, 3)} ms", "num", tail=tail)
    return Cell("", "num", tail=row.metric)


def _each(row: Published, notes: Notes) -> Cell:
    rate = row.per_accelerator_per_s
    if rate is None:
        return Cell(css="num ", note=notes.add("per accelerator: only a rate can be shared out"))
    if row.accelerators is None:
        return Cell(css="num ", note=notes.add(f"per accelerator: {row.missing['accelerators'].partition(':')[0]}"))
    return Cell(significant(rate, 4), "num")


def _energy(row: Published, notes: Notes) -> Cell:
    if row.energy_j is not None:
        return Cell(f"{_joules(row.energy_j)}/{row.unit}", "num")
    if row.power_w is not None:
        return Cell(si(row.power_w, "W"), "num", tail="whole system")
    return Cell(css="num ", note=notes.add("energy and power: not published with it"))


def _joules(energy_j: float) -> str:
    factor, unit = next(((f, u) for f, u in ((1.0, "J"), (1e-3, "mJ")) if energy_j >= f), (1e-6, "\u00b5J"))
    return f"{significant(energy_j / factor, 3)} {unit}"


def _short(source: str) -> str:
    """An address without what every one begins with, cut where a cell ends."""
    plain = source.removeprefix("https://").removeprefix("www.")
    return plain if len(plain) <= SOURCE_MAX else f"{plain[:SOURCE_MAX]}\u2026"
