"""Closed loops, in which a query waits for one before it: single_stream, multi_stream, offline. And when they end.

A latency is host memory to host memory: `put` + `run` + `get` of one query, on distinct inputs made in advance. An
offline throughput counts completions by the moment they end, over a window that opens when the pipeline is full.
Nothing but the loop runs in the window: no garbage collection, no input preparation, no statistics. The open loop is in
`bench/arrivals.py`; nothing else reads the clock in a timed loop.
"""

from __future__ import annotations

import gc
import threading
import time
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import SimpleQueue
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backends.contract import Session, Values

if TYPE_CHECKING:
    from bench.protocol import Effort
    from bench.queries import Feed
    from workloads.contract import Arrays

    Runs = Generator["Timed", None, None]

Clock = Callable[[], int]
CLOCK: Clock = time.perf_counter_ns
"""CLOCK_MONOTONIC on Linux, as the marks that the parent joins power and conditions on."""

WARMUP_BLOCKS = 6
WARMUP_SPREAD = 0.10
WARMUP_TREND = 0.05
"""See `settled`. The trend allowed is the drift beyond which a window itself is called noisy."""


class Limit(Protocol):
    """Decides when a run ends. `open` and each call give the clock value at which to ask again, or None to end now."""

    def open(self, now_ns: int) -> int: ...

    def __call__(self, now_ns: int, samples: Sequence[int]) -> int | None: ...


@dataclass(frozen=True)
class Timed:
    """What a run took. `samples` in nanoseconds, in order: latencies, or completions counted from `opened_ns`."""

    samples: array[int]
    opened_ns: int
    closed_ns: int

    @property
    def duration_ns(self) -> int:
        return self.closed_ns - self.opened_ns

    @property
    def rate_per_s(self) -> float:
        """Queries per second."""
        return len(self.samples) / self.duration_ns * 1e9


class Enough:
    """Ends once both the minimum duration and the minimum count are met, and never beyond the maximum duration.

    LoadGen's rule (TestSettings min_duration, min_query_count, max_duration). One query is always let through.
    """

    def __init__(self, effort: Effort) -> None:
        self.effort = effort

    def open(self, now_ns: int) -> int:
        self.soft_ns = now_ns + round(self.effort.min_duration_s * 1e9)
        self.hard_ns = now_ns + round(self.effort.max_duration_s * 1e9)
        return min(self.soft_ns, self.hard_ns)

    def __call__(self, now_ns: int, samples: Sequence[int]) -> int | None:
        if now_ns >= self.hard_ns or (now_ns >= self.soft_ns and len(samples) >= self.effort.min_queries):
            return None
        return max(now_ns, min(self.soft_ns, self.hard_ns))


class Steady:
    """Ends a warm-up once the time a query takes has settled, and at `max_s` at the latest.

    Levels are taken over blocks of 1/16 of `max_s` or of one query, whichever is longer, that began at `begins`.
    """

    def __init__(self, max_s: float, level: Callable[[Sequence[int], int], float]) -> None:
        self.max_ns = round(max_s * 1e9)
        self.level = level
        self.levels: list[float] = []
        self.begins: list[int] = []
        self.stable = False

    def open(self, now_ns: int) -> int:
        self.began_ns, self.counted = now_ns, 0
        self.hard_ns = now_ns + self.max_ns
        return now_ns + self.max_ns // 16

    def __call__(self, now_ns: int, samples: Sequence[int]) -> int | None:
        if len(samples) > self.counted:
            self.levels.append(self.level(samples[self.counted :], now_ns - self.began_ns))
            self.begins.append(self.began_ns)
        self.began_ns, self.counted = now_ns, len(samples)
        self.stable = settled(self.levels)
        return None if self.stable or now_ns >= self.hard_ns else now_ns + self.max_ns // 16


def settled(levels: Sequence[float]) -> bool:
    """Whether the last WARMUP_BLOCKS levels have neither a trend nor much spread.

    Spread: all but the lowest and the highest lie within WARMUP_SPREAD of the median of all; one preempted query says
    nothing about warmth. Trend: the medians of their two halves differ by at most WARMUP_TREND of it. The scheme and
    its 10 % are Triton perf_analyzer's (`--stability-percentage`: 3 consecutive intervals), which does not look for a
    trend.
    """
    if len(levels) < WARMUP_BLOCKS:
        return False
    recent = levels[-WARMUP_BLOCKS:]
    ordered, half = sorted(recent), WARMUP_BLOCKS // 2
    trend = abs(median(recent[:half]) - median(recent[half:]))
    spread = ordered[-2] - ordered[1]
    return trend <= WARMUP_TREND * median(recent) and spread <= WARMUP_SPREAD * median(recent)


def latency_level(samples: Sequence[int], _elapsed_ns: int) -> float:
    """A block's level in single_stream: the median latency."""
    return median(samples)


def interval_level(samples: Sequence[int], elapsed_ns: int) -> float:
    """A block's level in offline: the mean time between completions."""
    return elapsed_ns / len(samples)


def single_stream(session: Session, feeds: Sequence[Feed], limits: Sequence[Limit], clock: Clock = CLOCK) -> Runs:
    """One query after the other from the first of `feeds`, each timed: one run for each of `limits`."""
    put, run, get, send = session.put, session.run, session.get, feeds[0].send
    arrays = next(feeds[0])
    with no_collections():
        for limit in limits:
            samples = array("q")
            add = samples.append
            start = clock()
            ask = limit.open(start)
            while True:
                begin = clock()
                outputs = get(run(put(arrays)))
                end = clock()
                add(end - begin)
                if end >= ask:
                    again = limit(end, samples)
                    if again is None:
                        break
                    ask = again
                arrays = send(outputs)
            yield Timed(samples, start, end)
            arrays = send(outputs)


def multi_stream(session: Session, feeds: Sequence[Feed], limits: Sequence[Limit], clock: Clock = CLOCK) -> Runs:
    """As `single_stream`, but a query is one run for each of `feeds`, of which `session.inflight` overlap."""
    return single_stream(_Together(session), [_together(feeds)], limits, clock)


class _Together(Session):
    """A session to which several runs are one."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, parts: Values) -> Values:
        return self.overlapped(parts) if self.session.inflight > 1 else self.one_by_one(parts)

    def one_by_one(self, parts: Sequence[Arrays]) -> Sequence[Arrays]:
        session = self.session
        return [session.get(session.run(session.put(arrays))) for arrays in parts]

    def overlapped(self, parts: Sequence[Arrays]) -> Sequence[Arrays]:
        """A completion starts the next run; whoever completes the last one wakes the caller."""
        session, outputs, waiting, completed = self.session, list(parts), iter(enumerate(parts)), count(1)
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def start() -> None:
            for number, arrays in waiting:
                session.submit(session.put(arrays), partial(done, number))
                return

        def done(number: int, values: Any, error: BaseException | None) -> None:
            try:
                if error is not None:
                    raise error
                outputs[number] = session.get(values)
                start()
                if next(completed) == len(parts):
                    ended.put(None)
            except BaseException as failure:  # noqa: BLE001 - raised by the thread that waits for the query
                ended.put(failure)

        for _ in range(session.inflight):
            start()
        failure = ended.get()
        if failure is not None:
            raise failure
        return outputs


def _together(feeds: Sequence[Feed]) -> Generator[Any, Any, None]:
    outputs = yield [next(each) for each in feeds]
    while True:
        outputs = yield [each.send(one) for each, one in zip(feeds, outputs)]


def offline(session: Session, feeds: Sequence[Feed], limits: Sequence[Limit], clock: Clock = CLOCK) -> Runs:
    """Keeps `len(feeds)` queries under way, each chain of them on a feed of its own: one run for each of `limits`.

    The first run opens at a completion, once every query of the filling has completed. Each ends at a later completion
    of the same chain of queries, so that chains in lockstep are not cut unequally, and there the next one opens: the
    pipeline stays full between them.
    """
    pipeline = _Pipeline(session, limits, len(feeds), clock)
    with no_collections():
        try:
            for each in feeds:
                _Chain(pipeline, each).start()
            for _ in limits:
                yield pipeline.timed()
        finally:
            pipeline.stop()


class _Pipeline:
    """What the chains share. Appending to an array is atomic under the interpreter's lock; all else is under `lock`."""

    def __init__(self, session: Session, limits: Sequence[Limit], chains: int, clock: Clock) -> None:
        self.session, self.chains, self.clock = session, chains, clock
        self.limits = iter(limits)
        self.limit = next(self.limits)
        self.lock = threading.Lock()
        self.drained = threading.Event()
        self.full: set[_Chain] = set()
        self.anchor: _Chain | None = None
        self.closing = False
        self.left = 0
        self.ends = array("q")
        self.opened_ns = self.ask_ns = 0
        self.runs: SimpleQueue[tuple[array[int], int, int] | BaseException] = SimpleQueue()

    def completed(self, chain: _Chain) -> bool:
        """Notes a completion; returns whether the chain is to go on."""
        now_ns = self.clock()
        if self.anchor is None:
            self.fill(chain, now_ns)
        else:
            self.ends.append(now_ns)
            if chain is self.anchor and now_ns >= self.ask_ns and not self.closing:
                self.ask(now_ns)
        return not self.closing

    def fill(self, chain: _Chain, now_ns: int) -> None:
        with self.lock:
            self.full.add(chain)
            if len(self.full) == self.chains and self.anchor is None:
                self.opened_ns, self.ask_ns = now_ns, self.limit.open(now_ns)
                self.anchor = chain

    def ask(self, now_ns: int) -> None:
        """Called by the anchor only, so by one thread at a time."""
        again = self.limit(now_ns, self.ends)
        if again is not None:
            self.ask_ns = again
            return
        ended = (self.ends, self.opened_ns, now_ns)
        following = next(self.limits, None)
        if following is None:
            self.closing = True
        else:
            self.limit, self.ends = following, array("q")
            self.opened_ns, self.ask_ns = now_ns, following.open(now_ns)
        self.runs.put(ended)

    def leave(self, error: BaseException | None = None) -> None:
        with self.lock:
            if error is not None:
                self.closing = True
                self.runs.put(error)
            self.left += 1
            if self.left == self.chains:
                self.drained.set()

    def timed(self) -> Timed:
        """The next run, once it has ended."""
        ended = self.runs.get()
        if isinstance(ended, BaseException):
            raise ended
        ends, opened_ns, closed_ns = ended
        if self.closing:
            self.drained.wait()
        else:
            ends = ends[:]  # a chain that read the clock before the run ended may still append
        view = np.frombuffer(ends, np.int64)  # ten million are not copied
        view -= opened_ns
        view.sort()
        before, inside = (int(np.searchsorted(view, edge, "right")) for edge in (0, closed_ns - opened_ns))
        del view, ends[inside:], ends[:before]
        return Timed(ends, opened_ns, closed_ns)

    def stop(self) -> None:
        """Start nothing more and wait for what is under way."""
        self.closing = True
        self.drained.wait()


class _Chain:
    """One of the queries under way: its completion starts the next one, on whatever thread that comes.

    A session without a `submit` of its own would overlap runs on threads: there each chain is such a thread, and no
    query is handed over.
    """

    def __init__(self, pipeline: _Pipeline, feed: Feed) -> None:
        self.pipeline, self.feed = pipeline, feed

    def start(self) -> None:
        if type(self.pipeline.session).submit is Session.submit:
            threading.Thread(target=self.loop, name="chain", daemon=True).start()
            return
        try:
            self.submit(next(self.feed))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for the pipeline
            self.pipeline.leave(error)

    def loop(self) -> None:
        pipeline, session = self.pipeline, self.pipeline.session
        put, run, get, send = session.put, session.run, session.get, self.feed.send
        try:
            arrays = next(self.feed)
            while True:
                outputs = get(run(put(arrays)))
                if not pipeline.completed(self):
                    break
                arrays = send(outputs)
        except BaseException as failure:  # noqa: BLE001 - as above
            pipeline.leave(failure)
        else:
            pipeline.leave()

    def submit(self, arrays: Any) -> None:
        session = self.pipeline.session
        session.submit(session.put(arrays), self.done)

    def done(self, values: Any, error: BaseException | None) -> None:
        pipeline = self.pipeline
        try:
            if error is not None:
                raise error
            outputs = pipeline.session.get(values)
            if pipeline.completed(self):
                self.submit(self.feed.send(outputs))
            else:
                pipeline.leave()
        except BaseException as failure:  # noqa: BLE001 - as above
            pipeline.leave(failure)


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect now, and not again until the window is closed."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
