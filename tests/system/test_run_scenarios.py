"""Every scenario in whole runs, on engines whose behaviour under load is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.scenarios import SCENARIOS
from results.record import Record, Summary
from results.store import read
from tests.system.run_helpers import bench

CHOSEN = ("--backend=fake", "--workload=fake-project")
ALL = (*SCENARIOS, "server(rate=300)", "cold_start(page_cache=cold)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenarios")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """Four runs of 1 ms each at a time."""
    asked = [f"--scenario={scenario}" for scenario in ALL]
    return bench(folder, *CHOSEN, "--engine=fake-overlapped", "--bound=50@95", *asked)


@pytest.fixture(scope="module")
def found(done: subprocess.CompletedProcess[str], folder: Path) -> dict[str, tuple[Record, Summary]]:
    assert "7 ok" in done.stdout, done.stdout + done.stderr  # on a busy machine some are noisy, or worse
    return {record.identity.scenario: (record, summary) for record, summary in read(folder, []) if summary}


def test_every_scenario_is_a_record_of_its_own(found: dict[str, tuple[Record, Summary]]) -> None:
    assert set(found) == set(ALL)
    kinds = {name: record.window.samples_kind for name, (record, _) in found.items() if record.window}
    assert kinds == {name: SCENARIOS[name.partition("(")[0]].samples_kind for name in ALL}


def test_only_a_server_has_a_load(found: dict[str, tuple[Record, Summary]]) -> None:
    with_load = {name for name, (record, _) in found.items() if record.load}
    assert with_load == {"server", "server(rate=300)"}


def test_a_query_of_multi_stream_is_eight_samples(found: dict[str, tuple[Record, Summary]]) -> None:
    """Two rounds of four runs make a query."""
    record, summary = found["multi_stream"]
    assert record.window is not None
    assert record.window.query_samples == 8
    assert summary.latency_min_ns is not None
    assert summary.latency_min_ns >= 2e6


def test_the_window_of_a_server_is_at_the_rate_that_was_found(found: dict[str, tuple[Record, Summary]]) -> None:
    record, summary = found["server"]
    assert record.load is not None
    assert summary.throughput_per_s is not None
    assert 0 < summary.throughput_per_s < 1.1 * record.load.offered_per_s
    assert record.load.offered_per_s < 4000
    rates = [probe.rate_per_s for probe in record.load.probes]
    assert max(rates) < 4000
    assert len(rates) <= 6


def test_a_cold_start_has_its_phases(found: dict[str, tuple[Record, Summary]]) -> None:
    record, _summary = found["cold_start"]
    assert record.phases is not None
    assert record.window is not None
    parts = ("start_ns", "import_ns", "load_ns", "compile_ns", "first_run_ns")
    assert record.window.duration_ns == sum(getattr(record.phases, name) for name in parts)
    assert record.evidence is not None
    assert record.evidence.outputs is not None
    assert record.evidence.outputs.identity_hits == 12


def test_an_engine_that_holds_up_the_load_and_misses_the_bound_is_told_so(tmp_path: Path) -> None:
    """5 ms a run in which nothing else can happen, 150 queries per second, and the card's bound of 5 ms."""
    bench(tmp_path, *CHOSEN, "--engine=fake-hogging", "--scenario=server(rate=150)")
    ((record, summary),) = read(tmp_path, [])
    assert record.load is not None
    assert summary is not None
    assert {"generator_bound", "bound_missed"} <= {reason.code for reason in summary.reasons}
    assert summary.verdict == "invalid"
