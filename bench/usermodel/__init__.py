"""Prepares a user's own model, `--model`: checks it, makes its inputs and golden outputs, and keeps them by content.

Everything that touches the model happens in a process of its own, `__main__.py`: a graph may crash the library that
loads it, or fill the memory. What cannot be measured is one line, told before anything is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import INSTALL, ROOT
from bench.selection import SelectionError
from results.names import cleaned
from workloads.huggingface import PREFIX
from workloads.usermetric import Metric, MetricError

TIMEOUT_S = 1800.0
"""As long as a worker may take to make and to compile a model."""


@dataclass(frozen=True)
class Asked:
    """A model as it was asked for. `source` is an absolute path, or hf:ID; `name` is the workload's."""

    source: str
    name: str
    dims: Mapping[str, int] = field(default_factory=dict)
    inputs: str = ""
    reference: str = ""
    calibration: str = ""
    metric: Metric | None = None


@dataclass(frozen=True)
class Brought:
    """What comes with one model, as it was typed: files of arrays, and a metric. "": nothing."""

    inputs: str = ""
    reference: str = ""
    calibration: str = ""
    metric: str = ""

    @property
    def files(self) -> dict[str, str]:
        return {"--inputs": self.inputs, "--reference": self.reference, "--calibration": self.calibration}

    @property
    def options(self) -> list[str]:
        """Those that were given."""
        return [option for option, text in {**self.files, "--eval": self.metric}.items() if text]


def asked(
    sources: Sequence[str], dims: Mapping[str, str], brought: Brought, *, taken: Sequence[str], here: Path
) -> list[Asked]:
    """The command line's words; raises SelectionError for what cannot be meant. `taken` are names of workloads."""
    files = brought.files
    if not sources and (given := [*(["--dim"] if dims else []), *brought.options]):
        raise SelectionError(f"{given[0]} is for a model of your own: name it too, --model FILE.onnx")
    if len(sources) > 1 and brought.options:
        raise SelectionError(f"{brought.options[0]} is for one model: leave the others to another run")
    if brought.reference and not brought.inputs:
        raise SelectionError("--reference has the outputs for inputs that you give too: --inputs FILE.npz")
    for option, path in files.items():
        if path and not (here / path).is_file():
            raise SelectionError(f"{option} {path}: there is no such file")
    sizes = {name: _size(name, text) for name, text in dims.items()}
    inputs, reference, calibration = (str(here / path) if path else "" for path in files.values())
    try:
        metric = Metric.parse(brought.metric, here) if brought.metric else None
    except MetricError as error:
        raise SelectionError(str(error)) from error
    found = [
        Asked(_source(one, here), _name(one, taken), sizes, inputs, reference, calibration, metric) for one in sources
    ]
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SelectionError(f"two models are called {twice[0]}: rename one of the files")
    return found


def prepare(models: Sequence[Asked], timeout_s: float = TIMEOUT_S) -> tuple[str, ...]:
    """The prepared folder of each; raises SelectionError with why one cannot be measured."""
    answers = []
    for one in models:
        if sys.stderr.isatty():
            print(f"accelmark: preparing {one.name}", file=sys.stderr)
        answers.append(_prepared(one, timeout_s))
    free = {name for answer in answers for name in answer["free"]}
    for one in models:
        if unknown := sorted(set(one.dims) - free):
            there = ", ".join(sorted(free)) or "none"
            dim = f"{unknown[0]}={one.dims[unknown[0]]}"
            raise SelectionError(f"--dim {dim}: no model has a free dimension of that name; there are: {there}")
    return tuple(answer["folder"] for answer in answers)


def _source(text: str, here: Path) -> str:
    return text if text.startswith(PREFIX) else str((here / text).absolute())


def _name(text: str, taken: Sequence[str]) -> str:
    """The file's name without its ending, or with it where a workload of ours has that name."""
    path = Path(text.removeprefix(PREFIX))
    folder = text.startswith(PREFIX) or path.suffix != ".onnx"
    name = cleaned(path.name if folder else path.stem)
    return name if name not in taken else cleaned(f"my {name}" if folder else path.name)


def _size(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise SelectionError(f"--dim {name}={text}: a size is a whole number, at least 1")
    return int(text)


def _prepared(model: Asked, timeout_s: float) -> dict[str, Any]:
    """What the process that prepares answers: {"folder": str, "free": [str]}."""
    if find_spec("onnx") is None:
        raise SelectionError(f"--model needs the package onnx: {INSTALL.format(extra='model')}")
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "bench.usermodel", str(writing), json.dumps(asdict(model))]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        pass_fds=[writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    os.close(writing)
    with process, os.fdopen(reading, encoding="utf-8") as answers:
        try:
            _, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            why = f"preparing it took more than {timeout_s:g} s; give it longer with --timeout-s"
            raise SelectionError(f"--model {model.source}: {why}") from None
        finally:
            process.kill()
        told = [json.loads(line) for line in answers]
    if told and "folder" in told[-1]:
        return dict(told[-1])
    problem = told[-1].get("problem") if told else None
    raise SelectionError(f"--model {model.source}: {problem or _death(process.returncode, told, errors)}")


def _death(status: int, told: Sequence[Mapping[str, str]], errors: str) -> str:
    doing = next((event["doing"] for event in reversed(told) if "doing" in event), "starting")
    last = (errors.strip().splitlines() or ["no message"])[-1][:300]
    if status == -signal.SIGKILL:
        return f"the process was killed while {doing}, most likely for want of memory: fix smaller dimensions"
    if status < 0:
        crashed = f"the process crashed ({signal.Signals(-status).name}) while {doing}"
        return f"{crashed}: give --inputs and --reference, and another --engine"
    return f"{last} (while {doing})"
