"""Whether a latency bound is kept, as far as the queries that were made can tell."""

from __future__ import annotations

from collections.abc import Sequence

from results import early_stopping
from results.record import Bound, Load, Summary

_PLAIN = {
    50.0: "latency_p50_ns",
    90.0: "latency_p90_ns",
    95.0: "latency_p95_ns",
    99.0: "latency_p99_ns",
    99.9: "latency_p999_ns",
    100.0: "latency_max_ns",
}
_EARLY = {90.0: "early_p90_ns", 99.0: "early_p99_ns"}


def within(repeats: Sequence[Summary], bound: Bound) -> bool | None:
    """True if the repeats prove with 99 % confidence that the bound is kept, False if a repeat broke it, else None.

    Proved: each repeat's early-stopping estimate of that percentile or a higher one is within the limit, or no query
    of all repeats is over it and they are enough (459 for p99). Broken: a lower percentile, or the bound's own, is
    over the limit. A bound for every query (p100) is one on the queries that were made. The estimate leaves room for
    one query less than `counted` does: LoadGen rounds it to the safe side.
    """
    if not repeats or any(summary.latency_max_ns is None for summary in repeats):
        return None
    limit_ns = bound.latency_ms * 1e6
    broken_by = [name for p, name in _PLAIN.items() if p <= bound.percentile]
    if any(_over(summary, name, limit_ns) for summary in repeats for name in broken_by):
        return False
    if not any(_over(summary, "latency_max_ns", limit_ns) for summary in repeats):
        queries = sum(summary.queries for summary in repeats)
        return bound.percentile == 100 or early_stopping.passes(queries, 0, bound.percentile / 100) or None
    higher = [name for p, name in _EARLY.items() if p >= bound.percentile]
    return all(any(_kept(summary, name, limit_ns) for name in higher) for summary in repeats) or None


def counted(load: Load, queries: int) -> bool | None:
    """Likewise of a server's window by its own count of queries over its own bound; False if that many are too many."""
    allowed = round(queries * (100 - load.percentile) / 100, 6)  # 10 % of 100 in floats is a little under 10
    if load.over > allowed:
        return False
    return load.percentile == 100 or early_stopping.passes(queries, load.over, load.percentile / 100) or None


def _over(summary: Summary, name: str, limit_ns: float) -> bool:
    value = getattr(summary, name)
    return value is not None and value > limit_ns


def _kept(summary: Summary, name: str, limit_ns: float) -> bool:
    value = getattr(summary, name)
    return value is not None and value <= limit_ns
