"""Makes the folder that `workloads/user.py` reads, in the process that `__main__.py` is."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bench import INSTALL
from bench.usermodel import given, grading, reference
from bench.usermodel.reference import Reference
from workloads import huggingface, madeup, onnxcount, onnxfile, user
from workloads.contract import Card, TensorSpec
from workloads.onnxcount import Count
from workloads.onnxfile import ModelFileError, OnnxFile
from workloads.user import Noise, Prepared
from workloads.weights import sha256_of

if TYPE_CHECKING:
    from bench.usermodel import Asked
    from workloads.contract import Arrays

MADE_UP, MADE_UP_MIN, MADE_UP_MAX_BYTES = 64, 12, 256 << 20
"""Samples that are made up, fewer where so many would fill the memory; the output check needs 12."""
SEALS = "external.json"
"""Size and time of change of each file of external data: a link shares what is done to the user's own file."""
SOURCE_MAX = 2000

Say = Callable[[str], None]


class Source(Protocol):
    """Where a model comes from. `free` are the dimensions that `--dim` can fix; `digest` names the content.

    `external` are files of the user's, by their place beside the graph; `told` is for people.
    """

    free: tuple[str, ...]
    sample_unit: str

    @property
    def external(self) -> Mapping[str, Path]: ...

    @property
    def task(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def told(self) -> str: ...

    def graph(self, scratch: Path) -> OnnxFile:
        """The model as an ONNX file, made in `scratch` if it is none yet."""


class _Onnx:
    task = "a model of your own"
    sample_unit = "sample"

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self.free = file.free
        self.external = {location: file.path.parent / location for location in file.external}

    @cached_property
    def digest(self) -> str:
        data = [(location, sha256_of(path)) for location, path in sorted(self.external.items())]
        return hashlib.sha256(json.dumps([sha256_of(self._file.path), data]).encode()).hexdigest()

    @property
    def told(self) -> str:
        opsets = ", ".join(f"{one.domain or 'opset'} {one.version}" for one in self._file.proto.opset_import)
        return f"{self._file.path.name}, content {self.digest[:16]}, {opsets}"

    def graph(self, scratch: Path) -> OnnxFile:
        return self._file


def find(source: str, dims: Mapping[str, int]) -> Source:
    """Read what is cheap to read; raises ModelFileError for what cannot be measured."""
    if huggingface.is_one(source):
        if absent := [name for name in huggingface.NEEDS if find_spec(name) is None]:
            raise ModelFileError(f"a checkpoint needs the package {absent[0]}: {INSTALL.format(extra='hf')}")
        return huggingface.Checkpoint(source, dims)
    return _Onnx(onnxfile.read(Path(source)))


def prepare(model: Asked, source: Source, home: Path, say: Say) -> None:
    """Make `home`, or see that it is still what was made; raises ModelFileError, and then leaves none."""
    if home.exists():
        _restore(source, home)
        return
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed
    part.mkdir()
    try:
        _make(model, source, part, say)
        part.rename(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make(model: Asked, source: Source, folder: Path, say: Say) -> None:
    say("making its graph")
    file = source.graph(folder)
    brought = given.arrays("--inputs", model.inputs) if model.inputs else None
    real, what = (brought, "given") if brought else _real(model)
    file = _fixed(file, model.dims, real)
    path = folder / user.MODEL
    path.parent.mkdir()
    file.save(path.parent, path.name)
    _seal(folder, file.external)
    inputs, what = (real, what) if real else _made_up(file, model.name)
    say("computing its right outputs in onnxruntime")
    counted = onnxcount.count(file)
    brings = model.reference
    right = _brought(brings, file, inputs) if brings else _computed(path, inputs, file.batch, counted.flops)
    inputs = _first(inputs, right.rows)
    np.savez(folder / user.INPUTS, allow_pickle=False, **inputs)
    np.savez(folder / user.GOLDEN, allow_pickle=False, **right.golden)
    calibrating, how = _calibrating(model, file, brought)
    np.savez(folder / user.CALIBRATION, allow_pickle=False, **calibrating)
    told = [source.told, *(f"{name} {size}" for name, size in sorted(model.dims.items())), f"inputs {what}", how]
    graded = grading.checked(model.metric, file, path, calibrating) if model.metric else None
    card = replace(_card(model.name, source, counted, inputs, right, told), quality=graded)
    specs = [_specs(arrays, file.batch) for arrays in (inputs, right.outputs)]
    digest = hashlib.sha256(f"{source.digest} {sha256_of(path)}".encode()).hexdigest()  # its dimensions included
    Prepared(card, digest, specs[0], specs[1], file.batch, right.noise, model.metric).write(folder)
    shutil.rmtree(folder / "export", ignore_errors=True)


def _real(model: Asked) -> tuple[Arrays | None, str]:
    """Real samples to measure with where no inputs were given: the metric's, else those that calibrate.

    What was quantised for real samples is not to be checked on made up ones.
    """
    if model.metric:
        found = model.metric.load()
        grading.check_samples(str(model.metric), found)
        return {name: array[:MADE_UP] for name, array in found.inputs.items()}, f"the first of {model.metric}"
    if model.calibration:
        return given.arrays("--calibration", model.calibration), "those that calibrate"
    return None, ""


def _calibrating(model: Asked, file: OnnxFile, brought: Arrays | None) -> tuple[Arrays, str]:
    """Samples to quantise with, none of which is graded: the user's own, else made up in a stream of their own."""
    if model.calibration:
        found = given.arrays("--calibration", model.calibration)
        given.check_inputs(file, found, "--calibration")
        return found, f"calibration samples given, {len(next(iter(found.values())))}"
    if brought:
        return brought, "calibration samples are the given inputs"
    return madeup.inputs(file, MADE_UP, f"{model.name}/calibration/0").arrays, "calibration samples made up"


def _fixed(file: OnnxFile, dims: Mapping[str, int], brought: Arrays | None) -> OnnxFile:
    """Dimensions as they were asked for, else as the given inputs have them."""
    sample_axes = {tensor.dims[0] for tensor in file.inputs if tensor.dims}
    deduced = given.sizes(file, brought) if brought else {}
    file = file.fixed({**{name: size for name, size in deduced.items() if name not in sample_axes}, **dims})
    file.check_fixed()
    if brought:
        given.check_inputs(file, brought)
    return file


def _made_up(file: OnnxFile, name: str) -> tuple[Arrays, str]:
    sample_bytes = sum(math.prod(map(int, t.dims[1:])) * np.dtype(t.dtype).itemsize for t in file.inputs)
    count = min(MADE_UP, max(MADE_UP_MIN, MADE_UP_MAX_BYTES // max(1, sample_bytes)))
    made = madeup.inputs(file, count, f"{name}/perf/0")
    if all((array == array[:1]).all() for array in made.arrays.values()):
        raise ModelFileError(
            f"its inputs can only be made up the same for every sample ({'; '.join(made.told)}): "
            f"give real ones, --inputs FILE.npz"
        )
    return made.arrays, f"made up ({'; '.join(made.told)})"


def _computed(path: Path, inputs: Arrays, batch: int | None, flops: int | None) -> Reference:
    if find_spec("onnxruntime") is None:
        raise ModelFileError(
            f"its right outputs need the package onnxruntime: {INSTALL.format(extra='cpu')}; "
            f"or give --inputs and --reference"
        )
    return reference.compute(path, inputs, batch, flops)


def _brought(path: str, file: OnnxFile, inputs: Arrays) -> Reference:
    outputs = given.arrays("--reference", path)
    given.check_reference(file, inputs, outputs)
    one = {name: array[:1] for name, array in outputs.items()}
    names, count = reference.comparable(one, len(next(iter(outputs.values()))))
    rows = reference.far_apart({name: outputs[name][:count] for name in names})
    return Reference(rows, {name: outputs[name][rows] for name in names}, one, Noise(), "given")


def _first(inputs: Arrays, rows: list[int]) -> dict[str, Any]:
    """The samples with golden outputs, then the others: workloads have theirs in front."""
    count = len(next(iter(inputs.values())))
    order = [*rows, *sorted(set(range(count)) - set(rows))]
    return {name: array[order] for name, array in inputs.items()}


def _card(name: str, source: Source, counted: Count, inputs: Arrays, right: Reference, told: list[str]) -> Card:
    told = [*told, f"right outputs ({', '.join(right.golden)}) {right.how}"]
    told += [] if counted.flops is not None else [f"operations not counted, {counted.why}"]
    return Card(
        name=name,
        task=source.task,
        sample_unit=source.sample_unit,
        flops=counted.flops,
        parameters=counted.parameters,
        weight_bytes=4 * counted.parameters,
        io_bytes=sum(array[:1].nbytes for array in (*inputs.values(), *right.outputs.values())),
        distinct_inputs=len(next(iter(inputs.values()))),
        bounds=(),
        quality=None,
        source="; ".join(told)[:SOURCE_MAX],
    )


def _specs(arrays: Arrays, batch: int | None) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, str(array.dtype), (batch, *array.shape[1:])) for name, array in arrays.items())


def _seal(folder: Path, external: tuple[str, ...]) -> None:
    graph = (folder / user.MODEL).parent
    (folder / SEALS).write_text(json.dumps({location: _state(graph / location) for location in external}))


def _restore(source: Source, home: Path) -> None:
    """Link external data anew that was changed through the user's own file, which has its old content again."""
    graph = (home / user.MODEL).parent
    seals = json.loads((home / SEALS).read_text())
    changed = [location for location in source.external if _state(graph / location) != seals[location]]
    for location in changed:
        (graph / location).unlink(missing_ok=True)
        onnxfile.place(source.external[location].resolve(), graph / location)
    if changed:
        _seal(home, tuple(seals))


def _state(path: Path) -> list[int]:
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else []
