"""What was not measured: the sheet of estimates and simulations, with what each tool says of its own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.report.lines import Line
from results.report.notes import Notes
from results.report.sheets import Context, Sheet, estimates


@dataclass(frozen=True)
class Section:
    """`caveats` are pairs of a tool and its own warning, `notes` the reasons of the sheet's gaps."""

    sheet: Sheet
    caveats: Sequence[tuple[str, str]]
    notes: Sequence[str]


def section(every: Sequence[Line], notes: Notes | None = None) -> Section | None:
    """None where nothing was estimated. Reasons join `notes`, or stand in notes of the section's own."""
    notes = notes or Notes()
    sheet = estimates(every, Context({}, "", notes))
    if sheet is None:
        return None
    rows = [line.row for line in every if line.estimated]
    caveats = sorted({(row["estimate_source"], row["estimate_caveat"]) for row in rows if row["estimate_caveat"]})
    return Section(sheet, caveats, notes.texts())
