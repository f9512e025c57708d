"""Footnotes: why a value is missing, said once for all values that are missing for the same reason."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?!\w)")
"""A figure that stands alone: "662", not the 99 of "p99"."""


class Notes:
    """Numbers reasons from 1. Reasons that differ only in their figures share a note, which gives the range."""

    def __init__(self) -> None:
        self._figures: dict[str, list[list[str]]] = {}
        self._number: dict[str, int] = {}

    def add(self, reason: str) -> int:
        """The note's number."""
        reason = reason.strip().replace("\0", "") or "no reason was recorded"
        pattern = _NUMBER.sub("\0", reason)
        self._figures.setdefault(pattern, []).append(_NUMBER.findall(reason))
        return self._number.setdefault(pattern, len(self._figures))

    def texts(self) -> list[str]:
        """By number, from 1 on."""
        return [_fill(pattern, figures) for pattern, figures in self._figures.items()]


def _fill(pattern: str, figures: list[list[str]]) -> str:
    spans = iter([_span(column) for column in zip(*figures, strict=True)])
    return "".join(next(spans) if part == "\0" else part for part in re.split("(\0)", pattern))


def _span(figures: tuple[str, ...]) -> str:
    ordered = sorted(set(figures), key=lambda text: float(text.replace(",", "") if text.count(".") <= 1 else 0))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
