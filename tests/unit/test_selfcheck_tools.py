"""What the checks make of other tools' figures, and that both sides of a comparison are asked for the same."""

from __future__ import annotations

import json
import sys
from array import array
from pathlib import Path

import pytest

from backends.contract import Presence
from bench.protocol import Effort
from bench.selfcheck import benchmark_app, loadgen, overhead, subjects
from bench.selfcheck.contract import Asked
from workloads.contract import TensorSpec, Unsupported


def test_the_throughput_is_read_from_the_report_of_benchmark_app():
    report = {"cmd_options": {}, "execution_results": {"latency (ms)": "5.66", "throughput": "335.95"}}
    assert benchmark_app.reported(json.dumps(report)) == 335.95


def test_benchmark_app_gets_the_streams_and_threads_that_ours_has():
    options = benchmark_app.same_settings({"streams": 2, "threads": 3, "inflight": 2})
    assert " ".join(options) == "-hint none -nstreams 2 -nthreads 6 -nireq 4"


class FakeModel:
    inputs = (TensorSpec("ids", "int64", (None, 128)), TensorSpec("image", "float32", (None, 3, 8, 8)))

    def form(self, name):
        return Path("model.onnx")


APP = """
import json, sys
folder = sys.argv[sys.argv.index("-report_folder") + 1]
json.dump({"execution_results": {"throughput": "12.5"}}, open(folder + "/benchmark_report.json", "w"))
json.dump(sys.argv, open(folder + "/command.json", "w"))
"""


def test_benchmark_app_is_told_shapes_types_and_precision(monkeypatch, tmp_path):
    """Left alone it takes bf16, and 8-bit images where the network takes floats."""
    monkeypatch.setattr(benchmark_app, "COMMAND", (sys.executable, "-c", APP))
    assert benchmark_app.app_throughput(FakeModel(), str(tmp_path), ("-hint", "throughput")) == 12.5
    command = " ".join(json.loads((tmp_path / "command.json").read_text()))
    assert "-shape ids[1,128],image[1,3,8,8] -iop ids:i64,image:f32 -infer_precision f32" in command
    assert "-hint throughput" in command


def test_a_benchmark_app_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark_app, "COMMAND", (sys.executable, "-c", "print('no such model\\n'); exit(1)"))
    with pytest.raises(RuntimeError, match=r"benchmark_app ended with 1: no such model"):
        benchmark_app.app_throughput(FakeModel(), str(tmp_path), ())


class Away:
    name = "away"

    def available(self, device):
        return Presence("absent", "away needs the package away", "pip install away")


def test_an_engine_that_is_not_installed_is_an_answer_with_the_remedy(monkeypatch):
    find = subjects.parts.find
    monkeypatch.setattr(subjects.parts, "find", lambda base, name: Away() if name == "away" else find(base, name))
    with pytest.raises(Unsupported, match="away needs the package away: pip install away"):
        subjects.job("kws", "away", "offline", {}, Effort(0, 1, 1, 1))


def test_without_loadgen_the_bare_comparison_is_made_and_the_rest_is_absent(monkeypatch):
    def library():
        raise Unsupported("it needs LoadGen: pip install it")

    monkeypatch.setattr(overhead, "library", library)
    monkeypatch.setattr(overhead, "SAMPLES", 20)
    rows = overhead.OverheadCheck().rows(Asked(pairs=6))
    assert next(rows).what == "CPU, single_stream / bare timing loop"
    with pytest.raises(Unsupported, match="pip install it"):
        next(rows)


def test_what_a_load_takes_is_counted_beyond_the_function_of_the_same_round():
    found = {"plain": [10.0, 100.0], "ours": [12.0, 102.0], "theirs": [15.0, 105.0]}
    assert overhead.over(found, "plain") == {"plain": [0, 0], "ours": [2, 2], "theirs": [5, 5]}


def test_every_window_of_the_overhead_check_has_the_samples_that_it_says(monkeypatch, tmp_path):
    pytest.importorskip("mlperf_loadgen")
    session = subjects.FunctionSession(lambda: None)
    windows = {**overhead.ours(session), **overhead.loadgen(overhead.library(), session, tmp_path)}
    counts = {name: window() for name, window in windows.items()}
    assert set(counts) == {
        *(f"{name}{again}" for name in overhead.OF_LOADGEN for again in ("", " again")),
        *(f"LoadGen {name}" for name in overhead.OF_LOADGEN),
    }
    for count in counts.values():
        assert overhead.SAMPLES <= count <= 1.01 * overhead.SAMPLES


@pytest.mark.parametrize(("percent", "value"), [(50, 6), (90, 10), (99, 10)])
def test_a_percentile_is_the_sample_that_loadgen_takes(percent, value):
    assert loadgen.percentile(array("q", [3, 1, 2, 4, 5, 10, 9, 8, 7, 6]), percent) == value


def test_our_server_replays_the_arrivals_of_loadgens_own_seed(tmp_path):
    """Asked for in haste, they are those that it keeps at the rate itself, to the rounding of its nanoseconds."""
    lg = pytest.importorskip("mlperf_loadgen")
    sut = subjects.one_thread("kws", "onnxruntime")
    sides = loadgen.Sides(lg, sut, subjects.FunctionSession(lambda: None), tmp_path)
    rate_per_s = 2000.0
    hasty = sides.schedule(rate_per_s, 3)
    settings = sides._arrivals(rate_per_s, 3)
    itself = sides._test("server", sides.session).run(settings).trace.due_ns
    assert len(hasty) == len(itself) == 2000
    assert max(abs(one - other) for one, other in zip(hasty, itself, strict=True)) <= len(hasty) * loadgen.HASTE
    assert sides.schedule(rate_per_s, 4) != hasty


def test_both_sides_of_the_server_comparison_go_through_the_seeds_together(monkeypatch):
    asked = []
    monkeypatch.setattr(loadgen.queries, "rotation", lambda _workload, _batch: [])
    sides = loadgen.Sides(None, type("Sut", (), {"workload": None}), None, Path())
    for name in ("_our_p99", "_loadgen_p99"):
        monkeypatch.setattr(sides, name, lambda rate_per_s, seed, name=name: asked.append((name, rate_per_s, seed)))
    contenders = sides.server(40.0)
    for _ in range(3):
        for window in contenders.values():
            window()
    assert asked == [(name, 40.0, seed) for seed in (1, 2, 3) for name in ("_our_p99", "_loadgen_p99", "_our_p99")]


def test_a_calibrated_function_takes_about_as_long_as_asked(monkeypatch):
    """On a clock that a call of the function advances by a nanosecond for each number that it sums."""
    now = 0

    def summing(size):
        def function():
            nonlocal now
            now += size
            return size

        return function

    monkeypatch.setattr(subjects, "_summing", summing)
    monkeypatch.setattr(subjects.time, "perf_counter_ns", lambda: now)
    assert subjects.calibrated(10_000)() == 10_000
