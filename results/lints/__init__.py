"""What cannot be, or needs an explanation, in a table of results: numbers held against physics and arithmetic.

A check (`results/checks`) judges one record by its own evidence; a lint holds figures against each other, against the
data sheet and against what the same machine was seen to do. An `impossible` one means that the measurement is wrong, a
`suspect` one that it needs an explanation, and a `note` says what an expert would ask. `WHY` says it for each code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from results.lints import arithmetic, market, physics
from results.lints.kinds import LEVELS, Found, Level, RepeatLint, Row

if TYPE_CHECKING:
    from results.join import Table

__all__ = ["WHY", "Finding", "find", "market"]

WHY = {
    "over_peak": "more operations a second than the data sheet's dense peak; Winograd convolution and skipped zeros "
    "save at most a known factor, beyond that the work was not done",
    "over_measured_roof": "faster than the machine's own matrix product at this precision: convolutions may be by "
    "Winograd's algorithm; else the ceiling was disturbed or measured with a slower engine",
    "over_bandwidth": "weights that fit in no cache are read faster than memory gives them; are lookup tables among "
    "them, of which a query reads little?",
    "overlapping": "Little's law: one query at a time cannot take longer in sum than the window",
    "idle_between": "Little's law: the session had nothing to do for a part of the window",
    "always_waiting": "Little's law: more queries are being served than run at a time; even the fastest one waited",
    "over_offered": "more was answered than was asked",
    "slower_alone": "one query with a new input alone takes far longer than the rate allows: are answers remembered?",
    "over_link": "inputs and outputs cross the device's link faster than PCI Express 5.0 x16 can",
    "early_return": "the device says that it worked for longer than the run took: timing ended before the device had",
    "over_tdp": "the power is beyond what the data sheet allows the device",
    "below_idle": "the window took less power than the idle machine",
    "unordered": "percentiles of one sample are in order",
    "miscounted": "the rate is higher than the queries of the window come to",
    "too_exact": "outputs are as exact as fp32's: was the lower precision really used?",
    "over_link_roof": "weights that do not fit on the chip have to come over the host's link in every run: faster than "
    "that they were not read",
    "copied": "two networks of different size take the same time on the same machine: was a row copied?",
    "precision_gain": "fewer bits make it faster by more than any arithmetic unit gains",
    "not_one_run": "Little's law: throughput x latency is under one query, so both are not of one run",
    "spot_over_on_demand": "what is left over costs more than what is reserved",
    "batch_for_free": "a larger batch answers sooner than a smaller one",
}


@dataclass(frozen=True)
class Finding:
    """`row_key` and `fingerprint` name the row of the table, `detail` has the figures, `WHY[code]` what they mean."""

    level: Level
    code: str
    row_key: str
    detail: str
    fingerprint: str


def find(table: Table) -> list[Finding]:
    """Everything to be said of the measured rows, the worst first."""
    every = cast("list[dict[str, Any]]", table.rows.to_dict("records"))
    rows = [row for row in every if row["status"] == "ok" and row["provenance"] == "measured"]
    findings = [
        Finding(level, code, row["key"], detail, row["fingerprint"]) for row, (level, code, detail) in _all(rows)
    ]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _all(rows: Sequence[Row]) -> Iterator[tuple[Row, Found]]:
    for row in rows:
        yield from ((row, found) for lint in physics.ROWS for found in lint(row))
        yield from ((row, found) for lint in arithmetic.REPEATS for found in _worst(row, lint))
    yield from arithmetic.batches(rows)


def _worst(row: Row, lint: RepeatLint) -> Iterator[Found]:
    """Each code of the row's repeats once, in its worst form."""
    found: dict[str, list[Found]] = {}
    for record, summary in row["entries"]:
        if record.window and summary:
            for one in lint(record, summary):
                found.setdefault(one[1], []).append(one)
    for code, each in found.items():
        level, _, detail = min(each, key=lambda one: LEVELS.index(one[0]))
        yield level, code, detail if row["n"] == 1 else f"{len(each)} of {row['n']} repeats: {detail}"
