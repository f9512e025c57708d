"""The joined table in other formats. One file is one format: a function `render(table) -> str`, named like the file."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.join import Table

LEFT_OUT = ("entries",)
"""Columns that hold whole records: they stay in the store."""


def formats() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def render(name: str, table: Table) -> str:
    """The table as text in the format `name`. Raises ValueError for an unknown one."""
    if name not in formats():
        raise ValueError(f"unknown format {name!r}; there are: {', '.join(formats())}")
    text: str = importlib.import_module(f"results.exports.{name}").render(table)
    return text


def rows(table: Table) -> list[dict[str, Any]]:
    """Every row as plain JSON values; NaN becomes None, whose reason is in the row's `missing`."""
    return [
        {str(name): plain(value) for name, value in row.items() if name not in LEFT_OUT}
        for row in table.rows.to_dict("records")
    ]


def plain(value: Any) -> Any:
    """Models, tuples and numpy numbers as JSON has them."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value.item() if hasattr(value, "item") else value
