"""The server scenario: the highest rate of arrivals that keeps every latency bound, and a window that confirms it.

A run keeps a bound if so few of its queries took longer that the percentile is proved (MLPerf Inference,
inference_rules.adoc §3, "Server", and its early stopping). A search picks the luckiest of several runs, so the figure
comes from none of them: it is that of an independent window, with arrivals of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench import arrivals, load, measure
from bench.protocol import Effort
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.load import Driving, Feeder
    from bench.queries import Witness
    from bench.scenarios import Server
    from bench.sut import SystemUnderTest

CAPACITY = Effort(warmup_max_s=0.0, min_duration_s=0.5, min_queries=16, max_duration_s=5.0)
"""Of the short run without pauses that says what no rate can exceed for long."""
PROBES_MAX = 6
PROBE_MAX_S = 10.0
RESOLUTION = 1.05
"""The search ends when the rate that kept the bounds and the one that did not are no further apart."""
SHARE_MIN = 1 / 16
"""Of the capacity. Queries hardly ever meet at this rate: if it breaks the bound, a lower one does too."""
ARRIVALS_MIN = 2
"""No rate is probed at which fewer come in the longest probe: nobody is to wait for minutes for a query to come."""
ALLOWED_MIN = 3
"""A run is long enough for so many queries over the bound, as far as may be: a single hiccup is not to decide."""
Z_99 = 2.3263
"""99 % of a normal distribution lie below so many standard deviations over its mean."""
ATTEMPTS_MAX = 3
STEP_DOWN = 0.9


@dataclass(frozen=True)
class Bound:
    """At most `allowed` of a run's queries may take longer than `latency_ns`.

    So few that the run proves the percentile as LoadGen's early stopping would, by the normal approximation of its
    binomial (continuity-corrected, it is the exact count or one less); in a run too short for that, no more than the
    percentile itself leaves.
    """

    latency_ms: float
    percentile: float
    allowed: int

    @classmethod
    def of(cls, latency_ms: float, percentile: float, queries: int) -> Bound:
        left = 1 - percentile / 100
        proved = math.floor(queries * left - Z_99 * math.sqrt(queries * left * (1 - left)) - 0.5)
        return cls(latency_ms, percentile, proved if proved >= 0 else math.floor(queries * left + 1e-9))

    @property
    def latency_ns(self) -> int:
        return round(self.latency_ms * 1e6)


@dataclass(frozen=True)
class Probe:
    """As `results.record.Probe`."""

    rate_per_s: float
    queries: int
    over: int
    met: bool


@dataclass(frozen=True)
class Run:
    """One run at `rate_per_s`. `over` of its queries exceeded `bound`, of all the one that it kept worst."""

    rate_per_s: float
    issued_per_s: float
    arrived: arrivals.Arrived
    bound: Bound
    over: int

    @property
    def met(self) -> bool:
        return self.over <= self.bound.allowed

    def probe(self) -> Probe:
        return Probe(self.rate_per_s, len(self.arrived.latencies), self.over, self.met)

    def load(self, searched: bool, attempts: int, probes: Sequence[Probe]) -> dict[str, Any]:
        """Shaped as `results.record.Load`."""
        lags = sorted(self.arrived.lags)
        return {
            "bound_ms": self.bound.latency_ms,
            "percentile": self.bound.percentile,
            "offered_per_s": self.rate_per_s,
            "issued_per_s": self.issued_per_s,
            "lag_p99_ns": lags[len(lags) * 99 // 100],
            "lag_max_ns": lags[-1],
            "over": self.over,
            "searched": searched,
            "attempts": attempts,
            "probes": [asdict(probe) for probe in probes],
        }


def drive(sut: SystemUnderTest, session: Session, batch: int, witness: Witness) -> Driving:
    """Warms up with as much under way as will be, searches unless the rate is given, and measures.

    If a window does not keep what the search has found, the next one is at STEP_DOWN times its rate; the last of
    ATTEMPTS_MAX stands as it is, and so does the only one where the rate is given or where no probe kept the bounds.
    """
    job, rate_per_s = sut.job, cast("Server", sut.scenario).rate_per_s
    searched = rate_per_s is None
    if rate_per_s is not None and rate_per_s * job.effort.max_duration_s < ARRIVALS_MIN:
        longest = f"the profile's longest window, {job.effort.max_duration_s:g} s"
        raise Unsupported(f"at {rate_per_s:g}/s under {ARRIVALS_MIN} queries come in {longest}: give a higher rate")
    feeder = load.feeder(sut.workload, batch, witness)
    traffic = Traffic(session, feeder, job.bounds, job.seed)
    loop = load.SINGLE_STREAM if session.inflight == 1 else load.OFFLINE
    steady = loop.warm_up(job.effort)
    yield "warmup"
    with closing(loop.run(session, feeder(session.inflight), (steady, measure.Enough(CAPACITY)))) as runs:
        warmup = next(runs)
        probes: list[Probe] = []
        if rate_per_s is None:
            yield "search"
            capacity = next(runs)
    if rate_per_s is None:
        least_per_s = ARRIVALS_MIN / probing(job.effort).max_duration_s
        rate_per_s, probes = search(capacity.rate_per_s, lambda rate: traffic.probe(rate, job.effort), least_per_s)
    attempts_max = ATTEMPTS_MAX if any(probe.met for probe in probes) else 1
    run, attempts = yield from _windows(traffic, rate_per_s, job.effort, attempts_max, witness)
    arrived = run.arrived
    return load.Measured(
        measure.Timed(arrived.latencies, arrived.opened_ns, arrived.closed_ns),
        len(warmup.samples),
        warmup.duration_ns,
        steady.stable,
        batch,
        load=run.load(searched, attempts, probes),
    )


def search(capacity_per_s: float, ask: Callable[[float], Probe], least_per_s: float = 0.0) -> tuple[float, list[Probe]]:
    """The highest rate that `ask` found to keep the bounds, and all that it was asked.

    Rates are halved until one keeps them, and then bisected geometrically. If none does down to SHARE_MIN of the
    capacity, or to `least_per_s`, the lowest one that was tried is returned all the same.
    """
    low, high = 0.0, capacity_per_s
    least_per_s = max(least_per_s, SHARE_MIN * capacity_per_s)
    probes: list[Probe] = []
    while len(probes) < PROBES_MAX and high > max(RESOLUTION * low, least_per_s):
        probe = ask(math.sqrt(low * high) if low else high / 2)
        probes.append(probe)
        if probe.met:
            low = probe.rate_per_s
        else:
            high = probe.rate_per_s
    return low or high, probes


def _windows(
    traffic: Traffic, rate_per_s: float, effort: Effort, attempts_max: int, witness: Witness
) -> Generator[str, None, tuple[Run, int]]:
    """The window that kept the bounds, or the last one; and the how many-th it was."""
    for attempt in range(1, attempts_max + 1):
        yield "measure"
        witness.open()
        run = traffic.run(rate_per_s, effort, to_the_end=attempt == attempts_max)
        witness.close()
        if run.met:
            break
        rate_per_s *= STEP_DOWN
    return run, attempt


class Traffic:
    """Offers a session arrivals at any rate; no two runs have the same ones."""

    def __init__(
        self,
        session: Session,
        feeder: Feeder,
        bounds: Sequence[tuple[float, float]],
        seed: int,
        ask: Callable[..., arrivals.Arrived] = arrivals.open_loop,
    ) -> None:
        self.session, self.feeder, self.bounds, self.seed, self.ask = session, feeder, bounds, seed, ask
        self.numbers = count()

    def probe(self, rate_per_s: float, effort: Effort) -> Probe:
        """A run as the window will be, but no longer than PROBE_MAX_S, and given up when it cannot keep the bounds."""
        return self.run(rate_per_s, probing(effort), to_the_end=False).probe()

    def run(self, rate_per_s: float, effort: Effort, to_the_end: bool) -> Run:
        queries = _queries(rate_per_s, effort, max(percentile for _, percentile in self.bounds))
        offsets_ns = arrivals.schedule(rate_per_s, queries, f"{self.seed}/{next(self.numbers)}")
        bounds = [Bound.of(*bound, queries) for bound in self.bounds]
        give_up = arrivals.never if to_the_end else _Hopeless(bounds)
        least_ns = min(bound.latency_ns for bound in bounds)
        feeds = self.feeder(self.session.inflight)
        arrived = self.ask(self.session, feeds, offsets_ns, give_up, least_ns)
        over, bound = max((_over(arrived, bound) for bound in bounds), key=lambda pair: pair[0] - pair[1].allowed)
        issued = len(arrived.lags)
        issued_per_s = issued * 1e9 / (offsets_ns[issued - 1] + arrived.lags[-1])
        return Run(rate_per_s, issued_per_s, arrived, bound, over)


class _Hopeless:
    """Is told each latency over the lowest bound, and says when too many are over one.

    That ends an over-saturated run soon as well: behind a queue that grows every query is over.
    """

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self.left = {bound: bound.allowed for bound in bounds}

    def __call__(self, latency_ns: int) -> bool:
        for bound in self.left:
            self.left[bound] -= latency_ns > bound.latency_ns
        return min(self.left.values()) < 0


def _over(arrived: arrivals.Arrived, bound: Bound) -> tuple[int, Bound]:
    return int((np.frombuffer(arrived.latencies, np.int64) > bound.latency_ns).sum()), bound


def probing(effort: Effort) -> Effort:
    """No longer than PROBE_MAX_S."""
    shorter = {name: min(PROBE_MAX_S, getattr(effort, name)) for name in ("min_duration_s", "max_duration_s")}
    return replace(effort, **shorter)


def _queries(rate_per_s: float, effort: Effort, percentile: float) -> int:
    """Enough for the duration, the count and the percentile, as far as the maximum duration lets."""
    tail = round(100 * ALLOWED_MIN / (100 - percentile), 6) if percentile < 100 else 0
    wanted = max(rate_per_s * effort.min_duration_s, effort.min_queries, tail)
    return max(1, math.ceil(min(wanted, rate_per_s * effort.max_duration_s)))
