"""`accelmark compare` as a gate: what it prints, and the status it ends with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from results import store
from results.record import Identity
from results.stats import summarise
from results.store import Run
from tests.fakes import records

ROOT = Path(__file__).parents[2]
SINGLE, OFFLINE = records.identities(2)
MLPERF = SINGLE.model_copy(update={"rules": "mlperf", "options": {"threads": "1"}})
SPREAD = (0.998, 0.999, 1.0, 1.001, 1.002)


def measure(root: Path, run_id: str, speeds: list[tuple[Identity, float]], repeats: int = 5) -> None:
    with Run.open(root, run_id) as run:
        order = 0
        for identity, speed in speeds:
            for repeat, each in enumerate(SPREAD[:repeats]):
                made = records.record(identity, run_id=run_id, repeat=repeat, order=order, speed=speed * each)
                run.append(made)
                run.append_summary(summarise(made, records.samples(identity, 1000, 0, speed * each)))
                order += 1


def compare(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.cli", "compare", *arguments, "--results", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights: the second is slower in one row and faster in another, the third is like the first."""
    root = tmp_path_factory.mktemp("nights")
    measure(root, "20261101T020000Z-000001", [(SINGLE, 1.0), (OFFLINE, 1.0), (MLPERF, 1.0)])
    measure(root, "20261102T020000Z-000002", [(SINGLE, 0.9), (OFFLINE, 1.1), (MLPERF, 1.0)])
    measure(root, "20261103T020000Z-000003", [(SINGLE, 1.0), (OFFLINE, 1.0), (MLPERF, 1.0)])
    measure(root, "20261104T020000Z-000004", [(SINGLE, 0.9)], repeats=2)
    return root


FIRST, SLOWER, LIKE_FIRST, FEW = (f"2026110{n}T020000Z-00000{n}" for n in (1, 2, 3, 4))


def test_a_regression_fails_only_if_asked(root: Path) -> None:
    plain, gate = compare(root, FIRST, SLOWER), compare(root, FIRST, SLOWER, "--fail-on-regression")
    assert (plain.returncode, gate.returncode) == (0, 1)
    assert plain.stdout == gate.stdout
    assert (plain.stderr, gate.stderr) == ("", "")


def test_what_became_slower_comes_first(root: Path) -> None:
    lines = compare(root, FIRST, SLOWER).stdout.splitlines()
    found = [next(word for word in (" slower ", " faster ", " no difference ") if word in line) for line in lines[3:-2]]
    assert found == sorted(found, key=(" slower ", " faster ", " no difference ").index)
    assert set(found) == {" slower ", " faster ", " no difference "}
    assert all("could be seen" in line for line in lines[3:-2])


def test_the_odds_of_a_false_alarm_are_said(root: Path) -> None:
    last = compare(root, FIRST, SLOWER).stdout.splitlines()[-1]
    assert last.endswith(
        "became slower; chance calls up to 1.5% of equals slower, so measure again before you believe it"
    )
    assert "chance" not in compare(root, FIRST, LIKE_FIRST).stdout


def test_an_estimate_that_changed_is_told_as_one_and_by_no_odds(tmp_path: Path) -> None:
    for run_id, latency_ns in ((FIRST, 1e6), (SLOWER, 2e6)):
        with Run.open(tmp_path, run_id) as run:
            made = records.estimated(run_id=run_id, latency_ns=latency_ns)
            run.append(made)
            run.append_summary(summarise(made, np.empty(0, np.int64)))
    said = compare(tmp_path, FIRST, SLOWER).stdout
    assert said.endswith("\n1 of 1 estimates became slower: what a compiler says, and nothing that was measured\n")
    assert "chance" not in said


def test_an_improvement_passes(root: Path) -> None:
    assert compare(root, SLOWER, SLOWER, "--fail-on-regression").returncode == 0
    assert compare(root, FIRST, LIKE_FIRST, "--fail-on-regression").returncode == 0


def test_undecidable_is_no_regression(root: Path) -> None:
    done = compare(root, FIRST, FEW, "--fail-on-regression")
    assert done.returncode == 0
    assert "undecidable" in done.stdout
    assert "needs 5 repeats to find a change of 5%" in done.stdout
    assert "only in A" in done.stdout


def test_rules_and_options_tell_rows_apart(root: Path) -> None:
    assert "single_stream b1 fp32 mlperf threads=1 " in compare(root, FIRST, SLOWER).stdout


def test_a_gate_that_compared_nothing_does_not_pass(tmp_path: Path) -> None:
    measure(tmp_path, FIRST, [(SINGLE, 1.0)])
    measure(tmp_path, SLOWER, [(records.of("offline", "bert-base"), 1.0)])
    plain, gate = compare(tmp_path, FIRST, SLOWER), compare(tmp_path, FIRST, SLOWER, "--fail-on-regression")
    assert (plain.returncode, gate.returncode) == (0, 2)
    assert gate.stderr == "accelmark: nothing is in both\n"


def test_a_broken_file_is_told_by_the_status(root: Path, tmp_path: Path) -> None:
    measure(tmp_path, FIRST, [(SINGLE, 1.0)])
    measure(tmp_path, SLOWER, [(SINGLE, 0.9)])
    log = tmp_path / SLOWER / store.RECORDS
    log.write_bytes(log.read_bytes() + b"torn")
    done = compare(tmp_path, FIRST, SLOWER, "--fail-on-regression")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert " slower " in done.stdout
