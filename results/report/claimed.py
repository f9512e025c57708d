"""The first table: what is said of six kinds of hardware, and what these results say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.claims import hardware as judged
from results.claims.answer import Answer
from results.report.notes import Notes

if TYPE_CHECKING:
    from results.join import Table

REASON_MAX = 44
"""Characters of a reason that fit into a cell; a longer one becomes a footnote."""
ORDER = ("throughput", "latency", "power", "best_use", "usd_per_hour")
"""The price last: it can be known where nothing was measured."""
CSS = {"falls short": "short"}


@dataclass(frozen=True)
class Found:
    """One cell of the lower row: a figure in `text` with what it is in `detail`, or why there is none in `absent`."""

    text: str
    detail: str = ""
    verdict: str = ""
    css: str = ""
    reason: str = ""
    note: int | None = None
    absent: str = ""
    span: int = 1


@dataclass(frozen=True)
class KindRow:
    """`basis` names the lower row: "published" where it has others' figures, as nothing was measured here."""

    kind: str
    basis: str
    claimed: Sequence[str]
    found: Sequence[Found]


@dataclass(frozen=True)
class Claims:
    columns: Sequence[str]
    rows: Sequence[KindRow]
    notes: Sequence[str]


def claims(table: Table) -> Claims:
    notes = Notes()
    columns = [judged.QUESTIONS[key][0].upper() + judged.QUESTIONS[key][1:] for key in ORDER]
    rows = [_row(claim, notes) for claim in judged.claims(table)]
    return Claims(columns, rows, notes.texts())


def _row(claim: judged.Claim, notes: Notes) -> KindRow:
    answers = [claim.answers[key] for key in ORDER]
    told = any(answer.provenance == "published" for answer in answers[:-1])
    if claim.absence and not told:
        status, _, reason = claim.absence.partition(": ")
        cells = [Found(reason or claim.absence, absent=status, span=len(ORDER) - 1), found(answers[-1], notes)]
    else:
        cells = [found(answer, notes) for answer in answers]
    basis = "published" if claim.absence and told else "measured"
    return KindRow(claim.kind, basis, [answer.claimed for answer in answers], cells)


def found(answer: Answer, notes: Notes) -> Found:
    """The lower cell of an answer; a long reason becomes a note."""
    text, _, detail = answer.found.partition(", ")
    source = "published" if answer.provenance == "published" else ""
    long = len(answer.reason) > REASON_MAX
    return Found(
        text or "n/a",
        detail or source,
        answer.verdict,
        CSS.get(answer.verdict, answer.verdict),
        "" if long else answer.reason,
        notes.add(answer.reason) if long else None,
    )
