"""A server under LoadGen: the rate that is searched for with LoadGen's own arrivals, and the test that confirms it.

LoadGen hands each query over, which takes tens of microseconds of a processor that our own arrivals leave to the
session: what a session can do under these says too much of what it can do under those.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from bench import server
from bench.arrivals import Arrived
from bench.loadgen import run

if TYPE_CHECKING:
    from bench.loadgen.run import Ended, Test
    from bench.protocol import Effort, Job


class Arrivals:
    """Offers a session LoadGen's arrivals at any rate; no two tests have the same ones."""

    def __init__(self, test: Test, job: Job) -> None:
        self.test, self.job, self.numbers = test, job, count()
        self.latency_ms, self.percentile = job.bounds[0]

    def run(self, rate_per_s: float, effort: Effort) -> Ended:
        settings = run.settings_of(self.test.lg, "server", replace(self.job, effort=effort), next(self.numbers))
        run.offer(settings, rate_per_s, self.latency_ms, self.percentile)
        return self.test.run(settings)

    def probe(self, rate_per_s: float) -> server.Probe:
        """A test as the last one will be, but no longer than our own probes."""
        return self.seen(self.run(rate_per_s, server.probing(self.job.effort)), rate_per_s).probe()

    def seen(self, ended: Ended, rate_per_s: float) -> server.Run:
        """A test as a run of our own; its lags are LoadGen's: from when a query was due until it was issued."""
        trace, queries = ended.trace, len(ended.trace.latency_ns)
        latencies, lags = (array("q", each.tobytes()) for each in (trace.latency_ns, trace.lag_ns))
        issued_per_s = (queries - 1) * 1e9 / int(trace.due_ns[-1] + trace.lag_ns[-1])
        arrived = Arrived(latencies, lags, 0, trace.duration_ns)
        bound = server.Bound.of(self.latency_ms, self.percentile, queries)
        return server.Run(rate_per_s, issued_per_s, arrived, bound, self.over(trace.latency_ns))

    def over(self, latency_ns: Any) -> int:
        return int((latency_ns > round(self.latency_ms * 1e6)).sum())

    def too_fast(self, ended: Ended) -> bool:
        """Whether LoadGen found the bound missed, or kept too narrowly for early stopping.

        A test of n queries, none of them over, proves percentile p if p^n is below 1 %; a shorter one is not too fast.
        """
        queries, p = len(ended.trace.latency_ns), self.percentile / 100
        over = self.over(ended.trace.latency_ns)
        return not ended.told.valid and (over > (1 - p) * queries or (over > 0 and p**queries < 0.01))


def drive(
    arrivals: Arrivals, rate_per_s: float | None, capacity_per_s: float
) -> Generator[str, None, tuple[Ended, dict[str, Any]]]:
    """The last test, and the section `load` of it. A rate that was searched for is lowered while it is too fast."""
    probes: list[server.Probe] = []
    searched = rate_per_s is None
    if rate_per_s is None:
        yield "search"
        rate_per_s, probes = server.search(capacity_per_s, arrivals.probe)
    attempts_max = server.ATTEMPTS_MAX if any(probe.met for probe in probes) else 1
    for attempt in count(1):
        yield "measure"
        ended = arrivals.run(rate_per_s, arrivals.job.effort)
        if attempt == attempts_max or not arrivals.too_fast(ended):
            break
        rate_per_s *= server.STEP_DOWN
    return ended, _load(arrivals, ended, searched, attempt, probes)


def _load(arrivals: Arrivals, ended: Ended, searched: bool, attempts: int, probes: Sequence[server.Probe]) -> Any:
    """Shaped as `results.record.Load`.

    LoadGen does not scale its arrivals to the rate that it was given (its GenerateQueries says so), so what it offered
    is the rate of the schedule that it made.
    """
    due_ns = ended.trace.due_ns
    return arrivals.seen(ended, (len(due_ns) - 1) * 1e9 / int(due_ns[-1])).load(searched, attempts, probes)
