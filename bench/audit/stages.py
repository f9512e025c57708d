"""Times single queries stage by stage, outside any window: where a query's time goes.

Transfers, computing, handing over and the device's own time are told apart as trtexec does; what follows from them
(host bound, link bound) is for `results/checks.py` to say.
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

SILENT = {
    "device_ns": "the engine does not say how long the device worked",
    "enqueue_ns": "the engine does not say when it had handed the run to the device",
}


@dataclass(frozen=True)
class Stages:
    """One query's stages; the last two are None where the engine does not know them."""

    put_ns: int
    run_ns: int
    get_ns: int
    device_ns: int | None
    enqueue_ns: int | None = None

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
    return Stages(there - begin, done - there, end - done, session.device_ns(), session.enqueue_ns())


def medians(asked: Sequence[Stages]) -> dict[str, Any]:
    """Evidence shaped as `results.record.Stages`."""
    known = {name: [ns for one in asked if (ns := getattr(one, name)) is not None] for name in SILENT}
    return {
        "queries": len(asked),
        "put_ns": round(median(one.put_ns for one in asked)),
        "run_ns": round(median(one.run_ns for one in asked)),
        "get_ns": round(median(one.get_ns for one in asked)),
        **{name: round(median(several)) if several else None for name, several in known.items()},
        "missing": {name: why for name, why in SILENT.items() if not known[name]},
    }
