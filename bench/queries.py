"""Turns samples into queries, and asks a session for answers outside any timed window.

A query is one batch. Queries rotate over distinct inputs, so that no cache answers for the device; where a workload has
feedback (a KV cache), a query's outputs become the next one's inputs for as many steps as the golden outputs took.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Arrays, Golden, Workload

    Feed = Generator[Arrays, Arrays, None]

QUERIES_MIN = 4
"""Distinct queries that rotate at least, however large the batch is."""
KEPT_MAX = 24
"""Answers of a window that a witness keeps at most; an even number."""


def rows(count: int, batch: int) -> list[list[int]]:
    """Row numbers of each query, so that all of `count` rows are used; the last query is filled up from the start."""
    return [[(start + i) % count for i in range(batch)] for start in range(0, count, batch)]


def rotation(workload: Workload, batch: int) -> list[Arrays]:
    """The queries of a timed window: all of the card's distinct inputs, and at least QUERIES_MIN queries.

    The samples with golden outputs are spread evenly among them, so that even a window of a few queries holds some.
    """
    order = _order(workload, batch)
    inputs = workload.samples("perf", len(order), 0).inputs
    return [_query(inputs, [order[row] for row in query]) for query in rows(len(order), batch)]


def _order(workload: Workload, batch: int) -> list[int]:
    """Sample numbers in the order of the rotation. The samples with golden outputs are the first ones."""
    total = max(math.ceil(workload.card.distinct_inputs / batch), QUERIES_MIN) * batch
    known = min(_known(known_answers(workload)), total)
    places = {number * total // known: number for number in range(known)}
    others = iter(range(known, total))
    return [places[place] if place in places else next(others) for place in range(total)]


def known_answers(workload: Workload) -> Golden | None:
    """The workload's golden outputs; None where it has none."""
    try:
        return workload.golden()
    except Unsupported:
        return None


def _known(golden: Golden | None) -> int:
    return len(next(iter(golden.outputs.values()))) if golden else 0


def split(inputs: Arrays, batch: int) -> list[Arrays]:
    """Queries of `batch` rows each, as contiguous arrays of their own; the last one is filled up from the start."""
    count = len(next(iter(inputs.values())))
    return [_query(inputs, query) for query in rows(count, batch)]


def _query(inputs: Arrays, chosen: Sequence[int]) -> Arrays:
    return {name: np.ascontiguousarray(array[chosen]) for name, array in inputs.items()}


@dataclass(frozen=True)
class Spot:
    """Where a query of the rotation holds samples whose answers are known: row `rows[i]` is golden row `golden[i]`."""

    rows: tuple[int, ...]
    golden: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """Copies of the rows of a query's outputs whose right answers are the golden rows `golden`."""

    golden: tuple[int, ...]
    outputs: Arrays


class Witness:
    """Keeps copies of a few answers of the timed window, those whose right answers are known.

    Source: MLPerf's TEST01, which samples the outputs of a performance run. At most KEPT_MAX are kept, spread evenly
    over the window, however long that becomes: one of every `stride` that are offered, at random. Where they become too
    many every second is dropped and the stride doubles. Whoever drives a session without a `feed` calls `offer` itself.
    """

    def __init__(self, workload: Workload, batch: int, precision: str, seed: int = 0) -> None:
        """`spots`: by the number of the query in `rotation(workload, batch)`."""
        self.golden, self.tolerance = known_answers(workload), workload.tolerance(precision)
        self.spots = _spots(_order(workload, batch), _known(self.golden), batch)
        self.opened = False
        self.kept: list[Answer] = []
        self._lock = threading.Lock()
        self._rng = random.Random(seed)  # noqa: S311 - a choice, no secret

    def open(self) -> None:
        """The window begins: what an earlier one left is forgotten."""
        with self._lock:
            self.kept.clear()
            self._seen, self._stride = 0, 1
            self._due = 0
            self.opened = True

    def close(self) -> None:
        """The window has ended."""
        with self._lock:
            self.opened = False

    def offer(self, spot: Spot, outputs: Arrays) -> None:
        """Show the outputs of a query at a spot, after the last step of its chain; from any thread."""
        with self._lock:
            if not self.opened:
                return
            if self._seen == self._due:
                self.kept.append(Answer(spot.golden, self._copied(spot, outputs)))
                if len(self.kept) == KEPT_MAX:
                    del self.kept[self._rng.randrange(2) :: 2]
                    self._stride *= 2
                self._due = len(self.kept) * self._stride + self._rng.randrange(self._stride)
            self._seen += 1

    def _copied(self, spot: Spot, outputs: Arrays) -> Arrays:
        """An engine may hand out a view of memory that its next run writes to. The audit tells what is not there."""
        there = [name for name in self.golden.outputs if name in outputs] if self.golden else ()
        return {name: np.concatenate([outputs[name][row : row + 1] for row in spot.rows]) for name in there}


def _spots(order: Sequence[int], known: int, batch: int) -> dict[int, Spot]:
    found: dict[int, list[tuple[int, int]]] = {}
    for place, sample in enumerate(order):
        if sample < known:
            found.setdefault(place // batch, []).append((place % batch, sample))
    return {number: Spot(*zip(*pairs)) for number, pairs in found.items()}


def feed(
    queries: Sequence[Arrays], feedback: Mapping[str, str], steps: int, start: int = 0, witness: Witness | None = None
) -> Feed:
    """Endless queries from number `start` on: send a query's outputs to get the next one.

    `witness` sees the last outputs of a chain that began and ended in its window.
    """
    spots = witness.spots if witness else {}
    order = [(query, spots.get(number)) for number, query in enumerate(queries)]
    order = [*order[start % len(order) :], *order[: start % len(order)]]
    again = range(steps - 1) if feedback else ()
    while True:
        for query, spot in order:
            offer = witness.offer if spot and witness and witness.opened else None
            outputs = yield query
            for _ in again:
                outputs = yield fed_back(query, outputs, feedback)
            if offer and spot:
                offer(spot, outputs)


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
