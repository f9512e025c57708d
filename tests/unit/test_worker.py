"""The worker from the outside: a process on a socket, with parts whose behaviour is known."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

from backends.contract import Backend
from bench import parts, worker
from bench.protocol import PHASES, Effort
from bench.scenarios import SingleStream
from bench.sut import SystemUnderTest
from results.record import Evidence, Load, Phases, Window
from tests.fakes.fake_workloads import FakeProject
from tests.fakes.jobs import fake_job

ROOT = Path(__file__).resolve().parents[2]
EFFORT = Effort(warmup_max_s=0.16, min_duration_s=0.05, min_queries=20, max_duration_s=0.3)


@pytest.fixture
def job(tmp_path):
    return fake_job(EFFORT, tmp_path / "samples.i64", goal="latency")


def serve(job):
    """All that a worker says about `job`, its exit status and what it printed."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "bench.worker", str(theirs.fileno())]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdout=out, stderr=err)
        theirs.close()
        with ours, ours.makefile("rw", encoding="utf-8") as stream:
            stream.write(job.to_line())
            stream.flush()
            events = [json.loads(line) for line in stream]
        status = process.wait(timeout=60)
        printed = [file.read().decode(errors="replace") for file in (out, err) if not file.seek(0)]
    return events, status, *printed


def answer(job):
    events, status, _printed, _errors = serve(job)
    assert status == 0
    return events[-1]


def test_an_item_goes_through_its_phases_and_ends_in_a_result(job):
    events, status, _printed, errors = serve(job)
    assert status == 0, errors
    assert [event["phase"] for event in events[:-1]] == [name for name in PHASES[1:] if name != "search"]
    times = [event["t_ns"] for event in events[:-1]]
    assert times == sorted(times)
    assert abs(time.monotonic_ns() - times[-1]) < 60e9
    result = events[-1]
    samples = np.fromfile(job.samples_path, "<i8")
    assert result["event"] == "result"
    assert len(samples) == result["window"]["queries"] >= EFFORT.min_queries
    assert 0 < samples.sum() <= result["window"]["duration_ns"]
    assert result["marks"]["closed_ns"] - result["marks"]["opened_ns"] == result["window"]["duration_ns"]
    entered = dict(zip([event["phase"] for event in events[:-1]], times, strict=True))
    assert entered["measure"] <= result["marks"]["opened_ns"]
    assert result["marks"]["closed_ns"] <= entered["audit"]
    assert result["versions"]["numpy"] == np.__version__
    assert result["settings"] == {"precision": "fp32", "threads": 1, "inflight": 1}
    assert [path.name for path in Path(job.samples_path).parent.iterdir()] == ["samples.i64"]


def test_the_sections_of_a_result_are_those_of_a_record(job):
    result = answer(job)
    strict = {"strict": True}
    window = Window.model_validate_json(json.dumps(result["window"]), **strict)
    phases = Phases.model_validate_json(json.dumps(result["phases"]), **strict)
    evidence = Evidence.model_validate_json(json.dumps(result["evidence"]), **strict)
    assert window.samples_kind == "latency_ns"
    assert 10_000_000 < phases.start_ns < 60_000_000_000
    assert (phases.import_ns, phases.load_ns) == (500, 1000)
    assert phases.missing == dict.fromkeys(("page_cache_share", "steady_ns"), "only cold_start measures it")
    assert phases.first_run_ns > 0
    assert evidence.outputs.identity_hits == 12
    assert evidence.quality is None
    assert "not measurable" in evidence.missing["quality"]
    assert evidence.placement.share == 1.0
    assert 10 << 20 < evidence.peak_memory_bytes < 1 << 30


def test_offline_writes_completions(job):
    result = answer(replace(job, scenario="offline", engine="fake-overlapped"))
    samples = np.fromfile(job.samples_path, "<i8")
    assert result["window"]["samples_kind"] == "done_ns"
    assert (np.diff(samples) >= 0).all()
    assert 0 < samples[0] <= samples[-1] <= result["window"]["duration_ns"]
    assert result["settings"]["inflight"] == 4


def phases_of(events):
    return [event["phase"] for event in events if event["event"] == "phase"]


@pytest.mark.parametrize(("engine", "batch", "rounds"), [("fake-paced", "2", 4), ("fake-overlapped", "1", 2)])
def test_multi_stream_times_queries_of_eight_samples(job, engine, batch, rounds):
    """1 ms a run, one at a time in batches of 2, or four at a time."""
    options = {"latency_us": "1000"}
    result = answer(replace(job, scenario="multi_stream", batch=batch, engine=engine, options=options))
    samples = np.fromfile(job.samples_path, "<i8")
    window = Window.model_validate_json(json.dumps(result["window"]))
    assert (window.query_samples, window.samples_kind, window.queries) == (8, "latency_ns", len(samples))
    assert samples.min() >= rounds * 1e6
    assert result["evidence"]["timed_outputs"]["identity_hits"] == result["evidence"]["timed_outputs"]["n"] > 0


def test_a_batch_that_makes_no_query_of_multi_stream_is_unsupported(job):
    assert answer(replace(job, scenario="multi_stream", batch="3"))["event"] == "unsupported"


SERVER = Effort(warmup_max_s=0.16, min_duration_s=0.3, min_queries=64, max_duration_s=1)


def test_server_finds_a_rate_and_confirms_it_in_a_window_of_its_own(job):
    """Four runs at a time of 1 ms each: capacity is 4,000 per second at most."""
    server = replace(job, scenario="server", engine="fake-overlapped", bounds=((50.0, 95.0),), effort=SERVER)
    events, status, _printed, errors = serve(server)
    assert status == 0, errors
    result = events[-1]
    load = Load.model_validate_json(json.dumps(result["load"]), strict=True)
    window = Window.model_validate_json(json.dumps(result["window"]), strict=True)
    samples = np.fromfile(job.samples_path, "<i8")
    assert phases_of(events) == [*PHASES[1:6], *["measure"] * load.attempts, *PHASES[7:]]
    assert load.searched
    assert 1 <= len(load.probes) <= 6
    assert load.offered_per_s < 4000
    assert window.queries == len(samples) >= 60
    assert load.over == (samples > 50e6).sum()
    assert samples.min() >= 1e6
    assert result["evidence"]["timed_outputs"]["identity_hits"] == result["evidence"]["timed_outputs"]["n"] > 0


def test_server_at_a_rate_that_was_given_searches_nothing(job):
    server = replace(job, scenario="server(rate=200)", engine="fake-overlapped", bounds=((50.0, 99.0),), effort=SERVER)
    events, _status, _printed, _errors = serve(server)
    load = Load.model_validate_json(json.dumps(events[-1]["load"]), strict=True)
    assert phases_of(events) == [name for name in PHASES[1:] if name != "search"]
    assert (load.searched, load.attempts, load.probes) == (False, 1, ())
    assert load.offered_per_s == 200
    assert events[-1]["window"]["queries"] == 200  # 300 for the percentile take longer than 1 s


def test_server_whose_service_alone_breaks_the_bound_says_so_with_figures(job):
    options = {"latency_us": "5000"}
    server = replace(job, scenario="server", engine="fake-paced", bounds=((4.0, 99.0),), effort=SERVER, options=options)
    load = Load.model_validate_json(json.dumps(answer(server)["load"]), strict=True)
    assert len(load.probes) == 4
    assert load.attempts == 1
    assert load.over == len(np.fromfile(job.samples_path, "<i8")) >= 8


def test_server_without_a_bound_is_unsupported_and_says_what_to_do(job):
    assert answer(replace(job, scenario="server")) == {
        "event": "unsupported",
        "reason": "server needs a latency bound to keep: give --bound=MS@PERCENTILE, as in 15@99",
    }


def test_a_cold_start_is_the_sum_of_what_a_process_pays_up_to_its_first_answer(job):
    """The engine's very first run takes 50 ms, so a session that has been asked before shows."""
    effort = replace(EFFORT, warmup_max_s=2)
    events, status, _printed, errors = serve(replace(job, scenario="cold_start", engine="fake-waking", effort=effort))
    assert status == 0, errors
    result = events[-1]
    phases = Phases.model_validate_json(json.dumps(result["phases"]))
    (cold_ns,) = np.fromfile(job.samples_path, "<i8")
    assert phases_of(events) == ["build", "compile", "warmup", "audit", "finish"]
    assert phases.first_run_ns >= 46e6
    assert cold_ns == phases.start_ns + phases.import_ns + phases.load_ns + phases.compile_ns + phases.first_run_ns
    assert phases.steady_ns > cold_ns + 100e6
    assert result["window"]["samples_kind"] == "cold_ns"
    assert result["window"]["duration_ns"] == cold_ns
    assert result["evidence"]["outputs"]["identity_hits"] == 12
    assert result["evidence"]["timed_outputs"]["identity_hits"] == result["evidence"]["timed_outputs"]["n"] == 1
    assert phases.missing == {"page_cache_share": "neither the model nor the engine's library is in files"}


def test_a_cold_start_that_never_becomes_steady_has_no_time_to_it(job):
    result = answer(replace(job, scenario="cold_start", engine="fake-restless"))
    assert result["phases"]["steady_ns"] is None
    assert result["phases"]["missing"]["steady_ns"] == "latencies did not settle before the warm-up ended"
    assert result["window"]["warmup_stable"] is False


def test_a_cold_start_needs_a_process_of_its_own(job):
    (*_, last) = worker.events(replace(job, scenario="cold_start"))
    assert last == {"event": "unsupported", "reason": "cold_start needs a process of its own: leave out --in-process"}


@pytest.mark.parametrize("page_cache", ["warm", "cold"])
def test_a_cold_start_of_a_real_engine_says_what_was_in_memory(job, page_cache):
    if find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    real = {"workload": "kws", "backend": "cpu", "engine": "onnxruntime", "device": device_of("cpu")}
    result = answer(replace(job, scenario=f"cold_start(page_cache={page_cache})", **real))
    phases = Phases.model_validate_json(json.dumps(result["phases"]))
    settled = {} if phases.steady_ns else {"steady_ns": "latencies did not settle before the warm-up ended"}
    apart = {"load_ns": "the engine loads and compiles in one call: compile_ns holds both"}
    assert phases.missing == {**apart, **settled}
    assert phases.import_ns > 1e6
    assert phases.page_cache_share < 1.0 or page_cache == "warm"  # what others have mapped stays


def device_of(backend):
    return parts.find(Backend, backend).probe().devices[0].name


def test_a_users_model_stands_for_the_workload(job, monkeypatch):
    asked = []
    monkeypatch.setattr("workloads.user.UserModel", lambda folder: asked.append(folder) or FakeProject())
    sut = SystemUnderTest.find(replace(job, workload="mine", model="/some/where"))
    assert asked == ["/some/where"]
    assert sut.workload.card.name == "fake-project"


def test_quality_is_graded_on_all_there_is_through_the_batch_that_is_timed(job):
    result = answer(replace(job, workload="fake-graded", batch="32"))
    assert result["evidence"]["quality"] == {
        "value": 0.75,
        "n": 400,
        "standard_error": pytest.approx(0.0217, abs=1e-4),
        "scores_file": Path(job.samples_path).with_suffix(".scores.f64").name,
        "examples_sha256": ANY,
        "missing": {},
    }
    assert result["window"]["query_samples"] == result["batch_chosen"] == 32


@pytest.mark.parametrize("scenario", ["single_stream", "offline"])
def test_feedback_is_checked_and_measured(job, scenario):
    result = answer(replace(job, workload="fake-memory", scenario=scenario, engine="fake-overlapped"))
    assert result["evidence"]["outputs"]["identity_hits"] == 12


@pytest.mark.parametrize(
    ("engine", "hits", "finite"),
    [("constant", 1, True), ("stale", 0, True), ("wrong-sample", 0, True), ("nan", 0, False), ("mixed", 6, True)],
)
def test_wrong_outputs_are_evidence_and_are_measured_all_the_same(job, engine, hits, finite):
    result = answer(replace(job, engine=f"fake-{engine}"))
    outputs = result["evidence"]["outputs"]
    assert (outputs["finite"], result["event"]) == (finite, "result")
    assert outputs["identity_hits"] <= hits
    assert outputs["centred_cosine_min"] < outputs["cosine_required"]


def test_a_warm_up_that_never_settles_says_so(job):
    assert answer(replace(job, engine="fake-restless"))["window"]["warmup_stable"] is False


def test_a_placement_elsewhere_is_reported(job):
    assert answer(replace(job, engine="fake-misplaced"))["evidence"]["placement"]["share"] == 0.4


def test_auto_measures_with_a_batch_that_it_tried(job):
    result = answer(replace(job, engine="fake-batched", batch="auto", scenario="offline"))
    chosen = result["batch_chosen"]
    assert chosen == result["window"]["query_samples"]
    phases = Phases.model_validate_json(json.dumps(result["phases"]))
    assert phases.load_ns is phases.compile_ns is phases.first_run_ns is None
    assert re.search(rf"(^| ){chosen}: [\d.e+]+/s", result["settings"]["batch_tried"])


@pytest.mark.parametrize(
    ("rates", "chosen", "tried"),
    [
        ([10, 19, 35, 60, 61, 62], 32, "1: 10/s, 2: 19/s, 4: 35/s, 8: 60/s, 16: 61/s, 32: 62/s"),
        ([10, 19, 35, 30, 99, 99], 4, "1: 10/s, 2: 19/s, 4: 35/s, 8: 30/s"),  # 8 is clearly slower
        ([10, 9.5, 35, 34, 36, 20], 16, "1: 10/s, 2: 9.5/s, 4: 35/s, 8: 34/s, 16: 36/s, 32: 20/s"),
        ([10, 19, MemoryError()], 2, "1: 10/s, 2: 19/s, 4: MemoryError"),
        ([0.9, 1.2, 9], 2, "1: 0.9/s, 2: 1.2/s"),  # 2 takes longer than a probe may
    ],
)
def test_auto_takes_the_batch_of_the_highest_throughput(job, monkeypatch, rates, chosen, tried):
    known = dict(zip(SingleStream.batches, rates, strict=False))

    def rate(self, batch):
        if isinstance(known[batch], Exception):
            raise known[batch]
        return known[batch]

    monkeypatch.setattr(SystemUnderTest, "_rate", rate)
    assert SystemUnderTest.find(job).choose_batch() == (chosen, tried)


FORGETTING = """
import numpy as np
from bench import worker
before = worker.peak_memory_bytes()
large = np.ones(64 << 20, np.uint8)
assert worker.peak_memory_bytes() > before + (32 << 20)
del large
if worker.forget_peak_memory():
    assert worker.peak_memory_bytes() < before + (32 << 20)
"""


def test_the_peak_of_other_batches_can_be_forgotten_where_the_kernel_lets():
    """In a process of its own: this one may have had a higher peak already."""
    subprocess.run([sys.executable, "-c", FORGETTING], cwd=ROOT, check=True)


def test_noise_on_stdout_and_stderr_disturbs_nobody(job):
    events, _status, printed, _errors = serve(replace(job, engine="fake-noisy"))
    assert events[-1]["event"] == "result"
    assert '{"event": "result"}' in printed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"engine": "fake-unsupported"}, "no kernel for tanh"),
        ({"precision": "int4"}, "fake-project has no tolerance for int4: tried are fp32"),
        ({"options": {"threads": "1"}}, "fake-exact has no option threads"),
        ({"technique": "fuse-off"}, "fake-exact has no setting for fusion=off"),
    ],
)
def test_unsupported_is_an_answer(job, change, reason):
    assert answer(replace(job, **change)) == {"event": "unsupported", "reason": reason}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"engine": "fake-failing"}, "RuntimeError while checking outputs: the fake device gave up"),
        (
            {"engine": "fake-failing", "options": {"in": "compile"}},
            "RuntimeError while compiling: the fake device gave up",
        ),
        (
            {"engine": "fake-failing", "options": {"after": "60"}, "scenario": "offline"},
            "RuntimeError while [a-z]+ing.*: the fake device gave up",
        ),
        ({"engine": "fake-oom"}, "MemoryError while checking outputs: cannot allocate 64 GiB for activations"),
        ({"workload": "fake-projekt"}, "PartError while making the model: unknown workload fake-projekt .*"),
        ({"device": "Fake 2"}, "PartError while .*: backend fake has no device Fake 2 here; there is: Fake 1"),
        ({"samples_path": "/proc/nowhere/x.i64"}, "FileNotFoundError while finishing: .*"),
    ],
)
def test_failing_is_one_line_with_cause_and_moment_and_the_traceback_on_stderr(job, change, reason):
    events, status, _printed, errors = serve(replace(job, **change))
    assert status == 0
    assert events[-1]["event"] == "failed"
    assert re.fullmatch(reason, events[-1]["reason"])
    assert events[-1]["remedy"]
    assert "Traceback" in errors
    assert not Path(job.samples_path).exists()


def test_a_worker_whose_parent_is_gone_ends(job):
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "bench.worker", str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.sendall(replace(job, engine="fake-hang").to_line().encode())
    lines = ours.makefile("r")
    assert any('"check"' in line for line in lines)
    lines.close()
    ours.close()
    assert process.wait(timeout=30) == 1


def test_a_worker_whose_parent_died_with_events_unread_ends_too(job):
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "bench.worker", str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.sendall(replace(job, engine="fake-hang").to_line().encode())
    while b'"check"' not in ours.recv(1 << 16, socket.MSG_PEEK):
        time.sleep(0.01)
    ours.close()
    try:
        assert process.wait(timeout=30) == 1
    finally:
        process.kill()


def test_what_a_worker_has_started_ends_with_it():
    code = (
        "import socket, subprocess, sys; from bench import worker;"
        "print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid, flush=True);"
        "worker._end_with_parent(socket.socket(fileno=int(sys.argv[1])))"
    )
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", code, str(theirs.fileno())]
    process = subprocess.Popen(
        command, cwd=ROOT, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    theirs.close()
    child = Path("/proc", process.stdout.readline().strip(), "stat")
    ours.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stdout.close()
    deadline = time.monotonic() + 5
    while child.exists() and ") Z " not in child.read_text():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def test_a_dead_worker_leaves_no_samples_file(job):
    events, status, _printed, _errors = serve(replace(job, engine="fake-killed", options={"after": "100"}))
    assert status == -signal.SIGKILL
    assert events[-1]["event"] == "phase"
    assert not Path(job.samples_path).exists()


def test_events_in_this_process_give_the_same(job):
    events = list(worker.events(job))
    assert [event["event"] for event in events] == ["phase"] * 7 + ["result"]
    result = events[-1]
    assert result["phases"]["start_ns"] is result["evidence"]["peak_memory_bytes"] is None
    Phases.model_validate_json(json.dumps(result["phases"]))
    Evidence.model_validate_json(json.dumps(result["evidence"]))
    with pytest.raises(RuntimeError, match="gave up"):
        list(worker.events(replace(job, engine="fake-failing")))


def test_samples_are_little_endian_and_whole(tmp_path):
    path = tmp_path / "x.i64"
    worker.write_samples(path, array("q", [1, 2**40, 3]))
    assert path.read_bytes() == b"".join(n.to_bytes(8, "little") for n in (1, 2**40, 3))
    assert list(tmp_path.iterdir()) == [path]


def test_a_worker_needs_numpy_and_its_engine_only(job):
    code = (
        "import sys; from bench import worker; from bench.protocol import Job;"
        "list(worker.events(Job.from_line(sys.argv[1])));"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[2].split())))"
    )
    unwanted = "pydantic pandas matplotlib jinja2 results pytest onnxruntime openvino torch"
    done = subprocess.run(
        [sys.executable, "-c", code, job.to_line(), unwanted], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
