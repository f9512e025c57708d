"""The small tables around the comparison: machine ceilings, what was not measured, prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.numbers import si
from results.report.lines import Line
from results.report.sheets import Cell, Column
from results.report.words import spaced

if TYPE_CHECKING:
    from results.join import Table

NAMES_MAX = 12
FINDINGS_MAX = 12
LEVELS = {"impossible": "invalid", "suspect": "noisy", "note": "note"}


@dataclass(frozen=True)
class Gap:
    """Cases that were asked for and not measured, for one reason."""

    hardware: str
    engines: str
    status: str
    reason: str
    remedy: str
    stderr: str
    cases: int
    workloads: str


@dataclass(frozen=True)
class Finding:
    """What `results/lints.py` found in one row; `row_id` leads to it, "" where the page has none."""

    row: str
    row_id: str
    detail: str


@dataclass(frozen=True)
class Findings:
    """All of one code and level, the first of them named; `left_out` are more."""

    level: str
    css: str
    title: str
    why: str
    rows: Sequence[Finding]
    left_out: int


@dataclass(frozen=True)
class NamedRow:
    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Grid:
    """A small plain table."""

    columns: Sequence[Column]
    rows: Sequence[NamedRow]


def findings(every: Sequence[Line], table: Table) -> list[Findings]:
    """What cannot be, or needs an explanation, the worst first."""
    from results import lints

    by_key = {(line.row["key"], line.row["fingerprint"]): line for line in every}
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in lints.find(table):
        named = _finding(one.detail, by_key[one.row_key, one.fingerprint])
        groups.setdefault((one.level, one.code), []).append(named)
    return [
        Findings(level, LEVELS[level], spaced(code), lints.WHY[code], rows[:FINDINGS_MAX], len(rows[FINDINGS_MAX:]))
        for (level, code), rows in groups.items()
    ]


def _finding(detail: str, line: Line) -> Finding:
    row = line.row
    name = f"{row['workload']}, {line.config}, {spaced(row['scenario'])}, batch {row['batch']}"
    shown = row["status"] == "ok" and row["role"] == "model"
    return Finding(name, line.id if shown else "", detail)


def ceilings(every: Sequence[Line], table: Table) -> Grid | None:
    """What the machines themselves can do, beside their datasheets."""
    found: dict[tuple[str, ...], Line] = {}
    for line in every:
        found.setdefault((*line.place, line.row["precision"]), line)
    rows = []
    for key, roof in table.ceilings.items():
        if key in found and (roof.flops_per_s or roof.bytes_per_s):
            line = found[key]
            sheet_flops, sheet_bytes = line.row["datasheet_flops_per_s"], line.row["datasheet_bytes_per_s"]
            cells = [Cell(roof.precision), *_pair(roof.flops_per_s, sheet_flops), *_pair(roof.bytes_per_s, sheet_bytes)]
            rows.append(
                NamedRow(line.hardware, [*cells, Cell(line.row["datasheet_source"] or "not in the catalog", "dim2")])
            )
    columns = [
        Column("hardware", "Hardware"), Column("precision", "Precision"),
        Column("", "Arithmetic", "measured, FLOP/s", numeric=True),
        Column("", "Arithmetic", "datasheet, FLOP/s", numeric=True),
        Column("", "Memory", "measured, B/s", numeric=True), Column("", "Memory", "datasheet, B/s", numeric=True),
        Column("", "Datasheet"),
    ]  # fmt: skip
    return Grid(columns, rows) if rows else None


def gaps(every: Sequence[Line]) -> list[Gap]:
    """Lines without a measurement, grouped by why."""
    groups: dict[tuple[str, str, str, str], list[Line]] = {}
    for line in every:
        if line.row["status"] != "ok":
            row = line.row
            groups.setdefault((row["status"], line.hardware, row["reason"], row["remedy"]), []).append(line)
    order = ("failed", "unsupported", "absent")
    return [_gap(groups[key]) for key in sorted(groups, key=lambda key: (order.index(key[0]), key))]


def _gap(found: Sequence[Line]) -> Gap:
    row = found[0].row
    return Gap(
        hardware=found[0].hardware,
        engines=_list(line.row["engine"] for line in found),
        status=row["status"],
        reason=row["reason"],
        remedy=row["remedy"],
        stderr=next((line.row["stderr_tail"] for line in found if line.row["stderr_tail"]), ""),
        cases=len(found),
        workloads=_list(line.row["workload"] for line in found),
    )


def prices(every: Sequence[Line]) -> Grid | None:
    """What an hour of each machine was taken to cost, and on whose word."""
    by_place = {line.place: line for line in every if line.row["status"] == "ok" and not line.estimated}
    if not by_place:
        return None
    rows = []
    for line in by_place.values():
        row = line.row
        if row["usd_per_hour"] is None:
            rows.append(
                NamedRow(
                    line.hardware,
                    [
                        Cell("none", "num na"),
                        Cell(""),
                        Cell(row["missing"].get("usd_per_hour", "not recorded")),
                        Cell(""),
                    ],
                )
            )
        else:
            usd = Cell(f"{row['usd_per_hour']:.4g}", "num")
            rows.append(
                NamedRow(
                    line.hardware, [usd, Cell(row["price_kind"]), Cell(row["price_source"]), Cell(row["price_date"])]
                )
            )
    columns = [
        Column("hardware", "Hardware"), Column("", "Price", "$/h, whole machine", numeric=True), Column("", "Kind"),
        Column("", "Source"), Column("", "Valid on"),
    ]  # fmt: skip
    return Grid(columns, rows)


def _pair(measured: float | None, sheet: float | None) -> tuple[Cell, Cell]:
    return _si(measured, "not measured"), _si(sheet, "not in the catalog")


def _si(value: float | None, reason: str) -> Cell:
    return Cell(reason, "num na") if value is None else Cell(si(value), "num")


def _list(values: Iterable[str]) -> str:
    found = sorted(set(values))
    more = f" and {len(found) - NAMES_MAX} more" if len(found) > NAMES_MAX else ""
    return ", ".join(found[:NAMES_MAX]) + more
