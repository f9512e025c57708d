"""Turns samples into queries, and asks a session for answers outside any timed window.

A query is one batch. Queries rotate over distinct inputs, so that no cache answers for the device; where a workload has
feedback (a KV cache), a query's outputs become the next one's inputs for as many steps as the golden outputs took.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Arrays, Workload

    Feed = Generator[Arrays, Arrays, None]

QUERIES_MIN = 4
"""Distinct queries that rotate at least, however large the batch is."""


def rows(count: int, batch: int) -> list[list[int]]:
    """Row numbers of each query, so that all of `count` rows are used; the last query is filled up from the start."""
    return [[(start + i) % count for i in range(batch)] for start in range(0, count, batch)]


def rotation(workload: Workload, batch: int) -> list[Arrays]:
    """The queries of a timed window: all of the card's distinct inputs, and at least QUERIES_MIN queries.

    The first of these samples are the ones with golden outputs.
    """
    queries = max(math.ceil(workload.card.distinct_inputs / batch), QUERIES_MIN)
    return split(workload.samples("perf", queries * batch, 0).inputs, batch)


def split(inputs: Arrays, batch: int) -> list[Arrays]:
    """Queries of `batch` rows each, as contiguous arrays of their own; the last one is filled up from the start."""
    count = len(next(iter(inputs.values())))
    return [{name: np.ascontiguousarray(array[r]) for name, array in inputs.items()} for r in rows(count, batch)]


def feed(queries: Sequence[Arrays], feedback: Mapping[str, str], steps: int, start: int = 0) -> Feed:
    """Endless queries from number `start` on: send a query's outputs to get the next one."""
    order = [*queries[start % len(queries) :], *queries[: start % len(queries)]]
    while True:
        for query in order:
            outputs = yield query
            if feedback:
                for _ in range(steps - 1):
                    outputs = yield fed_back(query, outputs, feedback)


def fed_back(query: Arrays, outputs: Arrays, feedback: Mapping[str, str]) -> Arrays:
    """The next query of a chain: the same inputs but for those that outputs have become."""
    return {**query, **{target: outputs[source] for source, target in feedback.items()}}


def answers(session: Session, queries: Sequence[Arrays], feedback: Mapping[str, str], steps: int = 1) -> list[Arrays]:
    """The outputs after the last of `steps` runs of each query, asked for with the concurrency of a measurement.

    So mixed-up buffers of overlapping runs show here. Raises what the session raises.
    """
    if session.inflight == 1:
        return [_answer(session, query, feedback, steps) for query in queries]
    found: dict[int, Arrays] = {}
    replies: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
    waiting = list(enumerate(queries))[::-1]
    left = dict.fromkeys(range(len(queries)), steps)

    def submit(number: int, arrays: Arrays) -> None:
        session.submit(session.put(arrays), lambda values, error: replies.put((number, values, error)))

    for _ in range(min(session.inflight, len(waiting))):
        submit(*waiting.pop())
    while len(found) < len(queries):
        number, values, error = replies.get()
        if error is not None:
            raise error
        outputs = session.get(values)
        left[number] -= 1
        if left[number]:
            submit(number, fed_back(queries[number], outputs, feedback))
            continue
        found[number] = _kept(outputs)
        if waiting:
            submit(*waiting.pop())
    return [found[number] for number in range(len(queries))]


def _answer(session: Session, query: Arrays, feedback: Mapping[str, str], steps: int) -> Arrays:
    outputs = session.get(session.run(session.put(query)))
    for _ in range(steps - 1):
        outputs = session.get(session.run(session.put(fed_back(query, outputs, feedback))))
    return _kept(outputs)


def _kept(outputs: Arrays) -> Arrays:
    """A copy: an engine may hand out a view of memory that its next run writes to."""
    return {name: np.array(array) for name, array in outputs.items()}
