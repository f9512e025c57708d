"""`accelmark selfcheck` as a user runs it; what it finds depends on the machine, that it finds something does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.protocol import Effort
from bench.selfcheck import answers_of, bare, benchmark_app, loadgen
from bench.selfcheck.contract import Asked

ROOT = Path(__file__).parents[2]
FEWEST = Asked("kws", 6)
VERDICTS = {"agrees", "differs", "undecided"}


def selfcheck(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.cli", "selfcheck", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_clock_of_this_machine_is_checked_in_one_table() -> None:
    done = selfcheck("clock")
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.splitlines()[0] == "selfcheck with mobilenetv2, 10 pairs"
    assert "perf_counter from CLOCK_MONOTONIC" in done.stdout
    assert done.stderr.startswith("accelmark: clock: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("clokc",), "unknown check clokc (did you mean clock?)"),
        (("clock", "--pairs", "5"), "--pairs 5: fewer than 6"),
        (("clock", "--pairs", "many"), "invalid int value: 'many'"),
        (("clock", "--workload", "nonsense"), "unknown workload nonsense"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(arguments: tuple[str, ...], cause: str) -> None:
    done = selfcheck(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert cause in done.stderr


def test_a_bare_loop_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "BLOCK_S", 0.005)
    (row,) = answers_of(bare.BareCheck(), FEWEST)
    assert row.verdict in VERDICTS, row.detail
    assert "ms, bare " in row.detail


@pytest.mark.skipif(find_spec("mlperf_loadgen") is None, reason="needs mlcommons-loadgen: pip install -e '.[mlperf]'")
def test_loadgen_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "WINDOW", Effort(0, 0.02, 1, 0.02))
    monkeypatch.setattr(loadgen, "UTILISATION", 0.1)
    monkeypatch.setattr(loadgen, "ARRIVALS_S", 0.01)
    rows = list(answers_of(loadgen.LoadGenCheck(), FEWEST))
    assert [row.what.partition(" of ")[0] for row in rows] == ["p50", "p99"], rows
    assert {row.verdict for row in rows} <= VERDICTS
    assert all(" ms, LoadGen " in row.detail for row in rows)


def _once(window: Callable[..., float]) -> Callable[..., float]:
    """Runs once for arguments that are written alike; jobs and models cannot be hashed."""
    figures: dict[str, float] = {}

    def replayed(*arguments: object) -> float:
        key = repr(arguments)
        if key not in figures:
            figures[key] = window(*arguments)
        return figures[key]

    return replayed


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino: pip install -e '.[cpu]'")
def test_benchmark_app_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side really runs once and then repeats its figure, as processes take their time."""
    monkeypatch.setattr(benchmark_app, "APP_S", 1)
    monkeypatch.setattr(benchmark_app, "EFFORT", Effort(0.2, 0.2, 1, 0.2))
    for name in ("throughput", "app_throughput"):
        monkeypatch.setattr(benchmark_app, name, _once(getattr(benchmark_app, name)))
    rows = list(answers_of(benchmark_app.BenchmarkAppCheck(), FEWEST))
    assert len(rows) == 2, rows
    assert {row.verdict for row in rows} <= VERDICTS
    assert all(row.noise == "1.0000 [1.0000, 1.0000]" for row in rows)
