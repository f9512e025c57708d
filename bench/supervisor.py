"""Runs one item in a fresh worker process and says what became of it, whatever the worker does.

The worker leads a session of its own, so that all it starts can be killed with it. It speaks over a socket that it
inherits; what it prints goes into a bounded tail. Every phase has its time-out. When `run` returns, all of it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from bench import ROOT
from bench.protocol import PHASES, Effort, Job

TIMEOUTS_S: Mapping[str, float] = {
    "start": 120,
    "build": 900,
    "compile": 900,
    "check": 600,
    "warmup": 120,
    "search": 120,
    "measure": 120,
    "audit": 300,
    "finish": 60,
}
"""Longest time in each phase; warming up, searching and measuring may take what the effort allows on top."""
SEARCH_WINDOWS = 8
"""A search is a capacity run and up to six probes, none longer than a window; one more for good measure."""
EXIT_GRACE_S = 5.0
"""How long a worker that has answered may take to close its engine."""
LIVENESS_S = 1.0
"""How often the worker is looked at while it is silent: its children may hold the socket open after its death."""
TAIL_BYTES = 64 << 10
TAIL_CHARACTERS = 3000
LINE_BYTES_MAX = 16 << 20

OnPhase = Callable[[str, int], None]


@dataclass(frozen=True)
class Outcome:
    """What became of an item. `phase` is the last one entered; `result` has the fields of `protocol.Result`."""

    status: Literal["ok", "unsupported", "failed"]
    phase: str
    reason: str = ""
    remedy: str = ""
    result: Mapping[str, Any] | None = None
    stderr_tail: str = ""


class ProtocolError(Exception):
    """The worker said something that no worker says."""


def run(
    job: Job,
    on_phase: OnPhase = lambda _phase, _t_ns: None,
    python: str = sys.executable,
    timeouts_s: Mapping[str, float] = TIMEOUTS_S,
) -> Outcome:
    """Measure `job` in a worker started with `python`; `on_phase` hears of each phase and its CLOCK_MONOTONIC start."""
    limits_s = _limits(timeouts_s, job.effort)
    try:
        worker = _Worker(python, job)
    except OSError as error:
        remedy = f"check that {python} is a Python with numpy and {job.engine}"
        return Outcome("failed", "start", f"the worker could not be started: {error}", remedy)
    with worker:
        outcome = _follow(worker, limits_s, on_phase)
        worker.finish(EXIT_GRACE_S if outcome.status == "ok" else 0.5)
    return outcome if outcome.status == "ok" else replace(outcome, stderr_tail=worker.tail())


def run_inline(job: Job, on_phase: OnPhase = lambda _phase, _t_ns: None) -> Outcome:
    """The same in this process, for debuggers: no isolation, no time-outs, exceptions pass through."""
    from bench import worker

    phase = "start"
    for event in worker.events(job):
        kind, values = _parse_event(event)
        if kind == "phase":
            phase = values["phase"]
            on_phase(phase, values["t_ns"])
        else:
            return _answer(kind, phase, values)
    raise ProtocolError("the worker ended without an answer")


def _limits(timeouts_s: Mapping[str, float], effort: Effort) -> dict[str, float]:
    allowed_s = {
        "warmup": effort.warmup_max_s,
        "search": SEARCH_WINDOWS * effort.max_duration_s,
        "measure": effort.max_duration_s,
    }
    return {phase: timeouts_s[phase] + allowed_s.get(phase, 0) for phase in PHASES}


def _follow(worker: _Worker, limits_s: Mapping[str, float], on_phase: OnPhase) -> Outcome:
    phase = "start"
    deadline = time.monotonic() + limits_s[phase]
    while True:
        try:
            event = worker.next_event(deadline)
            if event is None:
                return _post_mortem(worker, phase)
            kind, values = _parse_event(event)
        except TimeoutError:
            why = f"no progress in phase {phase} for {limits_s[phase]:g} s; the worker was killed"
            return Outcome("failed", phase, why, "raise --timeout-s if this machine needs longer")
        except ProtocolError as error:
            return Outcome("failed", phase, f"{error} in phase {phase}; the worker was killed")
        if kind != "phase":
            return _answer(kind, phase, values)
        phase = values["phase"]
        deadline = time.monotonic() + limits_s[phase]
        on_phase(phase, values["t_ns"])


def _parse_event(event: Any) -> tuple[str, dict[str, Any]]:
    match event:
        case {"event": "phase", "phase": str(phase), "t_ns": int()} if phase in PHASES:
            return "phase", event
        case {"event": "unsupported" | "failed" as kind, "reason": str()}:
            return kind, event
        case {"event": "result"}:
            return "result", {name: value for name, value in event.items() if name != "event"}
    raise ProtocolError(f"the worker sent what is no event: {str(event)[:120]!r}")


def _answer(kind: str, phase: str, values: dict[str, Any]) -> Outcome:
    match kind:
        case "result":
            return Outcome("ok", phase, result=values)
        case "unsupported":
            return Outcome("unsupported", phase, values["reason"], values.get("remedy", ""))
        case _:
            return Outcome("failed", phase, values["reason"] or "the worker failed", values.get("remedy", ""))


def _post_mortem(worker: _Worker, phase: str) -> Outcome:
    status = worker.exit_status(EXIT_GRACE_S)
    if status is None:
        return Outcome(
            "failed", phase, f"the worker closed its connection in phase {phase} and lived on; it was killed"
        )
    if status == -signal.SIGKILL and worker.oom_kills():
        why = f"out of memory in phase {phase}: the kernel killed the worker"
        return Outcome("failed", phase, why, "use a smaller batch, or a machine with more memory")
    if status < 0:
        return Outcome("failed", phase, f"the worker was killed by {_signal_name(-status)} in phase {phase}")
    return Outcome("failed", phase, f"the worker ended with exit status {status} in phase {phase} without an answer")


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"


class _Worker:
    """The process with its socket and its output. Leaving the block kills whatever is left of its session."""

    def __init__(self, python: str, job: Job) -> None:
        self._received, self._printed, self._reaped = bytearray(), bytearray(), False
        self._oom_kills_before = _oom_kills()
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(python, theirs.fileno())
            except OSError:
                self._socket.close()
                raise
        assert self._process.stdout is not None  # noqa: S101 - tells the type checker of stdout=PIPE
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ, self._receive)
        self._selector.register(self._output, selectors.EVENT_READ, self._collect)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # dead already: reading tells
            self._socket.sendall(job.to_line().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(0)
        self._selector.close()
        self._socket.close()
        self._output.close()

    def next_event(self, deadline: float) -> Any:
        """The next event, or None when the worker is gone; raises TimeoutError and ProtocolError."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > LINE_BYTES_MAX:
                raise ProtocolError("the worker sent a line without an end")
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            ready = self._selector.select(min(left_s, LIVENESS_S))
            heard_end = [key.data() for key, _ in ready]
            if any(heard_end) or (not ready and self._exited() and not self._selector.select(0)):
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return json.loads(line)
        except ValueError as error:
            raise ProtocolError(f"the worker sent what is not JSON: {line[:120]!r}") from error

    def exit_status(self, within_s: float) -> int | None:
        """Exit status, negative for a signal; None while it runs on after `within_s` seconds."""
        deadline = time.monotonic() + within_s
        while not self._exited():
            if time.monotonic() >= deadline:
                return None
            self._collect()
            time.sleep(0.005)
        self.finish(0)
        return self._process.returncode

    def finish(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for the worker to end, then kill what is left of its session, and reap it."""
        if self._reaped:
            return
        deadline = time.monotonic() + grace_s
        while not self._exited() and time.monotonic() < deadline:
            self._collect()
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
        self._process.wait()
        self._reaped = True
        self._collect()

    def oom_kills(self) -> int:
        """How often the kernel ran out of memory since the worker started."""
        return _oom_kills() - self._oom_kills_before

    def tail(self) -> str:
        """The last lines that the worker printed, without terminal control sequences."""
        text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", self._printed.decode(errors="replace"))
        return "".join(c for c in text if c.isprintable() or c in "\n\t")[-TAIL_CHARACTERS:].strip()

    def _exited(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._reaped or os.waitid(os.P_PID, self._process.pid, flags) is not None

    def _receive(self) -> bool:
        """Take what the worker says; True at the end of it."""
        try:
            chunk = self._socket.recv(1 << 16)
        except ConnectionResetError:
            chunk = b""
        self._received += chunk
        return not chunk

    def _collect(self) -> None:
        """Take over what was printed, so that the worker never waits for a full pipe; bounded per call and in all."""
        for _ in range(64):
            chunk = self._output.read(1 << 16)
            if not chunk:
                if chunk == b"":
                    with contextlib.suppress(KeyError):
                        self._selector.unregister(self._output)
                return
            self._printed += chunk
            del self._printed[:-TAIL_BYTES]


def _start(python: str, channel: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-m", "bench.worker", str(channel)],
        cwd=ROOT,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        pass_fds=[channel],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )


def _oom_kills() -> int:
    """Processes that the kernel has killed for want of memory, as far as it counts them."""
    count = 0
    for file in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with contextlib.suppress(OSError):
            found = re.search(r"^oom_kill (\d+)$", Path(file).read_text(), re.MULTILINE)
            count += int(found[1]) if found else 0
    return count
