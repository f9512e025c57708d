"""For spreadsheets and scripts: one line a row, stored units, which stand in the column's name.

A number that was not measured is an empty field, and the last column, `missing`, says why, as JSON by column name.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from results import exports

if TYPE_CHECKING:
    from results.join import Table

FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""A text that begins so would be run as a formula by a spreadsheet: it gets an apostrophe in front."""


def render(table: Table) -> str:
    columns = [str(name) for name in table.rows.columns if name not in exports.LEFT_OUT]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in exports.rows(table):
        writer.writerow([field(row[name]) for name in columns])
    return buffer.getvalue()


def field(value: Any) -> str:
    """Numbers with every digit, lists and objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(FORMULA) else text
