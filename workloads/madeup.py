"""Inputs for a graph whose user gave none: valid ones, found by looking at what the graph does with each.

Floating inputs are noise of variance about 1. Integers index tables, so their range is the table's; masks let all pass.
What a value means cannot be known: for real data there is `--inputs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads import generator
from workloads.onnxfile import OnnxFile, Tensor

THROUGH = frozenset(
    "Cast Concat Expand Flatten Identity Max Min Reshape Slice Split Squeeze Tile Transpose Unsqueeze Where".split()  # noqa: SIM905
)
"""Operators that hand an index on as it is."""
COLOURS = (1, 3, 4)
VARIANCE_ONE = 3**0.5
BYTES = range(256)


@dataclass(frozen=True)
class MadeUp:
    """`arrays` by input name; `told` says in words what each holds."""

    arrays: Mapping[str, Any]
    told: tuple[str, ...]


def inputs(file: OnnxFile, count: int, stream: str) -> MadeUp:
    """`count` samples for a file whose dimensions are fixed but for the sample axis, from a named stream."""
    graph = _Graph(file.proto.graph)
    made = {tensor.name: _values(tensor, count, f"{stream}/{tensor.name}", graph) for tensor in file.inputs}
    told = tuple(f"{name}: {what}" for name, (_, what) in made.items())
    return MadeUp({name: array for name, (array, _) in made.items()}, told)


def _values(tensor: Tensor, count: int, stream: str, graph: _Graph) -> tuple[Any, str]:
    shape = (count, *(int(size) for size in tensor.dims[1:]))
    array, what = _drawn(tensor, shape, stream, graph)
    return array.astype(tensor.dtype), what


def _drawn(tensor: Tensor, shape: tuple[int, ...], stream: str, graph: _Graph) -> tuple[Any, str]:
    name = tensor.name.lower()
    if tensor.dtype == "float32" and "mask" not in name:
        return _noise(shape, stream)
    if "position" in name:
        longest = graph.rows(tensor.name) or shape[-1]
        return np.broadcast_to(np.arange(shape[-1]) % longest, shape), "positions from 0 on"
    if "token_type" in name or "segment" in name:
        return np.zeros(shape), "zeros"
    if rows := graph.rows(tensor.name):
        return generator.integers(stream, shape, 0, rows), f"random rows of a table of {rows:,}"
    if "mask" in name or graph.is_mask(tensor.name):
        return np.ones(shape), "ones, as a mask that lets all pass"
    if tensor.dtype == "uint8" and len(shape) == 4:
        return generator.integers(stream, shape, BYTES.start, BYTES.stop), "random bytes"
    return generator.integers(stream, shape, 0, 2), "random 0 and 1, as nothing in the graph tells its range"


def _noise(shape: tuple[int, ...], stream: str) -> tuple[Any, str]:
    """Images get noise of every scale, as networks answer white noise with almost one and the same output."""
    if len(shape) == 4 and shape[1] in COLOURS:
        return generator.fields(stream, (shape[0], shape[1], shape[2], shape[3])), "random images"
    if len(shape) == 4 and shape[3] in COLOURS:
        images = generator.fields(stream, (shape[0], shape[3], shape[1], shape[2]))
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1)), "random images"
    return generator.uniform(stream, shape, VARIANCE_ONE), "uniform noise of variance 1"


class _Graph:
    """Who uses a tensor, in the main graph."""

    def __init__(self, graph: Any) -> None:
        self._users: dict[str, list[Any]] = {}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def rows(self, name: str) -> int | None:
        """How many rows the smallest stored table has that this tensor picks rows of; None: it indexes none."""
        sizes = [size for alias in self._aliases(name) for size in self._tables(alias)]
        return min(sizes, default=None)

    def is_mask(self, name: str) -> bool:
        """Whether some use of it makes a factor or a truth value of it."""
        ends = [node for alias in self._aliases(name) for node in self._users.get(alias, ())]
        return any(_casts_to_number(node) for node in ends)

    def _aliases(self, name: str) -> Iterator[str]:
        """The tensor, and everything that holds its values."""
        seen, waiting = {name}, [name]
        while waiting:
            yield (current := waiting.pop())
            for node in self._users.get(current, ()):
                if node.op_type in THROUGH:
                    waiting += [output for output in node.output if output not in seen]
                    seen.update(node.output)

    def _tables(self, name: str) -> Iterator[int]:
        for node in self._users.get(name, ()):
            if node.op_type == "Gather" and node.input[1] == name:
                shape = self._table(node.input[0])
                axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
                if shape:
                    yield shape[axis]

    def _table(self, name: str) -> Sequence[int]:
        """Shape of a stored tensor, or of a constant; nothing for one that is computed."""
        if name in self._stored:
            return self._stored[name]
        node = self._makers.get(name)
        if node is not None and node.op_type in ("Cast", "Identity"):
            return self._table(node.input[0])
        if node is not None and node.op_type == "Constant":
            return next((tuple(a.t.dims) for a in node.attribute if a.HasField("t")), ())
        return ()


def _casts_to_number(node: Any) -> bool:
    from onnx import TensorProto

    kinds = (TensorProto.FLOAT, TensorProto.BOOL)
    return node.op_type in ("Equal", "Not") or (
        node.op_type == "Cast" and any(a.name == "to" and a.i in kinds for a in node.attribute)
    )
