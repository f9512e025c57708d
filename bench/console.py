"""Tables for the terminal: drawn with rich for a person, one plain line a row for a pipe or a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

WIDEST = 60
STYLES: Mapping[str, str] = {
    "present": "green", "computes": "green", "valid": "green",
    "absent": "dim", "not installed": "dim", "noisy": "yellow",
    "broken": "bold red", "no_permission": "bold red", "invalid": "bold red",
}  # fmt: skip


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` under `columns`; a person's terminal gets colours and wrapped cells."""
    if sys.stdout.isatty():
        _draw(title, columns, rows)
    else:
        print(plain(title, columns, rows))


def plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as aligned text without trailing blanks; a cell over WIDEST pushes its own line's further cells."""
    lines = [columns, *rows]
    widths = [max(min(len(line[n]), WIDEST) for line in lines) for n in range(len(columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, *(f"  {line}" for line in text), ""])


def _draw(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(drawn)
