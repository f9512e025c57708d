"""Open-loop load: queries come when their time has come, whether or not the session has answered the ones before.

A latency counts from the time that a query was scheduled for, so a query that had to queue shows it; counted from its
start, a stall would hide all but one of the queries it held up ("coordinated omission": Gil Tene, How NOT to Measure
Latency, 2015; LoadGen counts from the schedule as well).

The schedule is known before the window opens. So nobody hands queries over: each chain takes the next number, sleeps
until its time if that is still to come, and runs it. That is one queue, first come first served, in front of as many
servers as there are chains (Kendall's M/G/c), and spares what waking another thread costs with each query.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from backends.contract import Session, Values
from bench.measure import CLOCK, Clock, no_collections
from workloads import generator

if TYPE_CHECKING:
    from bench.queries import Feed

PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
"""linux/prctl.h"""
DRAIN_MAX_S = 30.0
"""How long after the last arrival the queue is still served."""
UNANSWERED = -1
_NOTHING = (ctypes.c_ulong(0),) * 4


@dataclass(frozen=True)
class Arrived:
    """In the order of the schedule: `latencies` from the scheduled time to the answer, and `lags` of our own making.

    A lag is how much later than it could a query was started: after its time had come and a chain was free for it. A
    run that was given up has only the queries that were answered.
    """

    latencies: array[int]
    lags: array[int]
    opened_ns: int
    closed_ns: int


def schedule(rate_per_s: float, count: int, seed: object) -> array[int]:
    """`count` arrival times in nanoseconds from the window's opening, of a Poisson process of `rate_per_s`.

    Its gaps are exponential, by inversion, and scaled so that the last arrival is at count / rate: the rate that is
    offered is the one that was asked for. `seed` names a stream of `workloads.generator`.
    """
    stream = generator.seed_of(f"arrivals/{seed}")
    chunks = [
        generator.words(stream, first, min(generator.CHUNK_WORDS, count - first))
        for first in range(0, count, generator.CHUNK_WORDS)
    ]
    uniform = (np.concatenate(chunks) >> np.uint64(11)) * 2.0**-53
    arrivals = np.cumsum(-np.log1p(-uniform))
    offsets = np.rint(arrivals * (count / rate_per_s * 1e9 / arrivals[-1]))
    return array("q", offsets.astype(np.int64).tobytes())


def never(_latency_ns: int) -> bool:
    return False


def sleep_until(t_ns: int) -> None:
    time.sleep(max(0, t_ns - CLOCK()) * 1e-9)


def open_loop(
    session: Session,
    feeds: Sequence[Feed],
    offsets_ns: array[int],
    give_up: Callable[[int], bool] = never,
    over_ns: int = sys.maxsize,
    clock: Clock = CLOCK,
    wait: Callable[[int], None] = sleep_until,
) -> Arrived:
    """Ask a query at each of `offsets_ns`, at most `len(feeds)` at a time, and wait for all answers.

    `give_up` is asked about each latency over `over_ns`: if it says so nothing more is started. Queries that are still
    unanswered DRAIN_MAX_S after the last arrival get the time that they have waited for a latency.
    """
    desk = _Desk(session, offsets_ns, len(feeds), give_up, over_ns, clock, wait)
    others = [threading.Thread(target=desk.serve, args=(feed,), name="arrivals", daemon=True) for feed in feeds[1:]]
    with no_collections(), fine_timer():
        for thread in others:
            thread.start()
        desk.serve(feeds[0])
        for thread in others:
            thread.join()
    return desk.arrived()


def _runner(session: Session) -> Callable[[Values], Values]:
    """`run`, as a session without a `submit` of its own overlaps it on threads anyway; else a submit, waited for."""
    if type(session).submit is Session.submit:
        return session.run

    def run(values: Values) -> Values:
        replies: SimpleQueue[tuple[Values, BaseException | None]] = SimpleQueue()
        session.submit(values, lambda outputs, error: replies.put((outputs, error)))
        outputs, error = replies.get()
        if error is not None:
            raise error
        return outputs

    return run


@contextmanager
def fine_timer() -> Iterator[None]:
    """Sleep as exactly as the kernel can, here and in threads started meanwhile: prctl(2), PR_SET_TIMERSLACK."""
    prctl = ctypes.CDLL(None).prctl
    before_ns = prctl(PR_GET_TIMERSLACK, *_NOTHING)
    prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), *_NOTHING[1:])
    try:
        yield
    finally:
        prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(before_ns), *_NOTHING[1:])


class _Desk:
    """The queue. Taking a number and writing an item are atomic under the interpreter's lock."""

    def __init__(
        self,
        session: Session,
        offsets_ns: array[int],
        chains: int,
        give_up: Callable[[int], bool],
        over_ns: int,
        clock: Clock,
        wait: Callable[[int], None],
    ) -> None:
        self.session, self.offsets_ns, self.clock, self.wait = session, offsets_ns, clock, wait
        self.give_up, self.over_ns = give_up, over_ns
        self.run = _runner(session)
        self.numbers = iter(range(len(offsets_ns)))
        self.latencies = array("q", [UNANSWERED]) * len(offsets_ns)
        self.lags = array("q", [0]) * len(offsets_ns)
        self.lock = threading.Lock()
        self.given_up = False
        self.failure: BaseException | None = None
        self.ready = threading.Barrier(chains, self.open)

    def open(self) -> None:
        self.opened_ns = self.closed_ns = self.clock()
        self.last_ns = self.opened_ns + self.offsets_ns[-1] + round(DRAIN_MAX_S * 1e9)

    def serve(self, feed: Feed) -> None:
        """One chain of queries, until there are no more."""
        self.ready.wait()
        try:
            self._serve(feed)
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for all of them
            self.failure, self.given_up = error, True

    def _serve(self, feed: Feed) -> None:
        clock, put, run, get, send = self.clock, self.session.put, self.run, self.session.get, feed.send
        opened_ns, offsets_ns, over_ns, latencies, lags = (
            self.opened_ns, self.offsets_ns, self.over_ns, self.latencies, self.lags,
        )  # fmt: skip
        arrays = next(feed)
        free_ns = opened_ns
        for number in self.numbers:
            due_ns = opened_ns + offsets_ns[number]
            now_ns = clock()
            if now_ns < due_ns:
                self.wait(due_ns)
                now_ns = clock()
            if self.given_up or now_ns > self.last_ns:
                break
            lags[number] = now_ns - max(due_ns, free_ns)
            outputs = get(run(put(arrays)))
            free_ns = clock()
            latencies[number] = free_ns - due_ns
            if free_ns - due_ns > over_ns:
                self._over(free_ns - due_ns)
            arrays = send(outputs)
        self._leave(free_ns)

    def _over(self, latency_ns: int) -> None:
        with self.lock:
            self.given_up = self.given_up or self.give_up(latency_ns)

    def _leave(self, now_ns: int) -> None:
        with self.lock:
            self.closed_ns = max(self.closed_ns, now_ns)

    def arrived(self) -> Arrived:
        """What has come; raises what a query raised."""
        if self.failure is not None:
            raise self.failure
        latencies, lags = np.frombuffer(self.latencies, np.int64), np.frombuffer(self.lags, np.int64)
        answered = latencies != UNANSWERED
        if self.given_up:
            latencies, lags = latencies[answered], lags[answered]
        elif not answered.all():
            waited = self.closed_ns - self.opened_ns - np.frombuffer(self.offsets_ns, np.int64)
            latencies = np.where(answered, latencies, waited)
        return Arrived(array("q", latencies.tobytes()), array("q", lags.tobytes()), self.opened_ns, self.closed_ns)
