"""`accelmark lint`: what it prints and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from results.log import frame
from results.record import Record, Summary
from results.stats import summarise
from results.store import RECORDS, SAMPLES, SUMMARIES
from tests.fakes.records import of, record, samples, write_root
from tests.system.run_helpers import bench


def stored(root: Path, made: Record, summary: Summary) -> Path:
    """A root with this one result."""
    folder = root / made.context.run_id
    (folder / SAMPLES).mkdir(parents=True)
    (folder / RECORDS).write_bytes(frame(made.model_dump_json().encode()))
    (folder / SUMMARIES).write_bytes(frame(summary.model_dump_json().encode()))
    return root


def one(**figures: float) -> tuple[Record, Summary]:
    made = record(of("single_stream", "resnet50"))
    return made, summarise(made, samples(made.identity, 1000)).model_copy(update=figures)


def test_honest_results_end_with_0_and_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_root(tmp_path, identities=24, runs=1, repeats=2, mixed=False)
    assert main(["lint", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "24 results, 0 findings"


def test_what_cannot_be_ends_with_1_and_says_what_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--results", str(stored(tmp_path, *one(latency_p90_ns=1.0)))]) == 1
    told = capsys.readouterr().out
    assert "1 results, 1 findings" in told
    assert "impossible  unordered" in told
    assert "resnet50" in told
    assert "p90 1 ns" in told
    assert "percentiles of one sample are in order" in told


def test_what_needs_an_explanation_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, summary = one()
    mean_ns = summary.latency_mean_ns
    assert mean_ns
    figures = {"latency_mean_ns": 0.5 * mean_ns, "latency_min_ns": 1.0}
    assert main(["lint", "--results", str(stored(tmp_path, made, summary.model_copy(update=figures)))]) == 0
    assert "note   idle_between" in capsys.readouterr().out


def test_what_cannot_be_read_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = stored(tmp_path, *one(latency_p90_ns=1.0))
    with next(root.glob(f"*/{RECORDS}")).open("ab") as file:
        file.write(b"torn")
    assert main(["lint", "--results", str(root)]) == 2
    assert "accelmark: " in capsys.readouterr().err


def test_no_results_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        assert main(["lint", "--results", str(tmp_path / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_of_honest_engines_has_no_impossible_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ("--backend=fake", "--engine=fake-exact,fake-paced,fake-with-clock", "--workload=fake-project")
    bench(tmp_path, *wanted)
    assert main(["lint", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("6 results, ")
