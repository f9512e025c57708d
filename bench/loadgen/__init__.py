"""MLPerf's own LoadGen drives the session: what is asked when, and what counts, is then not ours to decide.

Source: mlcommons/inference, loadgen/ (package mlcommons-loadgen), and inference_rules.adoc §3. A LoadGen sample is one
sample of the workload, its sample library the rotation of distinct inputs. Warming up and finding a server's rate are
our own, as they are every submitter's. The samples file is LoadGen's own trace; its clock is the wall clock.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

from bench import load, measure, queries
from bench.loadgen import offered, run
from bench.loadgen.client import Samples
from bench.profiles import PROFILES
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.load import Driving, Loop
    from bench.measure import Steady, Timed
    from bench.queries import Witness
    from bench.scenarios import Server
    from bench.sut import SystemUnderTest


def drive(sut: SystemUnderTest, session: Session, batch: int, witness: Witness) -> Driving:
    """The load of the job's scenario under MLPerf's rules. Raises Unsupported, and whatever the session raises."""
    refusal = _refusal(sut, batch)
    if refusal:
        raise Unsupported(refusal)
    lg, job, name = run.library(), sut.job, sut.scenario.name
    yield "warmup"
    warmup, steady = _warmed_up(sut, session, batch)
    runs_per_s = 1e9 / median(steady.levels[-measure.WARMUP_BLOCKS :])
    samples = Samples(queries.rotation(sut.workload, batch), batch, witness)
    test = run.Test(lg, name, session, samples, Path(job.samples_path).with_suffix(".loadgen"))
    settings, section = run.settings_of(lg, name, job), None
    if name == "server":
        asked = cast("Server", sut.scenario).rate_per_s
        ended, section = yield from offered.drive(offered.Arrivals(test, job), asked, runs_per_s)
    else:
        if name == "offline":
            run.expect_rate(settings, job, batch, runs_per_s * batch)
        else:
            run.expect_latency(settings, min(warmup.samples))
        yield "measure"
        ended = test.run(settings)
    return load.Measured(
        timed=ended.timed(sut.scenario),
        warmup_queries=len(warmup.samples),
        warmup_ns=warmup.duration_ns,
        stable=steady.stable,
        query_samples=test.query_samples,
        load=section,
        loadgen={
            **asdict(ended.told),
            "official": is_official(sut, settings.min_query_count),
            "logs": test.folder.name,
        },
    )


def _warmed_up(sut: SystemUnderTest, session: Session, batch: int) -> tuple[Timed, Steady]:
    """Our own warm-up, with as much under way as there will be. Its inputs are gone before LoadGen's are made."""
    loop = _loop(sut.scenario.name, session)
    feeds, steady = load.feeder(sut.workload, batch)(loop.chains(session, batch)), loop.warm_up(sut.job.effort)
    with closing(loop.run(session, feeds, (steady,))) as runs:
        return next(runs), steady


def _loop(name: str, session: Session) -> Loop:
    if name == "server":
        return load.OFFLINE if session.inflight > 1 else load.SINGLE_STREAM
    return load.CLOSED[name]


def _refusal(sut: SystemUnderTest, batch: int) -> str:
    """Why MLPerf's rules cannot be followed here; "": they can."""
    name, bounds = sut.scenario.name, len(sut.job.bounds)
    if name not in run.NAMES:
        return f"MLPerf has no scenario {name}: give --rules=accelmark"
    if sut.workload.feedback:
        return (
            f"LoadGen's samples are independent of each other, and an input of {sut.workload.card.name} is its last "
            f"output: give --rules=accelmark"
        )
    if batch > 1 and name in ("single_stream", "server"):
        return f"a query of MLPerf's {name} is one sample, not {batch}: give --batch=1"
    if bounds > 1 and name == "server":
        return f"LoadGen's server keeps one latency bound, not {bounds}: give one --bound"
    return ""


def is_official(sut: SystemUnderTest, queries_min: int) -> bool:
    """Whether duration and count are MLPerf's own."""
    rules = PROFILES["official"]
    enough = queries_min >= rules.min_samples[sut.scenario.name]
    return enough and sut.job.effort.min_duration_s >= rules.min_duration_s
