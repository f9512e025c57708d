"""A mistake is one clear line and exit status 2, told before anything is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, command

CHOSEN = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project", "--scenario=offline")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workload=resnet5",), "unknown workload resnet5 (did you mean resnet50"),
        (("--backend=cdua",), "unknown backend cdua (did you mean cuda?); there are: "),
        (("--engine=onnx",), "unknown engine onnx"),
        (("--scenario=online",), "unknown scenario online (did you mean offline?); there are: single_stream, multi_"),
        (("--scenario=server(rate=fast)",), "unknown scenario server(rate=fast): a rate is queries per second"),
        (("--scenario=offline(rate=1)",), "scenario offline has no parameter rate; it has: none"),
        (("--rules=loadgen",), "unknown rules loadgen; there are: accelmark, mlperf"),
        (("--rules=",), "--rules is empty"),
        (("--model=none.onnx",), "/none.onnx: there is no such file"),
        (("--model=bench",), "/bench: it is a folder without a config.json"),
        (("--model=README.md",), "/README.md: it is no ONNX file, or"),
        (("--model=",), "--model is empty"),
        (("--model=README.md", "--dim=seq"), "--dim seq: write NAME=NUMBER, as in seq=128"),
        (("--model=README.md", "--dim=seq=many"), "--dim seq=many: a size is a whole number, at least 1"),
        (("--dim=seq=16",), "--dim is for a model of your own: name it too, --model FILE.onnx"),
        (("--model=README.md", "--inputs=none.npz"), "--inputs none.npz: there is no such file"),
        (("--reference=none.npz",), "--reference is for a model of your own"),
        (("--model=README.md", "--workload=resnet5"), "unknown workload resnet5 (did you mean resnet50"),
        (("--precision=fp31",), "unknown precision fp31"),
        (("--technique=magic",), "unknown technique magic"),
        (("--profile=fast",), "unknown profile fast; there are: quick, standard, official"),
        (("--goal=speed",), "unknown goal speed; there are: latency, throughput"),
        (("--batch=0",), "--batch 0: a number from 1 to 65,536, or auto"),
        (("--batch=65537",), "--batch 65537: a number"),
        (("--batch=01",), "--batch 01: a number"),
        (("--batch=\u0663",), "--batch \u0663: a number"),
        (("--workload=",), "--workload is empty"),
        (("--backend=,",), "--backend is empty"),
        (("--goal=",), "--goal is empty"),
        (("--bound=fast",), "--bound fast: write milliseconds"),
        (("--bound=-1",), "--bound -1: write milliseconds"),
        (("--bound=5@101",), "--bound 5@101"),
        (("--bound=nan",), "--bound nan"),
        (("--seed=now",), "--seed now: a number"),
        (("--timeout-s=never",), "--timeout-s never: a number"),
        (("--option=threads",), "--option threads: write KEY=VALUE"),
        (("--option=<script>=1",), "names have letters"),
        (("--python=vllm",), "--python vllm: write ENGINE=PATH"),
        (("--python=vlm=/usr/bin/python3",), "unknown engine vlm"),
        (("--target=tpu9:x",), "--target tpu9:x: unknown backend tpu9"),
        (("--parts=no_such_package",), "parts package no_such_package cannot be imported"),
        (("--workload=<script>alert(1)</script>",), "unknown workload <script>alert(1)</script>"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = bench(tmp_path / "runs", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_name_with_markup_is_refused(tmp_path: Path) -> None:
    text = "from tests.fakes.fake_backends import FakeBackend\nclass Evil(FakeBackend):\n    name = '<script>'\n"
    (tmp_path / "evil.py").write_text(text)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command(tmp_path / "runs", "--parts=evil"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("accelmark: the name of Evil is '<script>': names have letters")
    assert len(done.stderr.splitlines()) == 1


def test_options_without_the_folder_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--backend=cpu"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pytest bench/ --backend" in done.stderr


def test_workers_of_xdist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "like_xdist.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--numprocesses', type=int)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    wanted = command(tmp_path / "runs", "-p", "like_xdist", "--numprocesses=2", *CHOSEN)
    done = subprocess.run(wanted, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "leave out -n" in done.stderr


def test_a_results_folder_that_is_a_file_is_told_first(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("something of the user's")
    done = bench(tmp_path / "runs", *CHOSEN)
    assert_refused(done, str(tmp_path / "runs"))
    assert (tmp_path / "runs").read_text() == "something of the user's"


def test_a_results_folder_under_proc_is_told_first() -> None:
    assert_refused(bench(Path("/proc/accelmark"), *CHOSEN), "/proc/accelmark")


def test_a_read_only_results_folder_is_told_first(tmp_path: Path) -> None:
    with mounted(tmp_path, "ro"):
        assert_refused(bench(tmp_path, *CHOSEN), "Read-only file system")


def test_a_full_results_folder_is_told_first(tmp_path: Path) -> None:
    with mounted(tmp_path, "size=64k"):
        done = bench(tmp_path, *CHOSEN)
        assert_refused(done, "free some space")


def assert_refused(done: subprocess.CompletedProcess[str], why: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system at `folder`, where the tests may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system takes root and the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
