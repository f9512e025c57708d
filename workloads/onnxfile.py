"""A user's ONNX file: what it takes and gives, whether it can be measured, and a copy whose free dimensions are fixed.

Weights in external files are never read here: of a model of 100 GB this sees the graph alone. Needs the package onnx.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PROTOBUF_MAX_BYTES = 2**31 - 1
LFS_MAGIC = b"version https://git-lfs.github.com"
CONTAINERS = {"sequence_type": "a sequence", "optional_type": "an optional value", "map_type": "a map"}
CONTAINERS.update({"sparse_tensor_type": "a sparse tensor"})
OTHER_FLOATS = ("float64", "float16", "bfloat16", "float8", "float4")
DAMAGED = "it is no ONNX file, or it is cut off or damaged"
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")


class ModelFileError(ValueError):
    """A model that cannot be measured; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of the graph. A dimension that is free is its name; one without a name is called `x:2`."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read. `external` are the files with its weights, relative to it; `proto` is onnx's own object."""

    path: Path
    proto: Any
    external: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the free dimensions, the sample axis included."""
        names = [dim for tensor in self.inputs for dim in tensor.dims if isinstance(dim, str)]
        return tuple(dict.fromkeys(names))

    @property
    def batch(self) -> int | None:
        """The only batch that it takes; None: axis 0 is free."""
        size = self.inputs[0].dims[0]
        return size if isinstance(size, int) else None

    def fixed(self, sizes: Mapping[str, int]) -> OnnxFile:
        """The same with these free dimensions fixed, in the graph too."""
        _write_sizes(self.proto.graph, sizes)
        inputs = tuple(replace(t, dims=tuple(_sized(dim, sizes) for dim in t.dims)) for t in self.inputs)
        return replace(self, inputs=inputs)

    def check_fixed(self) -> None:
        """Raises ModelFileError where axis 0 is not the sample axis of every input, or another one is free."""
        _check_samples(self.inputs)
        for tensor in self.inputs:
            for axis, dim in enumerate(tensor.dims[1:], 1):
                if isinstance(dim, str):
                    raise ModelFileError(
                        f"dimension {dim} (axis {axis} of input {tensor.name}) is free: say how large it is, "
                        f"--dim {dim}=NUMBER, or give --inputs"
                    )

    def save(self, folder: Path, name: str) -> Path:
        """Write it to `folder`; external data is linked there, or copied where the file system cannot link."""
        path = folder / name
        path.write_bytes(self.proto.SerializeToString())
        for location in self.external:
            target = folder / location
            if target.exists():
                raise ModelFileError(f"its external data may not be called {location}: rename it, and save it again")
            target.parent.mkdir(parents=True, exist_ok=True)
            place((self.path.parent / location).resolve(), target)
        return path


def place(source: Path, target: Path) -> None:
    """`target` becomes `source`'s content without reading it, where the file system can."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def read(path: Path) -> OnnxFile:
    """Read and check a file; raises ModelFileError for what can never be measured."""
    proto = _parsed(path)
    try:
        return _checked(path, proto)
    except ModelFileError:
        raise
    except (TypeError, ValueError, KeyError) as error:  # text that is none, types that do not exist
        raise ModelFileError(f"{DAMAGED}: export or download it again") from error


def _checked(path: Path, proto: Any) -> OnnxFile:
    graph = proto.graph
    names = (name for node in graph.node for name in (node.op_type, node.domain, *node.input, *node.output))
    if any(isinstance(name, bytes) for name in (*names, *(value.name for value in (*graph.input, *graph.output)))):
        raise TypeError("a name that is no UTF-8")
    stored = {initializer.name for initializer in graph.initializer}
    inputs = tuple(_tensor("input", value) for value in graph.input if value.name not in stored)
    outputs = tuple(_tensor("output", value).name for value in graph.output)
    if not inputs or not outputs:
        raise ModelFileError(f"it has no {'outputs' if inputs else 'inputs'}: there is nothing to measure")
    external = _external(path, list(tensors(graph)))
    file = OnnxFile(path, proto, external, inputs, outputs)
    _check_precision(file)
    return file


def tensors(graph: Any) -> Iterator[Any]:
    """Every stored tensor, in subgraphs and constants too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from tensors(subgraph)


def dtype_of(code: int) -> str:
    """onnx's number of a type as numpy's name; "bfloat16" and the like, which numpy lacks, by onnx's."""
    from onnx import TensorProto

    names = {"FLOAT": "float32", "DOUBLE": "float64"}
    name: str = TensorProto.DataType.Name(code)
    return names.get(name, name.lower())


def _parsed(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    _check_file(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelFileError(f"{DAMAGED}: export or download it again") from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelFileError("it is no ONNX file, or one without a node: export it again")
    return proto


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelFileError("it is a folder without a config.json: name the .onnx file in it")
    if not path.exists():
        raise ModelFileError("there is no such file")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise ModelFileError("it is empty: export or download it again")
    if size_bytes > PROTOBUF_MAX_BYTES:
        raise ModelFileError("it is over 2 GB, more than protobuf can hold: save its weights as external data")
    with path.open("rb") as file:
        if file.read(len(LFS_MAGIC)) == LFS_MAGIC:
            raise ModelFileError("it is a Git LFS pointer, not the model: git lfs pull")


def _tensor(side: str, value: Any) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = CONTAINERS.get(kind, "of no known type")
        raise ModelFileError(f"its {side} {value.name} is {what}: only tensors can be measured")
    dtype = dtype_of(value.type.tensor_type.elem_type)
    if dtype in ("string", "undefined") or dtype.startswith("complex"):
        raise ModelFileError(f"its {side} {value.name} holds {dtype} values: only numbers can be measured")
    if side == "input" and not value.type.tensor_type.HasField("shape"):
        raise ModelFileError(f"its input {value.name} has no shape, not even a free one: export it with shapes")
    return Tensor(value.name, dtype, tuple(_dims(value)))


def _dims(value: Any) -> Iterator[int | str]:
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.dim_value > 0:
            yield dim.dim_value
        else:  # some exporters write 0 or -1 for a free one
            yield dim.dim_param or f"{value.name}:{axis}"


def _check_samples(inputs: Sequence[Tensor]) -> None:
    for tensor in inputs:
        if not tensor.dims:
            raise ModelFileError(
                f"input {tensor.name} is a scalar: axis 0 of every input has to be the sample axis; make it a constant"
            )
    firsts = {tensor.name: tensor.dims[0] for tensor in inputs}
    sizes = {size if isinstance(size, int) else None for size in firsts.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{name} {size}" for name, size in firsts.items())
        raise ModelFileError(
            f"axis 0 of its inputs differs ({told}), so it is not the sample axis of all: make those that samples "
            f"share constants, or fix the free ones with --dim"
        )


def _sized(dim: int | str, sizes: Mapping[str, int]) -> int | str:
    return sizes.get(dim, dim) if isinstance(dim, str) else dim


def _write_sizes(graph: Any, sizes: Mapping[str, int]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            name = dim.dim_param or f"{value.name}:{axis}"
            if dim.dim_value <= 0 and name in sizes:
                dim.dim_value = sizes[name]


def _external(path: Path, stored: Sequence[Any]) -> tuple[str, ...]:
    """Locations of external data, each checked to be there, long enough, and in the model's own folder."""
    found: dict[str, int] = {}
    for tensor in stored:
        if tensor.data_location == tensor.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
            found[location] = max(found.get(location, 0), end)
    for location, end in found.items():
        _check_external(path, location, end)
    return tuple(found)


def _check_external(path: Path, location: str, end: int) -> None:
    data = path.parent / location
    homes = (path.parent.resolve(), path.resolve().parent)  # a cache of links has both files in a folder elsewhere
    inside = data.resolve().is_relative_to(homes[0]) or data.resolve().parent == homes[1]
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or not inside:
        raise ModelFileError(f"its external data {location!r} leaves the model's folder: move it there")
    if not data.is_file():
        raise ModelFileError(f"its external data {location} is missing: put it beside the model")
    if (size := data.stat().st_size) < end:
        raise ModelFileError(f"its external data {location} is cut off: {size:,} of {end:,} bytes; copy it again")


def _check_precision(file: OnnxFile) -> None:
    """Techniques make the other precisions; a graph in one of them would be measured under the name of fp32."""
    if quantised := [n.op_type for n in file.proto.graph.node if n.op_type in QUANTISED or "QLinear" in n.op_type]:
        raise ModelFileError(f"it is quantised ({quantised[0]}), and only fp32 graphs can be measured yet")
    large = [(t.name, dtype_of(t.data_type)) for t in file.proto.graph.initializer if len(t.dims) > 1]
    for name, dtype in [*((tensor.name, tensor.dtype) for tensor in file.inputs), *large]:
        if dtype.startswith(OTHER_FLOATS):
            raise ModelFileError(f"its tensor {name} is {dtype}, and only fp32 graphs can be measured yet")
