"""Whole runs of `pytest bench/` with parts whose answers are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from results.record import Record
from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, command, measured

ENGINES = "fake-exact,fake-nan,fake-crash,fake-unsupported,fake-not-installed,fake-noisy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixed")


@pytest.fixture(scope="module")
def mixed(folder: Path) -> subprocess.CompletedProcess[str]:
    """One run with everything that can come of an item."""
    wanted = ("--backend=fake", f"--engine={ENGINES}", "--workload=fake-project", "--seed=5", "--bound=7,9@50")
    return bench(folder / "runs", *wanted, f"--benchmark-json={folder / 'benchmark.json'}")


@pytest.fixture(scope="module")
def records(mixed: subprocess.CompletedProcess[str], folder: Path) -> list[Record]:
    return measured(folder / "runs")


def test_every_item_is_a_record(records: list[Record]) -> None:
    found = Counter((record.identity.engine, record.status) for record in records)
    assert found == {
        ("fake-exact", "ok"): 2,
        ("fake-nan", "ok"): 2,
        ("fake-noisy", "ok"): 2,
        ("fake-crash", "failed"): 2,
        ("fake-unsupported", "unsupported"): 2,
        ("fake-not-installed", "absent"): 2,
    }


def test_what_fails_ends_the_run_with_1_and_the_rest_is_measured(mixed: subprocess.CompletedProcess[str]) -> None:
    assert mixed.returncode == 1, mixed.stdout + mixed.stderr
    assert "4 passed" in mixed.stdout
    assert "4 failed" in mixed.stdout  # NaN as an answer is a failure, not a figure
    assert "4 skipped" in mixed.stdout
    assert "not_finite" in mixed.stdout
    assert "Traceback" not in mixed.stderr


def test_a_crash_leaves_its_last_words(records: list[Record]) -> None:
    crashed = next(record for record in records if record.identity.engine == "fake-crash")
    assert "killed by SIGABRT (Aborted)" in crashed.reason
    assert "assertion failed in kernel.cc:42" in crashed.stderr_tail


def test_skips_say_why_and_what_to_do(mixed: subprocess.CompletedProcess[str]) -> None:
    assert "unsupported: no kernel for tanh" in mixed.stdout
    assert "absent: the package fakelib is not installed; pip install fakelib" in mixed.stdout


def test_the_end_says_where_the_records_are(mixed: subprocess.CompletedProcess[str], folder: Path) -> None:
    (run,) = (folder / "runs").iterdir()
    assert f"records: 2 absent, 2 failed, 6 ok, 2 unsupported, in {run}" in mixed.stdout
    assert "accelmark report" in mixed.stdout


def test_a_record_tells_the_circumstances(records: list[Record]) -> None:
    record = next(record for record in records if record.status == "ok")
    context = record.context
    assert (context.seed, context.profile) == (5, "quick")
    assert context.command.startswith("pytest bench/")
    assert [each.moment for each in context.conditions] == ["before", "during", "after"]
    assert context.conditions[1].steal_percent is not None
    assert [each.moment for each in context.calibration] == ["before", "after"]
    assert [(bound.latency_ms, bound.percentile) for bound in record.card.bounds] == [(7, 99), (9, 50)]
    assert record.window is not None
    assert record.window.warmup_queries > 0


def test_the_order_is_the_seeds(records: list[Record]) -> None:
    assert sorted(record.context.order for record in records) == list(range(12))
    assert [record.context.order for record in records] == list(range(12))
    assert [record.identity.engine for record in records] != sorted(record.identity.engine for record in records)


def test_pytest_benchmark_has_the_throughput_as_ops(records: list[Record], folder: Path) -> None:
    written = json.loads((folder / "benchmark.json").read_text())["benchmarks"]
    ours = {record.record_id: record for record in records}
    assert {entry["extra_info"]["record_id"] for entry in written} <= set(ours)
    assert len(written) == 4
    offline = [entry for entry in written if entry["group"] == "offline"]
    assert len(offline) == 2
    for entry in offline:
        window = ours[entry["extra_info"]["record_id"]].window
        assert window is not None
        assert entry["stats"]["ops"] == pytest.approx(entry["extra_info"]["throughput_per_s"], rel=1e-9)
        assert entry["stats"]["ops"] == pytest.approx(window.queries * 1e9 / window.duration_ns, rel=1e-9)


def test_pytest_benchmark_has_the_latencies(records: list[Record], folder: Path) -> None:
    written = json.loads((folder / "benchmark.json").read_text())["benchmarks"]
    for entry in (entry for entry in written if entry["group"] == "single_stream"):
        assert entry["stats"]["rounds"] <= 10_000
        assert entry["stats"]["median"] * 1e9 == pytest.approx(entry["extra_info"]["latency_p50_ns"], rel=0.01)
        assert entry["extra_info"]["replayed"] == "latencies at evenly spaced ranks"


def test_pytest_benchmark_compare_reads_it(mixed: subprocess.CompletedProcess[str], folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest_benchmark",
        "compare",
        str(folder / "benchmark.json"),
        "--columns=ops,median",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "fake-project-fake-fake-exact-fp32-offline-b1" in done.stdout


def test_absent_hardware_is_recorded_and_no_failure(tmp_path: Path) -> None:
    done = bench(tmp_path, "--backend=fake-absent", "--workload=fake-project,fake-graded")
    assert done.returncode == 0
    assert "absent: no /dev/fake0; plug one in" in done.stdout
    found = measured(tmp_path)
    assert Counter(record.identity.scenario for record in found) == {"single_stream": 2, "offline": 2}
    assert {(r.status, r.identity.engine, r.reason, r.remedy) for r in found} == {
        ("absent", "none", "no /dev/fake0", "plug one in")
    }


@pytest.mark.parametrize("backend", ["fake-broken", "fake-forbidden"])
def test_broken_hardware_is_a_failure(tmp_path: Path, backend: str) -> None:
    done = bench(tmp_path, f"--backend={backend}", "--workload=fake-project", "--scenario=offline")
    assert done.returncode == 1
    (record,) = measured(tmp_path)
    assert record.status == "failed"
    assert record.reason in done.stdout
    assert record.remedy in done.stdout


def test_a_family_is_all_its_members(tmp_path: Path) -> None:
    done = bench(tmp_path, "--backend=fakes-away", "--workload=fake-project", "--scenario=offline")
    assert done.returncode == 1
    assert {record.identity.backend for record in measured(tmp_path)} == {
        "fake-absent",
        "fake-broken",
        "fake-elsewhere",
        "fake-forbidden",
    }


@pytest.mark.parametrize(
    "chosen",
    [
        ("--backend=fake-absent",),
        ("--backend=fake", "--engine=fake-unsupported"),
        ("--backend=fake", "--engine=fake-exact", "-k", "no_such_item"),
        ("--target=else:Fake 9", "--engine=fake-compiler"),
    ],
)
def test_required_and_not_measured_is_a_failure(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    done = bench(tmp_path, "--require", "--workload=fake-project", "--scenario=offline", *chosen)
    assert done.returncode == 1, done.stdout


def test_an_estimate_is_counted_as_one(tmp_path: Path) -> None:
    done = bench(tmp_path, "--workload=fake-project", "--target=else:Fake 9", "--engine=fake-compiler")
    assert done.returncode == 0, done.stdout
    assert "records: 1 estimate, in " in done.stdout


def test_required_and_measured_is_none_and_k_selects(tmp_path: Path) -> None:
    chosen = ("--backend=fake", "--engine=fake-exact,fake-crash", "--workload=fake-project", "-k", "exact and offline")
    done = bench(tmp_path, "--require", *chosen)
    assert done.returncode == 0, done.stdout
    (record,) = measured(tmp_path)
    assert record.identity.engine == "fake-exact"


def test_options_reach_the_engine_and_the_identity(tmp_path: Path) -> None:
    chosen = ("--backend=fake", "--engine=fake-paced", "--workload=fake-project", "--scenario=single_stream")
    done = bench(
        tmp_path, *chosen, "--option=latency_us=3000", "--option=jitter_us=0", "--batch=4", "--goal=throughput"
    )
    assert done.returncode == 0, done.stdout
    (record,) = measured(tmp_path)
    assert record.identity.options == {"latency_us": "3000", "jitter_us": "0"}
    assert (record.identity.batch, record.identity.goal) == ("4", "throughput")
    assert record.window is not None
    assert record.window.duration_ns / record.window.queries >= 3_000_000


def test_an_option_that_an_engine_does_not_know_is_unsupported(tmp_path: Path) -> None:
    done = bench(tmp_path, "--backend=fake", "--engine=fake-exact", "--workload=fake-project", "--option=nonsense=1")
    assert done.returncode == 0
    assert {(r.status, r.reason) for r in measured(tmp_path)} == {("unsupported", "fake-exact has no option nonsense")}


def test_a_hang_is_a_failure_after_its_time_out(tmp_path: Path) -> None:
    chosen = ("--backend=fake", "--engine=fake-hang", "--workload=fake-project", "--scenario=offline")
    done = bench(tmp_path, *chosen, "--option=in=compile", "--timeout-s=1.5")
    assert done.returncode == 1
    (record,) = measured(tmp_path)
    assert "no progress in phase compile for 1.5 s" in record.reason


def test_in_process_measures_too(tmp_path: Path) -> None:
    chosen = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project", "--scenario=offline")
    assert bench(tmp_path, *chosen, "--in-process").returncode == 0
    (record,) = measured(tmp_path)
    assert record.status == "ok"


def test_another_python_serves_an_engine(tmp_path: Path) -> None:
    marker = tmp_path / "was-here"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntouch "{marker}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    chosen = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project", "--scenario=offline")
    done = bench(tmp_path / "runs", *chosen, f"--python=fake-exact={python}")
    assert done.returncode == 0, done.stdout
    assert marker.exists()
    assert measured(tmp_path / "runs")[0].status == "ok"


def test_a_plain_run_measures_nothing() -> None:
    for arguments in ((), (".",)):
        command = [sys.executable, "-m", "pytest", *arguments, "--collect-only", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "tests/unit/test_parts.py" in done.stdout
        assert "bench/test_" not in done.stdout


def test_a_plain_run_inside_the_folder_measures_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT / "bench", capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "bench/test_" not in done.stdout


def test_a_run_from_another_folder_finds_the_suite(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(ROOT / "bench"), "--backend=cpu", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_hardware[resnet50-cpu-onnxruntime-fp32-offline-b1]" in done.stdout


def test_collecting_imports_nothing_heavy_and_writes_nothing(tmp_path: Path) -> None:
    program = f"""
import sys, pytest
status = pytest.main("bench/ --backend=cpu --collect-only -q -p no:cacheprovider --results={tmp_path / "r"}".split())
heavy = {{"numpy", "onnx", "onnxruntime", "openvino", "torch", "pandas", "matplotlib", "pydantic", "jinja2", "rich"}}
print("HEAVY", sorted(heavy & set(sys.modules)), status)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY [] 0"
    assert not (tmp_path / "r").exists()


def test_a_part_that_cannot_be_loaded_is_told_and_the_rest_is_measured(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "__init__.py").write_text("")
    (tmp_path / "half" / "unwell.py").write_text("import nothing_like_this\n")
    wanted = command(
        tmp_path / "runs", "--parts=half", "--backend=fake", "--engine=fake-exact", "--workload=fake-project"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(wanted, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"accelmark: not loaded: {tmp_path}/half/unwell.py: ModuleNotFoundError" in done.stdout
    assert len(measured(tmp_path / "runs")) == 2
