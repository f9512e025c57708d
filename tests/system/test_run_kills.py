"""Ctrl-C and kill -9 of pytest: no worker is left, and the next run appends. At every phase: test_run_faults.py."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from results.store import read, repair
from tests.fakes.processes import alive, wait_for, workers
from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, command, measured

SHORT = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project")
FOUR = ("--backend=fake", "--engine=fake-exact,fake-paced", "--workload=fake-project")


def _interruptible() -> None:
    """As at a terminal: what a shell starts in the background, as CI may be, inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(results: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        command(results, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_interruptible,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def stored(results: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in results.glob("*/records.log"))


def test_a_killed_run_keeps_what_is_complete_and_the_next_appends(tmp_path: Path) -> None:
    with running(tmp_path, *FOUR) as run:
        wait_for(lambda: stored(tmp_path))
        wait_for(lambda: workers(run.pid))
        left = workers(run.pid)
        complete = stored(tmp_path)
        run.kill()
        run.wait(timeout=10)
    wait_for(lambda: not any(alive(pid) for pid in left), within_s=5)
    assert len([record for record, _ in read(tmp_path)]) >= complete >= 1
    done = bench(tmp_path, *SHORT)
    assert done.returncode == 0, done.stdout
    assert len(measured(tmp_path)) >= complete + 2
    assert len({record.context.run_id for record in measured(tmp_path)}) == 2


def test_a_run_killed_while_writing_leaves_a_tail_that_the_next_moves_aside(tmp_path: Path) -> None:
    assert bench(tmp_path, *SHORT).returncode == 0
    (log,) = tmp_path.glob("*/records.log")
    whole = log.read_bytes()
    log.write_bytes(whole + whole[: len(whole) // 3])
    assert bench(tmp_path, *SHORT).returncode == 0
    assert len(measured(tmp_path)) == 4
    assert log.read_bytes() == whole
    assert list(tmp_path.glob("*/records.log.torn"))
    assert repair(tmp_path) == []


@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_ctrl_c_keeps_what_is_complete_and_leaves_no_worker(tmp_path: Path, after_s: float) -> None:
    with running(tmp_path, *FOUR) as run:
        wait_for(lambda: stored(tmp_path))
        wait_for(lambda: workers(run.pid))
        time.sleep(after_s)
        left = workers(run.pid)
        os.kill(run.pid, signal.SIGINT)
        said, _ = run.communicate(timeout=30)
        assert run.returncode == 2
    assert "KeyboardInterrupt" in said
    assert "in " + str(tmp_path) in said
    assert not any(alive(pid) for pid in left)
    assert len(measured(tmp_path)) >= 1


def test_a_hanging_worker_dies_with_a_killed_run(tmp_path: Path) -> None:
    hanging = ("--backend=fake", "--engine=fake-hang", "--option=in=compile", "--workload=fake-project")
    with running(tmp_path, *hanging) as run:
        wait_for(lambda: workers(run.pid))
        time.sleep(1.5)
        (worker,) = workers(run.pid)
        run.kill()
        run.wait(timeout=10)
    wait_for(lambda: not alive(worker), within_s=5)
