"""The INT8 .tflite file as Coral's edgetpu_compiler makes it: one operator that the Edge TPU runs whole.

The compiler comes from Google's Debian packages, for x86-64 only; a board takes what was compiled elsewhere
(`accelmark export`, `--artifact`). Its options: https://coral.ai/docs/edgetpu/compiler/. Not verified with the compiler
itself, which is on no public index; tests use a program that takes the same options.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached
from workloads.forms._packages import installed
from workloads.forms._tflite.file import packed, unpacked
from workloads.weights import sha256_of

VERSION = 1
"""Goes up with every change of what is handed to the compiler, as files are kept between runs."""
COMPILER = "edgetpu_compiler"
TIMEOUT_S = 600.0
REMEDY = (
    "compile on x86-64 Debian with Coral's package edgetpu-compiler and bring the file, --artifact FILE_edgetpu.tflite"
)


def build(model: Model) -> Path:
    """The path of the compiled file in the cache; raises Unsupported without the compiler, or where it refuses."""
    if shutil.which(COMPILER) is None:
        raise Unsupported(f"{COMPILER} is not on PATH: {REMEDY}")
    tools = installed("edgetpu", "edgetpu", "ai-edge-litert", "flatbuffers")
    source: Path = model.form("tflite_int8")
    key = (VERSION, sha256_of(source), _run("--version"), *tools)

    def make(part: Path) -> None:
        fixed = part.with_name("fixed.tflite")
        fixed.write_bytes(with_fixed_shapes(source.read_bytes()))
        said = _run("--show_operations", "--out_dir", str(part.parent), str(fixed))
        made = part.with_name("fixed_edgetpu.tflite")
        if not made.exists():
            raise Unsupported(f"{COMPILER} made no file of {model.name}: {said.splitlines()[-1]}")
        made.replace(part)

    return cached(model, "edgetpu", key, "int8_edgetpu.tflite", make)


def with_fixed_shapes(data: bytes) -> bytes:
    """A .tflite file whose free sizes are fixed to 1: the Edge TPU takes no others."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(schema, data)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    return packed(model)


def _run(*arguments: str) -> str:
    """What the compiler prints; raises Unsupported with its last line where it fails."""
    try:
        done = subprocess.run(
            [COMPILER, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unsupported(f"{COMPILER} did not end: {error}") from error
    said = (done.stdout + done.stderr).strip() or "it said nothing"
    if done.returncode:
        raise Unsupported(f"{COMPILER} refused the model: {said.splitlines()[-1]}")
    return said
