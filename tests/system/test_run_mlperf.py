"""Whole runs under `--rules=mlperf`: the real LoadGen drives engines whose speed is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from results.record import Record, Summary
from results.store import read
from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, command

SCENARIOS = ("single_stream", "multi_stream", "offline", "server(rate=100)")
CHOSEN = ("--rules=mlperf", "--backend=fake", "--workload=fake-project", "--bound=100@50")
Kept = dict[str, tuple[Record, Summary]]
CRASHING = """
import os, sys
from tests.fakes import fake_engines

class _Crashing(fake_engines.FakeSession):
    def answer(self, values):
        if sys._getframe(2).f_code.co_name == "issue":  # LoadGen's callback
            os.abort()
        return super().answer(values)

class CrashingEngine(fake_engines.FakeEngine):
    name, session = "crashing", _Crashing
"""


def measured(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Kept]:
    done = bench(folder, *CHOSEN, f"--scenario={','.join(SCENARIOS)}", *arguments)
    problems = []
    kept = {record.identity.scenario: (record, summary) for record, summary in read(folder, problems)}
    assert problems == []
    assert {record.status for record, _ in kept.values()} == {"ok"}, done.stdout + done.stderr
    return done, kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlperf") / "runs"


@pytest.fixture(scope="module")
def fast(folder):
    """Some microseconds a sample."""
    return measured(folder, "--engine=fake-exact")[1]


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """40 ms a sample: 50 samples in the 2 s that the quick profile allows."""
    arguments = ("--engine=fake-paced", "--option=latency_us=40000", "--option=jitter_us=0")
    return measured(tmp_path_factory.mktemp("slow") / "runs", *arguments)


def codes(summary: Summary) -> set[str]:
    return {reason.code for reason in summary.reasons}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_loadgen_calls_valid_is_kept_as_such(fast, scenario):
    record, summary = fast[scenario]
    assert record.identity.rules == "mlperf"
    assert record.loadgen.valid, record.loadgen.reasons
    assert "loadgen_invalid" not in codes(summary)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_short_run_is_not_official(fast, scenario):
    record, summary = fast[scenario]
    assert not record.loadgen.official
    assert "not_official" in codes(summary)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_logs_are_kept_beside_the_samples(fast, folder, scenario):
    record, _ = fast[scenario]
    logs = folder / record.context.run_id / record.loadgen.logs
    assert logs.parent == (folder / record.context.run_id / record.window.samples_file).parent
    said = (logs / "mlperf_log_summary.txt").read_text()
    assert "Result is : VALID" in said
    assert sorted(path.name for path in logs.iterdir()) == ["mlperf_log_detail.txt", "mlperf_log_summary.txt"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_outputs_of_the_window_were_checked(fast, scenario):
    """MLPerf's TEST01, under MLPerf's own load."""
    outputs = fast[scenario][0].evidence.timed_outputs
    assert outputs.n > 0
    assert outputs.identity_hits == outputs.n
    assert outputs.centred_cosine_min > outputs.cosine_required


def test_figures_are_loadgens(fast):
    record, summary = fast["single_stream"]
    assert summary.latency_p90_ns == record.loadgen.results["result_90.00_percentile_latency_ns"]
    assert summary.early_p90_ns == record.loadgen.results["early_stopping_latency_ss"]
    record, summary = fast["multi_stream"]
    assert summary.latency_p99_ns == record.loadgen.results["result_99.00_percentile_per_query_latency_ns"]
    assert summary.early_p99_ns == record.loadgen.results["early_stopping_latency_ms"]
    record, summary = fast["offline"]
    assert summary.throughput_per_s == pytest.approx(record.loadgen.results["result_samples_per_second"], rel=1e-4)
    record, summary = fast["server(rate=100)"]
    assert record.load.over == record.loadgen.results["result_overlatency_query_count"]
    assert record.load.offered_per_s == pytest.approx(
        record.loadgen.results["result_scheduled_samples_per_sec"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("single_stream", "Need to process at least 64 queries for early stopping."),
        ("multi_stream", "Need to process at least 662 queries for early stopping."),
        ("server(rate=100)", "Reduce target QPS to improve latency."),
    ],
)
def test_what_loadgen_calls_invalid_is_invalid_for_its_reasons(slow, scenario, reason):
    done, kept = slow
    record, summary = kept[scenario]
    assert not record.loadgen.valid
    assert reason in record.loadgen.reasons
    assert "loadgen_invalid" in codes(summary)
    assert summary.verdict == "invalid"
    assert reason in done.stdout


def test_offline_ends_in_time_however_slow_the_engine_is(slow):
    record, _ = slow[1]["offline"]
    assert record.loadgen.valid
    assert 25 <= record.window.queries <= 50


def test_a_crash_under_loadgen_is_a_failed_record_and_leaves_no_logs(tmp_path):
    (tmp_path / "crashing.py").write_text(CRASHING)
    wanted = command(tmp_path / "runs", "--parts=crashing", "--engine=crashing", "--scenario=single_stream", *CHOSEN)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    subprocess.run(wanted, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    ((record, summary),) = read(tmp_path / "runs", [])
    assert record.status == "failed"
    assert "killed by SIGABRT (Aborted) in phase measure" in record.reason
    assert summary is None
    assert list((tmp_path / "runs" / record.context.run_id / "samples").iterdir()) == []
