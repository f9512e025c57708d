"""Do our single_stream and our server give the figures of MLPerf's LoadGen, on the same session?

One onnxruntime session of one thread, so that nothing but the load differs. The server comparison gives both sides the
same arrivals: a seed fixes LoadGen's schedule, and ours replays it. It is made at half of the capacity; closer to it, a
queue makes much of any difference.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import load, measure, queries
from bench.arrivals import open_loop
from bench.loadgen import run
from bench.loadgen.client import Samples
from bench.protocol import Effort
from bench.selfcheck import paired, subjects
from bench.selfcheck.contract import Asked, Check, Row

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.queries import Feed
    from bench.sut import SystemUnderTest

P50 = paired.within(0.02)
P99 = paired.within(0.20)
"""Of a window's few arrivals the second longest latency is their p99, and that differs so much from itself."""
WINDOW = Effort(0, 0.1, 1, 0.1)
WINDOWS = 6
"""Of single_stream, for each pair that was asked for."""
CAPACITY = Effort(0.5, 1, 1, 1)
UTILISATION = 0.5
ARRIVALS, ARRIVALS_S = 150, 1.0
"""Of server in each window: at least so many, for at least so long."""
HASTE = 50
"""LoadGen is asked for a schedule so many times faster than it is then replayed: its gaps scale with the rate."""
ANY_LATENCY = (1e6, 99.0)
"""A bound, in milliseconds, that says nothing: what is compared are figures, not verdicts."""


class LoadGenCheck(Check):
    name = "loadgen"
    doing = "comparing with MLPerf's LoadGen on the same session, of one thread"

    def takes_s(self, asked: Asked) -> float:
        rounds_s = WINDOWS * 1.3 * WINDOW.min_duration_s + ARRIVALS * 0.012
        return 3 * rounds_s * (asked.pairs + 1) + 4

    def rows(self, asked: Asked) -> Iterator[Row]:
        lg, sut = run.library(), subjects.one_thread(asked.workload, "onnxruntime")
        with closing(sut.compile(1)) as session, tempfile.TemporaryDirectory(prefix="accelmark-selfcheck-") as folder:
            sides = Sides(lg, sut, session, Path(folder))
            capacity_per_s = load.rate_per_s(load.OFFLINE, sut.workload, session, 1, CAPACITY)
            streams = sides.single_stream(round(0.5e9 / capacity_per_s))
            yield _row("p50 of single_stream", paired.alternate(streams, WINDOWS * asked.pairs), P50)
            servers = sides.server(UTILISATION * capacity_per_s)
            what = f"p99 of server at {UTILISATION * capacity_per_s:.3g}/s, {UTILISATION:g} of the capacity"
            yield _row(what, paired.alternate(servers, asked.pairs), P99)


def _row(what: str, found: paired.Found, band: paired.Band) -> Row:
    names, itself = ("ours", "LoadGen"), ("ours again", "ours")
    return paired.compared(f"{what}, ours / LoadGen", found, names, itself, band, paired.MILLISECONDS)


class Sides:
    """One session under our loads and under LoadGen's: a contender gives the percentile of a window."""

    def __init__(self, lg: Any, sut: SystemUnderTest, session: Session, folder: Path) -> None:
        self.lg, self.sut, self.session, self.folder = lg, sut, session, folder
        self.rotation = queries.rotation(sut.workload, 1)
        self.schedule = cache(self._schedule)

    def single_stream(self, fastest_ns: int) -> Mapping[str, paired.Contender]:
        """`fastest_ns`: less than any query takes, so that LoadGen makes enough of them."""
        ours, theirs = self._our_p50, partial(self._loadgen_p50, fastest_ns)
        return {"ours": ours, "LoadGen": theirs, "ours again": ours}

    def server(self, rate_per_s: float) -> Mapping[str, paired.Contender]:
        """Each has the schedules of the seeds 1, 2, 3 ... in turn, so that all have the same one in a round."""
        windows = {"ours": self._our_p99, "LoadGen": self._loadgen_p99, "ours again": self._our_p99}
        return {name: partial(_next, partial(window, rate_per_s), count(1)) for name, window in windows.items()}

    def _our_p50(self) -> float:
        (timed,) = measure.single_stream(self.session, [self._feed()], [measure.Enough(WINDOW)])
        return percentile(timed.samples, 50)

    def _loadgen_p50(self, fastest_ns: int) -> float:
        settings = run.settings_of(self.lg, "single_stream", replace(self.sut.job, effort=WINDOW))
        run.expect_latency(settings, fastest_ns)
        return self._told(self._test("single_stream", self.session).run(settings), 50)

    def _our_p99(self, rate_per_s: float, seed: int) -> float:
        return percentile(open_loop(self.session, [self._feed()], self.schedule(rate_per_s, seed)).latencies, 99)

    def _loadgen_p99(self, rate_per_s: float, seed: int) -> float:
        return self._told(self._test("server", self.session).run(self._arrivals(rate_per_s, seed)), 99)

    def _schedule(self, rate_per_s: float, seed: int) -> array[int]:
        """LoadGen's arrival times of a seed, in nanoseconds from the first one."""
        settings = self._arrivals(rate_per_s, seed)
        settings.server_target_qps *= HASTE
        at_once = subjects.FunctionSession(lambda: None)
        return array("q", (self._test("server", at_once).run(settings).trace.due_ns * HASTE).tobytes())

    def _arrivals(self, rate_per_s: float, seed: int) -> Any:
        settings = run.settings_of(self.lg, "server", replace(self.sut.job, seed=seed))
        run.offer(settings, rate_per_s, *ANY_LATENCY)
        settings.min_query_count = settings.max_query_count = max(ARRIVALS, round(rate_per_s * ARRIVALS_S))
        settings.min_duration_ms = settings.max_duration_ms = 0
        return settings

    def _test(self, scenario: str, session: Session) -> run.Test:
        witness = queries.Witness(self.sut.workload, 1, self.sut.job.precision)
        return run.Test(self.lg, scenario, session, Samples(self.rotation, 1, witness), self.folder)

    def _told(self, ended: run.Ended, percent: int) -> float:
        return ended.told.results[f"result_{percent}.00_percentile_latency_ns"]

    def _feed(self) -> Feed:
        return queries.feed(self.rotation, {}, 1)


def _next(window: partial[float], seeds: Iterator[int]) -> float:
    return window(next(seeds))


def percentile(samples: array[int], percent: int) -> float:
    """As LoadGen counts it: the sorted sample at index floor(n * p)."""
    return sorted(samples)[len(samples) * percent // 100]
