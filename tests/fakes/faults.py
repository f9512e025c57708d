"""A pytest plugin that hurts a run at a moment of its choice: `-p tests.fakes.faults`, FAULT=deed@moment.

A moment is a phase of `bench.protocol`, entered by the worker of the second item; or "append", where the record of the
second item is half written (for kill_run only); or "each": every item from the second on is hurt in another of EACH.
A deed is one of DEEDS. The first item is complete by then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import supervisor
from bench.protocol import PHASES
from results import log, store
from tests.fakes.processes import alive, wait_for, workers

FILLER = "filler"


def kill_worker(_root: Path) -> None:
    (worker,) = workers(os.getpid())
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not alive(worker))  # its parent is busy here and does not reap it


def kill_run(_root: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(root: Path) -> None:
    """Only for a results folder on a small file system of its own."""
    with (root / FILLER).open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))


def remove_folder(root: Path) -> None:
    for run in store.run_folders(root):
        shutil.rmtree(run, ignore_errors=True)  # a worker may be writing into it


DEEDS: dict[str, Callable[[Path], None]] = {
    deed.__name__: deed for deed in (kill_worker, kill_run, fill_disk, remove_folder)
}


EACH = tuple(phase for phase in PHASES if phase != "search")
"""What a closed loop goes through."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    name, _, moment = os.environ["FAULT"].partition("@")
    root, deed = Path(config.getoption("--results")), DEEDS[name]
    if moment == "append":
        _at_the_second_append(lambda: deed(root))
    else:
        _in_phases(dict(enumerate(EACH if moment == "each" else (moment,), 2)), lambda: deed(root))


def _in_phases(phases: dict[int, str], hurt: Callable[[], None]) -> None:
    """`phases` by the number of the item; of "start" no worker tells, so that is when it was started."""
    run, start, item = supervisor.run, supervisor._start, 0

    def hurting(job: Any, on_phase: Any, *rest: Any) -> Any:
        nonlocal item
        item += 1

        def heard(phase: str, t_ns: int) -> None:
            on_phase(phase, t_ns)
            if phases.get(item) == phase:
                hurt()

        return run(job, heard, *rest)

    def started(python: str, channel: int) -> Any:
        process = start(python, channel)
        if phases.get(item) == "start":
            hurt()
        return process

    supervisor.run, supervisor._start = hurting, started


def _at_the_second_append(hurt: Callable[[], None]) -> None:
    append, calls = log.append, 0

    def hurting(descriptor: int, path: Path, payload: bytes) -> None:
        nonlocal calls
        calls += path.name == store.RECORDS
        if calls == 2:
            line = log.frame(payload)
            os.write(descriptor, line[: len(line) // 2])
            hurt()
        append(descriptor, path, payload)

    log.append = hurting
