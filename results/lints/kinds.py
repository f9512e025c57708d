"""What lints are given and what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isnan
from typing import Any, Literal

from results.record import Record, Summary

Level = Literal["note", "suspect", "impossible"]
LEVELS: tuple[Level, ...] = ("impossible", "suspect", "note")
Found = tuple[Level, str, str]
"""Level, code and figures."""
Row = Mapping[str, Any]
"""A row of `join.Table.rows`."""
RowLint = Callable[[Row], Iterator[Found]]
RepeatLint = Callable[[Record, Summary], Iterator[Found]]

SLACK = 1.05
"""What rounding, turbo clocks over the data sheet's and the ends of a window may come to."""


def known(row: Row, *columns: str) -> list[float] | None:
    """The values of `columns`, None if one of them is missing."""
    values = [row[column] for column in columns]
    return None if any(value is None or isnan(value) for value in values) else values


def over(ratio: float, *limits: float) -> Level | None:
    """How bad it is to be over the first, second and third of `limits`; None below all."""
    passed = sum(ratio > limit for limit in limits)
    return LEVELS[-passed] if passed else None
