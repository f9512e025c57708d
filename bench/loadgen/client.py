"""The system under test as LoadGen sees it: it is handed sample numbers, runs the session and reports what is done.

An exception may not pass through LoadGen, whose logging thread would outlive its log files. So the first one is kept,
and from then on every query is answered at once, without a run, until LoadGen has come to its end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import measure, queries

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.queries import Witness
    from workloads.contract import Arrays

    Reply = Callable[[Sequence[int]], None]
    Run = tuple[Sequence[int], Sequence[int]]


class Samples:
    """The inputs by sample number: row `n % batch` of query `n // batch` of the rotation."""

    def __init__(self, rotation: Sequence[Arrays], batch: int, witness: Witness) -> None:
        self.count, self.batch, self.witness = len(rotation) * batch, batch, witness
        self.single = rotation if batch == 1 else ()
        self.arrays = {name: np.concatenate([query[name] for query in rotation]) for name in rotation[0] if batch > 1}
        self.golden = {
            number * batch + row: golden
            for number, spot in witness.spots.items()
            for row, golden in zip(spot.rows, spot.golden)
        }

    def query(self, numbers: Sequence[int]) -> Arrays:
        """The inputs of one run; fewer samples than a batch are filled up with the first of them."""
        if self.batch == 1:
            return self.single[numbers[0]]
        rows = [*numbers, *[numbers[0]] * (self.batch - len(numbers))]
        return {name: array[rows] for name, array in self.arrays.items()}

    def offer(self, numbers: Sequence[int], outputs: Arrays) -> None:
        """Show the witness the answers that are known."""
        known = [(row, self.golden[number]) for row, number in enumerate(numbers) if number in self.golden]
        if known:
            self.witness.offer(queries.Spot(*zip(*known)), outputs)


class Client:
    """`issue` is LoadGen's callback for a query, its response ids and sample numbers; `reply` tells it of answers."""

    def __init__(self, session: Session, samples: Samples, reply: Reply) -> None:
        self.session, self.samples, self.reply = session, samples, reply
        self.error: BaseException | None = None
        self.first_done_ns = 0

    def issue(self, ids: Sequence[int], numbers: Sequence[int]) -> None:
        raise NotImplementedError

    def runs(self, ids: Sequence[int], numbers: Sequence[int]) -> Iterator[Run]:
        """A query in batches."""
        size = self.samples.batch
        return ((ids[i : i + size], numbers[i : i + size]) for i in range(0, len(ids), size))

    def answered(self, ids: Sequence[int], numbers: Sequence[int], outputs: Arrays) -> None:
        """Report before the witness looks: what it copies is no part of a latency."""
        self.report(ids)
        try:
            self.samples.offer(numbers, outputs)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for LoadGen
            self.error = self.error or error

    def failed(self, ids: Sequence[int], error: BaseException) -> None:
        self.error = self.error or error
        self.report(ids)

    def report(self, ids: Sequence[int]) -> None:
        self.first_done_ns = self.first_done_ns or measure.CLOCK()
        self.reply(ids)


class Serial(Client):
    """One run after the other, on LoadGen's own thread."""

    def issue(self, ids: Sequence[int], numbers: Sequence[int]) -> None:
        session = self.session
        for of, rows in self.runs(ids, numbers):
            if self.error:
                self.report(of)
                continue
            try:
                outputs = session.get(session.run(session.put(self.samples.query(rows))))
            except BaseException as error:  # noqa: BLE001 - as above
                self.failed(of, error)
            else:
                self.answered(of, rows, outputs)


class Overlapped(Client):
    """First come, first served, with at most `session.inflight` runs under way; `issue` never waits for one."""

    def __init__(self, session: Session, samples: Samples, reply: Reply) -> None:
        super().__init__(session, samples, reply)
        self.lock = threading.Lock()
        self.free = session.inflight
        self.waiting: deque[Iterator[Run]] = deque()

    def issue(self, ids: Sequence[int], numbers: Sequence[int]) -> None:
        with self.lock:
            self.waiting.append(self.runs(ids, numbers))
        self._start()

    def _start(self) -> None:
        """Start what has waited longest, as long as there is something that may start."""
        session = self.session
        while True:
            run = self._claimed()
            if run is None:
                return
            try:
                if self.error is None:
                    session.submit(session.put(self.samples.query(run[1])), partial(self._done, *run))
                    continue
            except BaseException as error:  # noqa: BLE001 - as above
                self.error = self.error or error
            self.report(run[0])
            self._release()

    def _claimed(self) -> Run | None:
        with self.lock:
            while self.free and self.waiting:
                run = next(self.waiting[0], None)
                if run:
                    self.free -= 1
                    return run
                self.waiting.popleft()
        return None

    def _release(self) -> None:
        with self.lock:
            self.free += 1

    def _done(self, ids: Sequence[int], numbers: Sequence[int], values: Any, error: BaseException | None) -> None:
        try:
            if error is not None:
                raise error
            outputs = self.session.get(values)
        except BaseException as failure:  # noqa: BLE001 - as above
            self.failed(ids, failure)
        else:
            self.answered(ids, numbers, outputs)
        self._release()
        self._start()
