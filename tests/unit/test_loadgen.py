"""The real LoadGen drives fake sessions: what it asks, what it tells, and what is kept of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import load, measure, queries, scenarios, server
from bench.loadgen import is_official
from bench.loadgen.run import SEEDS
from bench.profiles import PROFILES
from bench.protocol import Effort, Job
from bench.sut import SystemUnderTest
from results.early_stopping import estimate
from results.record import Load, LoadGen
from tests.fakes.jobs import fake_job
from workloads.contract import Unsupported

EFFORT = Effort(warmup_max_s=0.16, min_duration_s=0.1, min_queries=50, max_duration_s=5)
SCENARIOS = ("single_stream", "multi_stream", "offline", "server(rate=300)")


@dataclass(frozen=True)
class Driven:
    phases: list[str]
    measured: load.Measured
    witness: queries.Witness
    session: Any
    logs: Path

    @property
    def told(self) -> LoadGen:
        return LoadGen.model_validate_json(json.dumps(self.measured.loadgen))

    @property
    def samples(self) -> Any:
        return np.array(self.measured.timed.samples)

    def said(self, key: str) -> Any:
        """An entry of LoadGen's detailed log."""
        for line in (self.logs / "mlperf_log_detail.txt").read_text().splitlines():
            entry = json.loads(line.removeprefix(":::MLLOG "))
            if entry["key"] == key:
                return entry["value"]
        raise KeyError(key)


@pytest.fixture
def job(tmp_path):
    return fake_job(EFFORT, tmp_path / "one.i64", rules="mlperf", bounds=((5.0, 90.0),))


def driven(job: Job, at_measure: Callable[[Any], None] = lambda session: None) -> Driven:
    """A job's load, driven to its end as a worker does; `at_measure` is done to the session before the window."""
    sut, batch, measured = SystemUnderTest.find(job), int(job.batch), []
    witness = queries.Witness(sut.workload, batch, job.precision)
    with closing(sut.compile(batch)) as session:

        def to_the_end():
            measured.append((yield from load.drive(sut, session, batch, witness)))

        phases = []
        for phase in to_the_end():
            phases.append(phase)
            if phase == "measure":
                at_measure(session)
    return Driven(phases, measured[0], witness, session, Path(job.samples_path).with_suffix(".loadgen"))


def test_single_streams_samples_are_loadgens_latencies(job):
    run = driven(job)
    told, ordered = run.told, np.sort(run.samples)
    assert run.phases == ["warmup", "measure"]
    assert (told.valid, told.official, told.logs) == (True, False, "one.loadgen")
    assert len(ordered) == told.results["result_query_count"] >= EFFORT.min_queries
    assert ordered[int(len(ordered) * 0.9)] == told.results["result_90.00_percentile_latency_ns"]
    assert estimate(ordered, 0.9) == told.results["early_stopping_latency_ss"]
    assert run.measured.query_samples == 1


def test_a_query_of_multi_stream_is_eight_samples(job):
    run = driven(replace(job, scenario="multi_stream", engine="fake-paced", options={"latency_us": "500"}))
    assert run.measured.query_samples == 8
    assert run.samples.min() >= 8 * 500_000
    assert run.samples.max() == run.told.results["result_max_query_latency_ns"]


def test_multi_stream_makes_one_run_of_a_batch_of_eight(job):
    paced = {"engine": "fake-paced", "options": {"latency_us": "500", "jitter_us": "0"}}
    run = driven(replace(job, scenario="multi_stream", batch="8", **paced))
    assert 500_000 <= np.median(run.samples) < 8 * 500_000


def test_multi_stream_overlaps_what_the_session_overlaps(job):
    run = driven(replace(job, scenario="multi_stream", engine="fake-overlapped", options={"latency_us": "4000"}))
    assert run.samples.min() >= 8_000_000  # eight samples, four at a time
    assert np.median(run.samples) < 8 * 4_000_000


@pytest.mark.parametrize(("engine", "batch"), [("fake-exact", 1), ("fake-batched", 4), ("fake-overlapped", 1)])
def test_offline_is_one_query_whose_rate_is_loadgens(job, engine, batch):
    run = driven(replace(job, scenario="offline", engine=engine, batch=str(batch)))
    told, timed = run.told, run.measured.timed
    assert run.said("generated_query_count") == 1
    assert run.measured.query_samples == 1
    assert len(run.samples) == run.said("generated_samples_per_query") >= EFFORT.min_queries
    rate_per_s = len(run.samples) / timed.duration_ns * 1e9
    assert rate_per_s == pytest.approx(told.results["result_samples_per_second"], rel=1e-4)
    assert (np.diff(run.samples) >= 0).all()
    assert run.samples[-1] == timed.duration_ns


def test_offline_that_is_over_too_soon_is_invalid(job):
    """The query is made for the speed of the warm-up; LoadGen has an opinion on one that was three times too short."""

    def hurry(session):
        session.latency_ns = lambda: 300_000

    told = driven(replace(job, scenario="offline", engine="fake-paced", options={"latency_us": "3000"}), hurry).told
    assert not told.valid
    assert "Increase expected QPS so the loadgen pre-generates a larger (coalesced) query." in told.reasons


def test_offline_does_not_take_longer_than_it_may(job):
    """It cannot be ended early, so the one query is made no larger than the rate of the warm-up allows."""
    effort = replace(EFFORT, min_queries=100_000, max_duration_s=0.2)
    run = driven(replace(job, scenario="offline", engine="fake-paced", effort=effort))
    assert 50 <= len(run.samples) < 2_000
    assert not run.told.official


def test_a_server_is_offered_the_rate_that_was_asked_for(job):
    bounds, rate_per_s = ((20.0, 90.0),), 400
    run = driven(replace(job, scenario=f"server(rate={rate_per_s})", bounds=bounds))
    told, section = run.told, Load.model_validate_json(json.dumps(run.measured.load))
    assert run.phases == ["warmup", "measure"]
    assert run.said("effective_target_qps") == rate_per_s
    assert section.offered_per_s == pytest.approx(told.results["result_scheduled_samples_per_sec"], rel=1e-4)
    assert section.issued_per_s == pytest.approx(section.offered_per_s, rel=0.5)
    assert section.over == told.results["result_overlatency_query_count"]
    assert (section.bound_ms, section.percentile) == bounds[0]
    assert (section.searched, section.attempts, section.probes) == (False, 1, ())
    assert 0 <= section.lag_p99_ns <= section.lag_max_ns
    assert run.samples.max() == told.results["result_max_latency_ns"]


def test_a_server_is_offered_two_queries_at_least(job):
    """The rate of one is not a number."""
    effort = replace(EFFORT, min_duration_s=0.001, min_queries=1)
    run = driven(replace(job, scenario="server(rate=20)", effort=effort))
    assert run.told.results["result_query_count"] == 2
    assert run.measured.load["offered_per_s"] > 0


def test_a_server_keeps_as_many_runs_under_way_as_are_useful(job):
    """Four at a time, 4 ms each: 500 a second would be twice what one at a time can do."""
    paced = {"engine": "fake-overlapped", "options": {"latency_us": "4000"}}
    effort = replace(EFFORT, min_queries=200)
    run = driven(replace(job, scenario="server(rate=500)", bounds=((1000.0, 50.0),), effort=effort, **paced))
    assert np.median(run.samples) < 120_000_000  # behind one at a time the queue would have grown to 200 ms by then


def test_a_server_without_a_rate_is_given_one_that_was_searched_for(job):
    effort = Effort(warmup_max_s=0.16, min_duration_s=0.2, min_queries=100, max_duration_s=2)
    paced = {"engine": "fake-paced", "options": {"latency_us": "1000", "jitter_us": "0"}}
    run = driven(replace(job, scenario="server", bounds=((200.0, 50.0),), effort=effort, **paced))
    section = Load.model_validate_json(json.dumps(run.measured.load))
    assert run.phases[:3] == ["warmup", "search", "measure"]
    assert section.searched
    assert section.attempts == run.phases.count("measure")
    assert run.told.results["result_scheduled_samples_per_sec"] < 1500  # 1,000 is what it can do


def test_a_rate_that_is_too_high_is_lowered_until_loadgen_is_content(job, monkeypatch):
    monkeypatch.setattr(server, "search", lambda capacity_per_s, ask: (2000.0, [server.Probe(2000.0, 9, 0, True)]))
    paced = {"engine": "fake-paced", "options": {"latency_us": "2000", "jitter_us": "0"}}
    run = driven(replace(job, scenario="server", bounds=((5.0, 90.0),), **paced))
    assert run.phases == ["warmup", "search", "measure", "measure", "measure"]
    assert not run.told.valid
    assert run.measured.load["attempts"] == 3
    assert run.said("effective_target_qps") == pytest.approx(2000 * 0.9**2)
    assert "Reduce target QPS to improve latency." in run.told.reasons


def test_the_window_is_on_our_own_clock(job):
    began_ns = measure.CLOCK()
    timed = driven(job).measured.timed
    assert began_ns < timed.opened_ns < timed.closed_ns < measure.CLOCK()
    assert timed.duration_ns >= EFFORT.min_duration_s * 1e9


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_logs_are_kept_but_for_the_trace(job, scenario):
    run = driven(replace(job, scenario=scenario))
    assert sorted(path.name for path in run.logs.iterdir()) == ["mlperf_log_detail.txt", "mlperf_log_summary.txt"]
    assert run.said("loadgen_version").startswith(run.told.version)


def test_too_few_queries_are_invalid_for_loadgens_reason(job):
    effort = replace(EFFORT, min_duration_s=0.01, min_queries=10)
    told = driven(replace(job, engine="fake-paced", effort=effort, options={"latency_us": "3000"})).told
    assert not told.valid
    assert "Need to process at least 64 queries for early stopping." in told.reasons
    assert "early_stopping_latency_ss" not in told.results


@pytest.mark.parametrize(("scenario", "batch"), [("single_stream", 1), ("multi_stream", 2), ("offline", 5)])
def test_the_witness_sees_the_right_answers(job, scenario, batch):
    run = driven(replace(job, scenario=scenario, batch=str(batch)))
    golden = run.witness.golden.outputs["y"]
    assert run.witness.kept
    assert not run.witness.opened
    for answer in run.witness.kept:
        np.testing.assert_allclose(answer.outputs["y"], golden[list(answer.golden)], rtol=1e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("engine", ["fake-exact", "fake-overlapped"])
def test_what_the_session_raises_is_raised_when_loadgen_has_ended(job, scenario, engine):
    answered = iter(range(10))

    def give_up(session):
        right = session.answer

        def answer(values):
            if next(answered, None) is None:
                raise MemoryError("cannot allocate 64 GiB")
            return right(values)

        session.answer = answer

    with pytest.raises(MemoryError, match="cannot allocate 64 GiB"):
        driven(replace(job, scenario=scenario, engine=engine), give_up)


def test_settings_follow_from_the_job(job):
    folder = Path(job.samples_path).parent
    runs = [driven(replace(job, seed=seed, samples_path=str(folder / f"{n}.i64"))) for n, seed in enumerate((1, 1, 2))]
    seeds, first = [[run.said(f"effective_{name}") for name in SEEDS] for run in runs], runs[0]
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0])) == 4
    assert first.said("effective_min_duration_ms") == 100
    assert first.said("effective_max_duration_ms") == 5000
    assert first.said("effective_target_latency_percentile") == 0.9


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_official_is_what_has_mlperfs_duration_and_count(job, scenario):
    profile = PROFILES["official"]
    sut = SystemUnderTest.find(replace(job, scenario=scenario, effort=profile.effort(scenario, "1")))
    count = profile.min_samples[sut.scenario.name]
    assert is_official(sut, count)
    assert not is_official(sut, count - 1)
    shorter = replace(sut.job.effort, min_duration_s=599.9)
    assert not is_official(replace(sut, job=replace(sut.job, effort=shorter)), count)


def test_an_audit_file_in_the_working_folder_is_not_read(job, tmp_path, monkeypatch):
    for name in ("audit.conf", "audit.config", "no-audit.conf"):
        (tmp_path / name).write_text("*.*.max_query_count = 5\n*.*.min_query_count = 5\n")
    monkeypatch.chdir(tmp_path)
    assert driven(job).told.results["result_query_count"] >= EFFORT.min_queries


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": "fake-memory"}, "LoadGen's samples are independent of each other, and an input of fake-memory"),
        ({"batch": "2"}, "a query of MLPerf's single_stream is one sample, not 2: give --batch=1"),
        ({"scenario": "server(rate=9)", "batch": "2"}, "a query of MLPerf's server is one sample, not 2"),
        ({"scenario": "server", "bounds": ((5.0, 90.0), (9.0, 99.0))}, "keeps one latency bound, not 2: give one --bo"),
    ],
)
def test_what_mlperf_does_not_have_is_unsupported(job, changes, why):
    with pytest.raises(Unsupported, match=why):
        driven(replace(job, **changes))


def test_mlperf_has_no_cold_start(job):
    sut = replace(SystemUnderTest.find(job), scenario=scenarios.parse("cold_start"))
    with pytest.raises(Unsupported, match="MLPerf has no scenario cold_start: give --rules=accelmark"):
        next(load.drive(sut, None, 1, None))


def test_a_missing_loadgen_says_how_to_get_it(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(Unsupported, match=r"needs MLPerf's LoadGen: pip install -e '\.\[mlperf\]'"):
        driven(job)
