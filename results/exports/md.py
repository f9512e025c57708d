"""For issues and chats: the comparison as Markdown tables, one per scenario, with footnotes for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from results.report import estimated, market
from results.report.lines import Line, baselines, config_of, lines
from results.report.sheets import Cell, Context, Sheet, sheets

if TYPE_CHECKING:
    from results.join import Table

SPECIAL = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_[]<>|~#&$"} | {"\n": " ", "\r": " ", "\0": "\ufffd"})


def render(table: Table) -> str:
    every = lines(table)
    name, base = baselines([line for line in every if line.row["role"] == "model"])
    context = Context(base, name)
    parts = [_sheet(sheet) for sheet in sheets(every, context)]
    parts += [f"Ratios are against {escaped(name)}."] if parts else []
    predicted = estimated.section(every, context.notes)
    if predicted:
        parts.append(_sheet(predicted.sheet))
        parts += [f"{escaped(source)} says: {escaped(caveat)}" for source, caveat in predicted.caveats]
    others = market.market(table.published, context.notes)
    parts += [_market(others)] if others and others.same else []
    unmeasured = [line for line in every if line.row["status"] != "ok"]
    notes = [f"{number}. {escaped(text)}" for number, text in enumerate(context.notes.texts(), 1)]
    gaps = sorted({f"- {escaped(_place(line))}: {escaped(line.unranked)}" for line in unmeasured})
    parts += ["\n".join(notes)] if notes else []
    parts += ["## Not measured\n\n" + "\n".join(gaps)] if gaps else []
    return "\n\n".join(parts) + "\n"


def _place(line: Line) -> str:
    """What was to run where, each named once; an absent backend has no engine."""
    if line.row["engine"] == "none":
        return line.hardware
    return f"{config_of(line.row)} on {line.hardware}"


def escaped(text: str) -> str:
    """Text that Markdown and the HTML it allows leave alone, on one line."""
    return text.translate(SPECIAL)


def _sheet(sheet: Sheet) -> str:
    heads = [f"{column.label} ({column.unit})" if column.unit else column.label for column in sheet.columns]
    rules = ["---:" if column.numeric else "---" for column in sheet.columns]
    rows = [[_named(row.name, row.badge), *map(_text, row.cells)] for row in sheet.rows]
    table = "\n".join(_line(cells) for cells in ([escaped(head) for head in heads], rules, *rows))
    return f"## {escaped(sheet.title)}\n\n{escaped(sheet.caption)}\n\n{table}"


def _market(others: market.Market) -> str:
    """The networks that are workloads here; the JSON has the others."""
    heads = [
        "Network",
        *(f"{column.label} ({column.unit})" if column.unit else column.label for column in others.columns),
    ]
    rules = ["---", *("---:" if column.numeric else "---" for column in others.columns)]
    rows = [
        [escaped(f"{group.name} (published)"), _named(row.hardware, ", ".join(filter(None, (row.count, row.finding)))),
         *map(_text, row.cells)]
        for group in others.same
        for row in group.rows
    ]  # fmt: skip
    lines = "\n".join(_line(cells) for cells in ([escaped(head) for head in heads], rules, *rows))
    return f"## Published by others, not measured here\n\nNo ratio or verdict uses these.\n\n{lines}"


def _named(name: str, badge: str) -> str:
    return escaped(f"{name} ({badge})" if badge else name)


def _text(cell: Cell) -> str:
    if cell.note is not None:
        return f"n/a ({cell.note})"
    beside = ", ".join(filter(None, (cell.tail, *cell.tags)))
    text = escaped(f"{cell.text} ({beside})" if beside else cell.text)
    return f"~~{text}~~" if "doubt" in cell.css else text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
