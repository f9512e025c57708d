"""Times single queries stage by stage, outside any window: where a query's time goes.

Transfers, computing and the device's own time are told apart as trtexec does; what follows from them (host bound, link
bound) is for `results/checks.py` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import measure

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.measure import Clock
    from workloads.contract import Arrays

SILENT = "the engine does not say how long the device worked"


@dataclass(frozen=True)
class Stages:
    """One query's stages; `device_ns` is None where the engine does not know it."""

    put_ns: int
    run_ns: int
    get_ns: int
    device_ns: int | None

    @property
    def query_ns(self) -> int:
        return self.put_ns + self.run_ns + self.get_ns


def ask(session: Session, query: Arrays, clock: Clock = measure.CLOCK) -> Stages:
    """Time one query. Its inputs are read just before, so that they are in the data cache whoever used them last."""
    for array in query.values():
        array.copy()
    begin = clock()
    values = session.put(query)
    there = clock()
    outputs = session.run(values)
    done = clock()
    session.get(outputs)
    end = clock()
    return Stages(there - begin, done - there, end - done, session.device_ns())


def medians(asked: Sequence[Stages]) -> dict[str, Any]:
    """Evidence shaped as `results.record.Stages`."""
    device_ns = [one.device_ns for one in asked if one.device_ns is not None]
    return {
        "queries": len(asked),
        "put_ns": round(median(one.put_ns for one in asked)),
        "run_ns": round(median(one.run_ns for one in asked)),
        "get_ns": round(median(one.get_ns for one in asked)),
        "device_ns": round(median(device_ns)) if device_ns else None,
        "missing": {} if device_ns else {"device_ns": SILENT},
    }
