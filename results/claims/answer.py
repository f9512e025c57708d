"""One cell of a table of claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "exceeds", "falls short", "reversed", "undecided"]
Source = Literal["measured", "published", "given", "none"]


@dataclass(frozen=True)
class Answer:
    """What was claimed, what was found ("" with the reason), where that comes from, and the verdict."""

    claimed: str
    found: str
    provenance: Source
    verdict: Verdict
    reason: str
