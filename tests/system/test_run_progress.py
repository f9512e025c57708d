"""What somebody sees while a run goes on: at a terminal a line that moves, in CI and in pipes nothing of it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, command

CHOSEN = ("--backend=fake", "--engine=fake-exact,fake-unsupported", "--workload=fake-project")


def seen(results: Path, *arguments: str, **environment: str) -> str:
    """Everything that a terminal gets to see of a run."""
    ours, theirs = pty.openpty()
    variables = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120", **environment}
    with subprocess.Popen(
        command(results, *CHOSEN, *arguments), cwd=ROOT, env=variables, stdout=theirs, stderr=theirs, stdin=theirs
    ):
        os.close(theirs)
        text = bytearray()
        with contextlib.suppress(OSError):  # the other end of a terminal that is gone
            while chunk := os.read(ours, 1 << 16):
                text += chunk
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize("arguments", [(), ("-v",), ("-q",)])
def test_a_terminal_shows_the_item_how_many_and_how_long(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    text = seen(tmp_path, *arguments)
    drawn = re.findall(r"\x1b\[2K(\d)/4  (fake-\S+)  (\w+)  \d+ (?:s|min) left", text)
    assert [int(number) for number, _, _ in drawn] == sorted(int(number) for number, _, _ in drawn)
    assert {number for number, _, _ in drawn} == set("1234")
    assert {phase for _, name, phase in drawn if "exact" in name} >= {"start", "compile", "check", "warmup", "measure"}
    finished = re.findall(r"\x1b\[2K(fake-project-fake-fake-\S+)  (\S+)", text)
    assert len(finished) == 4
    assert "unsupported: no kernel for tanh" in text
    assert "sample/s  p50" in text


def test_ci_is_quiet_even_at_a_terminal(tmp_path: Path) -> None:
    text = seen(tmp_path, CI="true")
    assert " left" not in text
    assert "\x1b[2K" not in text
    assert "2 passed" in re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_pipe_is_quiet(tmp_path: Path) -> None:
    done = bench(tmp_path, *CHOSEN)
    assert " left" not in done.stdout
    assert "\r" not in done.stdout
    assert "bench/test_hardware.py" in done.stdout
