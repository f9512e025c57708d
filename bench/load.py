"""The load of each scenario on a session: warming up under it, then the timed window.

A driver is a generator: it gives the name of each phase that it enters and returns what it measured. A further scenario
is a class in `bench/scenarios.py` and a driver here, or in a module of its own that `_driver` names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import measure, queries
from bench.scenarios import MultiStream

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.measure import Limit, Runs, Timed
    from bench.protocol import Effort
    from bench.queries import Feed, Witness
    from bench.sut import SystemUnderTest
    from workloads.contract import Workload

    Feeder = Callable[[int], list[Feed]]
    Driving = Generator[str, None, "Measured"]
    Driver = Callable[[SystemUnderTest, Session, int, Witness], Driving]


@dataclass(frozen=True)
class Measured:
    """What came of a load. A query is `query_samples` samples; `stable`: the warm-up settled.

    `load` and `loadgen` are shaped as `results.record.Load` and `LoadGen`, None where the scenario has none.
    `first_run_ns` and `steady_ns` are of a driver that makes the very first run itself (cold_start).
    """

    timed: Timed
    warmup_queries: int
    warmup_ns: int
    stable: bool
    query_samples: int
    load: Mapping[str, Any] | None = None
    loadgen: Mapping[str, Any] | None = None
    first_run_ns: int | None = None
    steady_ns: int | None = None


@dataclass(frozen=True)
class Loop:
    """A closed loop: what settles in its warm-up, how many feeds it takes, and how many samples its query has."""

    run: Callable[[Session, Sequence[Feed], Sequence[Limit]], Runs]
    level: Callable[[Sequence[int], int], float]
    chains: Callable[[Session, int], int] = lambda _session, _batch: 1
    query_samples: Callable[[int], int] = lambda batch: batch

    def warm_up(self, effort: Effort) -> measure.Steady:
        """The limit that ends warming up."""
        return measure.Steady(effort.warmup_max_s, self.level)


SINGLE_STREAM = Loop(measure.single_stream, measure.latency_level)
MULTI_STREAM = Loop(
    measure.multi_stream,
    measure.latency_level,
    lambda _session, batch: MultiStream.query_samples // batch,
    lambda _batch: MultiStream.query_samples,
)
OFFLINE = Loop(measure.offline, measure.interval_level, lambda session, _batch: session.inflight)


def feeder(workload: Workload, batch: int, witness: Witness | None = None) -> Feeder:
    """Gives as many feeds as there are chains of queries, each beginning at another place of the same rotation."""
    rotation = queries.rotation(workload, batch)
    steps = workload.golden().steps if workload.feedback else 1

    def feeds(chains: int) -> list[Feed]:
        starts = [chain * len(rotation) // chains for chain in range(chains)]
        return [queries.feed(rotation, workload.feedback, steps, start, witness) for start in starts]

    return feeds


def drive(sut: SystemUnderTest, session: Session, batch: int, witness: Witness) -> Driving:
    """The load of the job's scenario under its rules; `witness` is open for as long as the window is."""
    return _driver(sut)(sut, session, batch, witness)


def _driver(sut: SystemUnderTest) -> Driver:
    """What an item does not need is not imported."""
    if sut.job.rules == "mlperf":
        from bench import loadgen

        return loadgen.drive
    if sut.scenario.name == "server":
        from bench import server

        return server.drive
    if sut.scenario.name == "cold_start":
        from bench import coldstart

        return coldstart.drive
    return partial(_closed, CLOSED[sut.scenario.name])


CLOSED = {"single_stream": SINGLE_STREAM, "multi_stream": MULTI_STREAM, "offline": OFFLINE}


def _closed(loop: Loop, sut: SystemUnderTest, session: Session, batch: int, witness: Witness) -> Driving:
    """Warm up and measure in one go: the window opens where the warm-up ends, with as much under way."""
    feeds = feeder(sut.workload, batch, witness)(loop.chains(session, batch))
    yield "warmup"
    steady = loop.warm_up(sut.job.effort)
    with closing(loop.run(session, feeds, (steady, measure.Enough(sut.job.effort)))) as runs:
        warmup = next(runs)
        yield "measure"
        witness.open()
        (timed,) = runs  # to the end, so that the last answer is seen too
        witness.close()
    return Measured(timed, len(warmup.samples), warmup.duration_ns, steady.stable, loop.query_samples(batch))


def rate_per_s(loop: Loop, workload: Workload, session: Session, batch: int, effort: Effort) -> float:
    """Samples per second of a short run."""
    feeds = feeder(workload, batch)(loop.chains(session, batch))
    _warmup, timed = loop.run(session, feeds, (loop.warm_up(effort), measure.Enough(effort)))
    return timed.rate_per_s * loop.query_samples(batch)
