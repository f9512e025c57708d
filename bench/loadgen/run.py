"""One test by LoadGen: its settings, its start, and what is left of it."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import INSTALL, arrivals, measure
from bench.loadgen import logs
from bench.loadgen.client import Client, Overlapped, Samples, Serial
from bench.scenarios import MultiStream
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.loadgen.logs import Told, Trace
    from bench.protocol import Job
    from bench.scenarios import Scenario

NAMES = {"single_stream": "SingleStream", "multi_stream": "MultiStream", "server": "Server", "offline": "Offline"}
SINGLE_STREAM_PERCENTILE, MULTI_STREAM_PERCENTILE = 0.90, 0.99
"""inference_rules.adoc §3, "Scenarios"."""
HEADROOM = 1.25
"""Offline's one query is made before it starts, and a machine may get faster than it was in the warm-up. LoadGen itself
adds 1.1 to the minimum duration (test_settings_internal.cc, kSlack); a shorter run is INVALID."""
SEEDS = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed", "accuracy_log_rng_seed")


def library() -> Any:
    """The module mlperf_loadgen; mlcommons_loadgen, imported first, would leave an empty one under that name."""
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise Unsupported(f"this needs MLPerf's LoadGen: {INSTALL.format(extra='mlperf')}") from error
    return mlperf_loadgen


def settings_of(lg: Any, scenario: str, job: Job, number: int = 0) -> Any:
    """LoadGen's TestSettings: MLPerf's percentiles, the job's durations, and the seeds of the job's test `number`.

    The seeds differ: from one seed, the choice of a sample and the gap before it would be the same random number.
    """
    made, rng = lg.TestSettings(), random.Random(f"{job.seed}/{number}")  # noqa: S311 - a choice, no secret
    made.scenario, made.mode = getattr(lg.TestScenario, NAMES[scenario]), lg.TestMode.PerformanceOnly
    made.min_duration_ms = round(job.effort.min_duration_s * 1000)
    made.max_duration_ms = round(job.effort.max_duration_s * 1000)
    made.min_query_count = job.effort.min_queries
    made.single_stream_target_latency_percentile = SINGLE_STREAM_PERCENTILE
    made.multi_stream_target_latency_percentile = MULTI_STREAM_PERCENTILE
    made.multi_stream_samples_per_query = MultiStream.query_samples
    for name in SEEDS:
        setattr(made, name, rng.getrandbits(63))
    return made


def expect_latency(settings: Any, fastest_ns: int) -> None:
    """Streams: LoadGen makes twice as many queries in advance as the minimum duration would hold at this latency."""
    settings.single_stream_expected_latency_ns = settings.multi_stream_expected_latency_ns = fastest_ns


def expect_rate(settings: Any, job: Job, batch: int, rate_per_s: float) -> None:
    """Offline: `rate_per_s` counts samples. The one query cannot be ended early, so what is too much is not asked."""
    samples = job.effort.min_queries * (1 if job.batch == "auto" else batch)
    settings.min_query_count = max(1, min(samples, int(rate_per_s * job.effort.max_duration_s)))
    settings.offline_expected_qps = rate_per_s * HEADROOM


def offer(settings: Any, rate_per_s: float, latency_ms: float, percentile: float) -> None:
    """Server: arrivals, and the bound that they are to keep. One alone has no rate, and LoadGen writes "-nan" then."""
    settings.min_query_count = max(2, settings.min_query_count)
    settings.server_target_qps = rate_per_s
    settings.server_target_latency_ns = round(latency_ms * 1e6)
    settings.server_target_latency_percentile = percentile / 100


@dataclass(frozen=True)
class Ended:
    """What LoadGen told, its trace, and when the first answer came by our own clock."""

    told: Told
    trace: Trace
    first_done_ns: int

    def timed(self, scenario: Scenario) -> measure.Timed:
        """The window on our own clock, to which the first answer ties LoadGen's."""
        samples, opened_ns = array("q"), self.first_done_ns - int(self.trace.done_ns.min())
        ordered = np.sort(self.trace.done_ns) if scenario.samples_kind == "done_ns" else self.trace.latency_ns
        samples.frombytes(ordered.tobytes())
        return measure.Timed(samples, opened_ns, opened_ns + self.trace.duration_ns)


@dataclass(frozen=True)
class Test:
    """All that LoadGen needs but its settings; its logs go to `folder`."""

    lg: Any
    scenario: str
    session: Session
    samples: Samples
    folder: Path

    @property
    def query_samples(self) -> int:
        return MultiStream.query_samples if self.scenario == "multi_stream" else 1

    def run(self, settings: Any) -> Ended:
        """Raises LoadGenError, and what the session raised once LoadGen has come to its end."""
        client, witness = self._client(), self.samples.witness
        logs.make_empty(self.folder)
        witness.open()
        self._start(settings, client)
        witness.close()
        if client.error:
            raise client.error
        told, trace = logs.read_detail(self.folder), logs.read_trace(self.folder, self.query_samples)
        logs.tidy(self.folder)
        return Ended(told, trace, client.first_done_ns)

    def _client(self) -> Client:
        """Where nothing overlaps, LoadGen's own thread runs the session: handing over costs tens of microseconds."""
        lg, alone = self.lg, self.scenario != "server" and self.session.inflight == 1

        def reply(ids: Sequence[int]) -> None:
            lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0) for one in ids])

        kind = Serial if alone or self.scenario == "single_stream" else Overlapped
        return kind(self.session, self.samples, reply)

    def _start(self, settings: Any, client: Client) -> None:
        """The whole test. There is no audit.conf in `folder`, which would change the settings."""
        lg, log_settings, count = self.lg, self.lg.LogSettings(), self.samples.count
        log_settings.log_output.outdir = str(self.folder)
        sut, held = lg.ConstructFastSUT(client.issue, _nothing), lg.ConstructQSL(count, count, _nothing, _nothing)
        try:
            with measure.no_collections(), arrivals.fine_timer():
                lg.StartTestWithLogSettings(sut, held, settings, log_settings, str(self.folder / "audit.conf"))
        finally:
            lg.DestroyQSL(held)
            lg.DestroyFastSUT(sut)


def _nothing(*_samples: Any) -> None:
    """Inputs are in memory from the start, and what was started needs no push."""
