"""Whether a row kept a latency bound: by the queries that a server's own load counted, else by its latencies."""

from __future__ import annotations

from collections.abc import Sequence

from results.checks.bounds import counted, within
from results.record import Bound, Load
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
    own = [load for load in loads if load is not None and searched(load) == bound]
    if len(own) < len(repeats):
        return within(summaries, bound)
    each = [counted(load, summary.queries) for load, summary in zip(own, summaries, strict=True)]
    return False if False in each else None if None in each else True


def unproved(repeats: Sequence[Entry]) -> str:
    """Why nobody knows."""
    fewest = min((summary.queries for _, summary in repeats if summary), default=0)
    return f"{fewest} queries do not prove the bound with 99 % confidence"
