"""What the session executes, as its engine's own profile tells: the proof that a precision is real."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench import queries

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Arrays, Workload

NAMED_MAX = 24


def executed(workload: Workload, session: Session, batch: int) -> dict[str, Any]:
    """Evidence shaped as `results.record.Kernels`, of one more query; raises Unsupported where nothing tells."""
    return of(session, queries.rotation(workload, batch)[0])


def of(session: Session, query: Arrays) -> dict[str, Any]:
    """The same, of one run on `query`."""
    found = session.executed(session.put(query))
    most = Counter(found.names).most_common(NAMED_MAX)
    missing = {} if found.share is not None else {"time_share": "the profile has no times"}
    return {
        "source": found.source,
        "kernels": dict(found.kernels),
        "names": dict(most),
        "time_share": None if found.share is None else dict(found.share),
        "missing": missing,
    }
