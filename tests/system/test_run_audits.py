"""Whole runs with engines that cheat, each in one known way, and with one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.record import Record
from results.store import read
from tests.system.run_helpers import bench, measured

CHEATS = {
    "fake-late-constant": "timed_outputs_wrong",
    "fake-late-stale": "timed_outputs_wrong",
    "fake-caching": "caching_suspected",
    "fake-caching-objects": "caching_suspected",
}
CASES = [("fake-project", "single_stream"), ("fake-project", "offline"), ("fake-memory", "single_stream")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cheats and two honest engines, the second time on a workload with feedback."""
    runs = tmp_path_factory.mktemp("audits")
    engines = "--engine=" + ",".join((*CHEATS, "fake-exact", "fake-with-clock"))
    for case in (("--workload=fake-project",), ("--workload=fake-memory", "--scenario=single_stream")):
        done = bench(runs, "--backend=fake", engines, *case)
        assert "Traceback" not in done.stderr, done.stderr
    return runs


@pytest.fixture(scope="module")
def invalid(folder: Path) -> dict[tuple[str, str, str], list[str]]:
    """Codes that make a result invalid, by engine, scenario and workload."""
    return {
        (record.identity.engine, record.identity.scenario, record.identity.workload): [
            reason.code for reason in summary.reasons if reason.severity == "invalid"
        ]
        for record, summary in read(folder, [])
        if summary
    }


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return measured(folder)


@pytest.mark.parametrize(("workload", "scenario"), CASES)
@pytest.mark.parametrize(("engine", "code"), [*CHEATS.items(), ("fake-exact", None), ("fake-with-clock", None)])
def test_a_cheat_is_invalid_for_what_it_does_and_an_honest_engine_is_not(
    invalid: dict[tuple[str, str, str], list[str]], engine: str, code: str | None, scenario: str, workload: str
) -> None:
    assert invalid[engine, scenario, workload] == ([code] if code else [])


def test_the_check_before_the_window_was_passed_by_all(records: list[Record]) -> None:
    checks = [record.evidence.outputs for record in records if record.evidence]
    assert len(checks) == len(records)
    assert all(check and check.identity_hits == check.n == 12 for check in checks)


def test_audits_leave_their_evidence(records: list[Record]) -> None:
    evidence = next(record.evidence for record in records if record.identity.engine == "fake-with-clock")
    assert evidence
    assert evidence.same_input
    assert evidence.same_input.low <= evidence.same_input.ratio <= evidence.same_input.high
    assert evidence.stages
    assert evidence.stages.device_ns == 500_000 < evidence.stages.run_ns
    assert evidence.timed_outputs
    assert evidence.timed_outputs.n >= 3


def test_an_engine_without_a_clock_says_that_it_has_none(records: list[Record]) -> None:
    evidence = next(record.evidence for record in records if record.identity.engine == "fake-exact")
    assert evidence
    assert evidence.stages
    assert evidence.stages.device_ns is None
    assert evidence.stages.missing == {
        "device_ns": "the engine does not say how long the device worked",
        "enqueue_ns": "the engine does not say when it had handed the run to the device",
    }
