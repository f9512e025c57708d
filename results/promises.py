"""Whether a row kept a latency bound: by the queries that a server's own load counted, else by its latencies."""

from __future__ import annotations

from collections.abc import Sequence

from results import early_stopping
from results.checks.bounds import within
from results.record import Bound, Load, Record
from results.store import Entry


def written(bound: Bound) -> str:
    return f"p{bound.percentile:g} <= {bound.latency_ms:g} ms"


def searched(load: Load) -> Bound:
    """The bound that an open-loop window was run under."""
    return Bound(latency_ms=load.bound_ms, percentile=load.percentile)


def kept(bound: Bound, repeats: Sequence[Entry]) -> bool | None:
    """Of `ok` repeats; None where they cannot say: too few queries to prove it and none that breaks it."""
    summaries = [summary for _, summary in repeats if summary]
    loads = [record.load for record, _ in repeats]
    if len(summaries) < len(repeats):
        return None
    if bound.percentile < 100 and all(load is not None and searched(load) == bound for load in loads):
        counted = [_counted(record, summary.queries) for (record, _), summary in zip(repeats, summaries, strict=True)]
        return False if False in counted else None if None in counted else True
    return within(summaries, bound)


def unproved(repeats: Sequence[Entry]) -> str:
    """Why nobody knows."""
    fewest = min((summary.queries for _, summary in repeats if summary), default=0)
    return f"{fewest} queries do not prove the bound with 99 % confidence"


def _counted(record: Record, queries: int) -> bool | None:
    """As `results/checks` judges the load: missed by the plain count is missed."""
    load = record.load
    if load is None:
        return None
    p = load.percentile / 100
    if load.over > (1 - p) * queries:
        return False
    return early_stopping.passes(queries, load.over, p) or None
