"""Workers that do everything a worker can do wrong; after each of them no process, zombie or descriptor may be left."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import supervisor
from bench.protocol import PHASES, Effort, Job
from bench.supervisor import Outcome

STUB = """
import json, os, signal, socket, subprocess, sys, time
channel = socket.socket(fileno=int(sys.argv[-1]))
stream = channel.makefile("rw")
job = json.loads(stream.readline())
open({pids!r}, "a").write(f"{{os.getpid()}}\\n")
def send(event, **values):
    stream.write(json.dumps({{"event": event, **values}}) + "\\n"); stream.flush()
def phases(*names):
    for name in names:
        send("phase", phase=name, t_ns=time.monotonic_ns())
def child(*command):
    started = subprocess.Popen(command, pass_fds=[channel.fileno()])
    open({pids!r}, "a").write(f"{{started.pid}}\\n")
{body}
"""

Stub = Callable[..., Outcome]


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    effort = Effort(warmup_max_s=0, min_duration_s=0, min_queries=1, max_duration_s=0)
    names = ("w", "none", "fp32", "1", "offline", "throughput", "b", "d", "e")
    return Job(*names, effort, 0, str(tmp_path / "samples.i64"))


@pytest.fixture
def run(tmp_path: Path, pids: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Runs a stub in place of bench.worker, and then looks for what was left behind."""
    monkeypatch.setattr(supervisor, "EXIT_GRACE_S", 0.5)
    monkeypatch.setattr(supervisor, "LIVENESS_S", 0.05)
    gc.collect()
    before = open_files()

    def start(body: str, limit_s: float = 10, **options: object) -> Outcome:
        stub, python = tmp_path / "stub.py", tmp_path / "python"
        stub.write_text(STUB.format(pids=str(pids), body=body))
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stub}" "$@"\n')
        python.chmod(0o755)
        return supervisor.run(job, python=str(python), timeouts_s=dict.fromkeys(PHASES, limit_s), **options)  # type: ignore[arg-type]

    yield start
    assert open_files() == before
    assert zombies_and_strays(pids) == []


def open_files() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def zombies_and_strays(pids: Path) -> list[str]:
    left = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
    deadline = time.monotonic() + 2  # a grandchild is reaped by init, not by us
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in left):
        time.sleep(0.01)
    return [Path(f"/proc/{pid}/stat").read_text() for pid in left if Path(f"/proc/{pid}").exists()]


def test_a_result_is_handed_back_with_every_phase(run: Stub) -> None:
    heard: list[str] = []
    outcome = run(
        "phases('build', 'measure', 'finish'); send('result', window={'queries': 3})",
        on_phase=lambda phase, t_ns: heard.append(phase),
    )
    assert outcome == Outcome("ok", "finish", result={"window": {"queries": 3}})
    assert heard == ["build", "measure", "finish"]


def test_unsupported_is_an_answer(run: Stub) -> None:
    outcome = run("send('unsupported', reason='no int4 here')")
    assert (outcome.status, outcome.reason) == ("unsupported", "no int4 here")


def test_a_failure_comes_with_what_the_worker_printed_last(run: Stub) -> None:
    outcome = run(
        "print('x' * 200_000); print('\\x1b[31mthe end\\x1b[0m', file=sys.stderr, flush=True); "
        "send('failed', reason='boom', remedy='do not')"
    )
    assert (outcome.status, outcome.reason, outcome.remedy) == ("failed", "boom", "do not")
    assert outcome.stderr_tail.endswith("the end")
    assert len(outcome.stderr_tail) <= supervisor.TAIL_CHARACTERS


@pytest.mark.parametrize("phase", PHASES)
def test_a_hang_is_ended_in_every_phase(run: Stub, phase: str) -> None:
    before = "" if phase == "start" else f"phases('{phase}')"
    outcome = run(f"{before}\nprint('last words', flush=True)\ntime.sleep(60)", limit_s=0.4)
    assert outcome.status == "failed"
    assert outcome.phase == phase
    assert f"no progress in phase {phase} for 0.4 s" in outcome.reason
    assert "--timeout-s" in outcome.remedy
    assert outcome.stderr_tail == "last words"


def test_a_hang_that_ignores_signals_is_ended_with_its_children(run: Stub) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nchild('sleep', '60')\nphases('build')\ntime.sleep(60)"
    assert run(body, limit_s=0.4).status == "failed"


def test_a_worker_that_dies_while_its_child_holds_the_socket_is_noticed(run: Stub) -> None:
    began = time.monotonic()
    outcome = run("phases('build')\nchild('sleep', '60')\nos._exit(3)", limit_s=20)
    assert "ended with exit status 3 in phase build" in outcome.reason
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_signal_is_named(run: Stub, number: signal.Signals) -> None:
    outcome = run(f"phases('compile'); os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    assert outcome.status == "failed"
    assert f"killed by {number.name}" in outcome.reason
    assert "in phase compile" in outcome.reason


def test_a_kill_for_memory_is_told_from_other_kills(run: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(supervisor, "_oom_kills", lambda: next(counts))
    outcome = run("phases('compile'); os.kill(os.getpid(), 9); time.sleep(60)")
    assert outcome.reason == "out of memory in phase compile: the kernel killed the worker"
    assert "smaller batch" in outcome.remedy


def test_an_exit_without_an_answer_is_a_failure(run: Stub) -> None:
    outcome = run("phases('check'); raise SystemExit(0)")
    assert outcome.reason == "the worker ended with exit status 0 in phase check without an answer"


def test_a_worker_that_hangs_up_and_lives_on_is_killed(run: Stub) -> None:
    outcome = run("phases('build'); stream.close(); channel.close(); time.sleep(60)")
    assert "closed its connection in phase build and lived on" in outcome.reason


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1, 2]",
        "{}",
        '{"event": "phase"}',
        '{"event": "phase", "phase": "lunch", "t_ns": 1}',
        '{"event": "failed", "reason": 5}',
        '{"event": "result"',
        "\x00\x01",
    ],
)
def test_nonsense_on_the_socket_is_a_failure_that_shows_it(run: Stub, line: str) -> None:
    outcome = run(f"stream.write({line!r} + '\\n'); stream.flush(); time.sleep(60)")
    assert outcome.status == "failed"
    assert "the worker sent what is no" in outcome.reason


def test_bytes_that_are_no_text_are_a_failure(run: Stub) -> None:
    outcome = run("channel.sendall(b'\\xff\\xfe\\n'); time.sleep(60)")
    assert "not JSON" in outcome.reason


def test_a_line_without_an_end_is_a_failure(run: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LINE_BYTES_MAX", 100_000)
    outcome = run("channel.sendall(b'x' * 500_000); time.sleep(60)")
    assert "a line without an end" in outcome.reason


def test_a_torn_last_line_is_not_taken_for_an_answer(run: Stub) -> None:
    outcome = run("phases('measure'); channel.sendall(b'{\"event\": \"result\"'); os.kill(os.getpid(), 9)")
    assert outcome.status == "failed"
    assert "SIGKILL" in outcome.reason


def test_noise_on_stdout_neither_blocks_the_worker_nor_reaches_the_protocol(run: Stub) -> None:
    body = """
for _ in range(2000):
    print('{"event": "failed", "reason": "vendor noise"}' + 'y' * 1000)
sys.stdout.flush()
phases('measure')
send('result', window={})
"""
    assert run(body).status == "ok"


def test_endless_noise_does_not_outlive_the_time_out(run: Stub) -> None:
    outcome = run("while True: print('y' * 1000)", limit_s=0.5)
    assert "no progress in phase start" in outcome.reason
    assert len(outcome.stderr_tail) <= supervisor.TAIL_CHARACTERS


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "time.sleep(60)", "raise SystemExit(7)"])
def test_what_happens_after_the_answer_costs_nothing(run: Stub, end: str) -> None:
    assert run(f"phases('finish'); send('result', window={{}}); {end}").status == "ok"


def test_an_interpreter_that_is_not_there_is_a_failure(job: Job) -> None:
    outcome = supervisor.run(job, python="/no/such/python")
    assert outcome.status == "failed"
    assert "could not be started" in outcome.reason
    assert "/no/such/python" in outcome.remedy


def test_an_exception_in_the_parent_leaves_no_worker(run: Stub) -> None:
    def interrupt(phase: str, t_ns: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("child('sleep', '60')\nphases('measure')\ntime.sleep(60)", on_phase=interrupt)


def test_the_worker_is_no_member_of_our_session(run: Stub) -> None:
    outcome = run("send('failed', reason=str(os.getsid(0) == os.getpid()))")
    assert outcome.reason == "True"


def test_measuring_may_take_what_the_effort_allows_on_top() -> None:
    effort = Effort(warmup_max_s=60, min_duration_s=600, min_queries=1, max_duration_s=7200)
    limits = supervisor._limits(supervisor.TIMEOUTS_S, effort)
    assert limits["warmup"] == supervisor.TIMEOUTS_S["warmup"] + 60
    assert limits["measure"] == supervisor.TIMEOUTS_S["measure"] + 7200
