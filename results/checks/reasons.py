"""What every check is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from results.record import Reason, Record


@dataclass(frozen=True)
class Figures:
    """What the samples say, as far as a verdict needs it; None where the scenario has no such figure."""

    queries: int
    drift: float | None = None
    latency_mean_ns: float | None = None
    latency_p50_ns: float | None = None


Check = Callable[[Record, Figures], Iterator[Reason]]


def invalid(code: str, detail: str) -> Reason:
    """The number means something else than it says."""
    return Reason(code=code, severity="invalid", detail=detail)


def noisy(code: str, detail: str) -> Reason:
    """The number may be off by more than its interval says."""
    return Reason(code=code, severity="noisy", detail=detail)


def note(code: str, detail: str) -> Reason:
    """What the number is; it is trusted as it stands."""
    return Reason(code=code, severity="note", detail=detail)
