"""A fault at every phase of an item, at exactly that moment: what was complete before is kept and can be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.protocol import PHASES
from results.record import Record
from results.store import Problem, read, repair
from tests.fakes.faults import EACH, FILLER
from tests.system.run_helpers import ENVIRONMENT, ROOT, command, measured
from tests.system.test_run_bad_input import mounted

CHOSEN = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project")
OPTIONS = {
    "search": ("--scenario=server", "--batch=1,2"),
    "each": ("--scenario=single_stream", f"--batch={','.join(str(1 + n) for n in range(1 + len(EACH)))}"),
}


def hurt(results: Path, deed: str, moment: str) -> subprocess.CompletedProcess[str]:
    """A run with `deed` at `moment`, of two items or of as many as there are moments."""
    chosen = (*CHOSEN, *OPTIONS.get(moment, ()))
    return subprocess.run(
        command(results, "-p", "tests.fakes.faults", *chosen),
        cwd=ROOT,
        env={**ENVIRONMENT, "FAULT": f"{deed}@{moment}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_worker_killed_in_any_phase_is_one_failed_record(tmp_path: Path) -> None:
    """Its parent hears of a phase when it has begun: a worker that is finishing may have answered by then."""
    done = hurt(tmp_path, "kill_worker", "each")
    assert done.returncode == 1, done.stdout + done.stderr
    first, *others = measured(tmp_path)
    assert first.status == "ok"
    assert len(others) == len(EACH)
    for record, phase in zip(others, EACH, strict=True):
        assert record.status == "failed" or phase == "finish", phase
        if record.status == "failed":
            assert_killed(record, phase)
            assert not list(tmp_path.glob(f"*/samples/{record.record_id}*"))


def test_a_worker_killed_while_it_searches_is_one_failed_record(tmp_path: Path) -> None:
    assert hurt(tmp_path, "kill_worker", "search").returncode == 1
    first, second = measured(tmp_path)
    assert first.status == "ok"
    assert_killed(second, "search")


def assert_killed(record: Record, phase: str) -> None:
    reason, _, died_in = record.reason.rpartition(" in phase ")
    assert reason == "the worker was killed by SIGKILL (Killed)"
    assert PHASES.index(died_in) >= PHASES.index(phase)


@pytest.mark.parametrize("moment", [*PHASES, "append"])
def test_a_run_killed_at_any_moment_keeps_what_is_complete_and_nothing_half_written_is_read(
    tmp_path: Path, moment: str
) -> None:
    assert hurt(tmp_path, "kill_run", moment).returncode == -9
    problems: list[Problem] = []
    ((record, summary),) = read(tmp_path, problems)
    assert record.status == "ok"
    assert summary is not None
    assert bool(problems) == (moment == "append")
    assert bool(repair(tmp_path)) == (moment == "append")
    assert len(measured(tmp_path)) == 1


@pytest.mark.parametrize("phase", PHASES)
def test_a_disk_that_is_full_in_any_phase_ends_the_run_in_one_line_and_keeps_what_is_complete(
    tmp_path: Path, phase: str
) -> None:
    with mounted(tmp_path, "size=80m"):
        done = hurt(tmp_path, "fill_disk", phase)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "No space left on device" in done.stdout + done.stderr
        (tmp_path / FILLER).unlink()
        assert [record.status for record in measured(tmp_path)] == ["ok"]


def test_a_folder_removed_in_any_phase_is_made_again_with_every_record(tmp_path: Path) -> None:
    done = hurt(tmp_path, "remove_folder", "each")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    first, *others = measured(tmp_path)
    assert first.status == "ok"
    assert len(others) == len(EACH)
    for record, phase in zip(others, EACH, strict=True):
        assert record.status == "ok" or (phase == "finish" and "samples" in record.reason), phase
