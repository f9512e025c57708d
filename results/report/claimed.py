"""The first table: what is said of six kinds of hardware, and what these results say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results import claims as judged

if TYPE_CHECKING:
    from results.join import Table

ORDER = ("throughput", "latency", "power", "best_use", "usd_per_hour")
"""The price last: it can be known where nothing was measured."""
CSS = {"falls short": "short"}


@dataclass(frozen=True)
class Found:
    """One cell of the lower row; `absent` spans `span` columns."""

    text: str
    verdict: str = ""
    css: str = ""
    reason: str = ""
    span: int = 1
    absent: bool = False


@dataclass(frozen=True)
class KindRow:
    kind: str
    claimed: Sequence[str]
    found: Sequence[Found]
    status: str


@dataclass(frozen=True)
class Claims:
    columns: Sequence[tuple[str, str]]
    rows: Sequence[KindRow]


def claims(table: Table) -> Claims:
    columns = [(judged.QUESTIONS[key][0].upper() + judged.QUESTIONS[key][1:], _UNITS.get(key, "")) for key in ORDER]
    return Claims(columns, [_row(claim) for claim in judged.hardware(table)])


_UNITS = {"throughput": "as a ratio to the CPU", "latency": "as a ratio to the CPU", "power": "as a ratio to the CPU", "usd_per_hour": "per hour"}


def _row(claim: judged.Claim) -> KindRow:
    answers = [claim.answers[key] for key in ORDER]
    found = [_found(answer) for answer in answers]
    if claim.absence:
        found = [Found(claim.absence, span=len(ORDER) - 1, absent=True), found[-1]]
    return KindRow(claim.kind, [answer.claimed for answer in answers], found, "absent" if claim.absence else "measured")


def _found(answer: judged.Answer) -> Found:
    source = "" if answer.provenance in ("measured", "none") else f"{answer.provenance}: "
    return Found(
        answer.found or "not measured", answer.verdict, CSS.get(answer.verdict, answer.verdict), source + answer.reason
    )
