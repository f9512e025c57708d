"""What techniques make is kept by content: real processes make it at once, are killed, and find the cache gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
BUILD = """
import json, sys, time
from pathlib import Path
from bench import parts, recipes
from workloads.contract import Workload
from workloads.forms import onnx_qdq
making = onnx_qdq.quantise
def told(path, to, inputs, rows):
    print("making", flush=True)
    if sys.argv[1:] == ["stall"]:
        to.write_bytes(b"half an artefact")
        time.sleep(600)
    making(path, to, inputs, rows)
onnx_qdq.quantise = told
path = recipes.parse("int8-static").of(parts.find(Workload, "digits-small")).model().form("onnx")
print(json.dumps(str(path)))
"""


def build(cache: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "ACCELMARK_CACHE": str(cache)}
    return subprocess.Popen([sys.executable, "-c", BUILD, *words], env=environment, stdout=subprocess.PIPE, text=True)


def made(process: subprocess.Popen[str]) -> tuple[Path, bool]:
    """The artefact, and whether this process made it."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    *before, path = said.splitlines()
    return Path(json.loads(path)), before == ["making"]


def test_a_killed_build_leaves_nothing_and_two_at_once_one_artefact(tmp_path: Path) -> None:
    killed = build(tmp_path, "stall")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "making\n"
    waiting = build(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not list((tmp_path / "onnx_qdq").rglob("digits-small.onnx")) or waiting.poll() is None
    other = build(tmp_path)
    (one, first), (two, second) = made(waiting), made(other)
    assert one == two
    assert (first, second).count(True) == 1
    content = one.read_bytes()
    assert len(content) > 4_000

    shutil.rmtree(tmp_path)
    again, anew = made(build(tmp_path))
    assert anew
    assert (again, again.read_bytes()) == (one, content)
