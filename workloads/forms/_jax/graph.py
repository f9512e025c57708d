"""Reads an ONNX file into a graph that can be evaluated, its weights mapped and not copied. Needs the package onnx."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax import elementwise, indexing, layers, quantised, reductions, shaping  # noqa: F401 - fill the table
from workloads.forms._jax.operators import OPERATORS, Operator, place
from workloads.forms._source import DOMAINS, check_opset

if TYPE_CHECKING:
    from workloads.contract import Array

PARAMETER_MIN = 257
"""Elements from which on weights are an argument of the function and no constant in it: every argument of a call costs
time (130 µs for 300 of them, jax 0.10.2 on a CPU), and large constants in a program cost memory twice."""
TYPES = ("bool", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


@dataclass(frozen=True)
class Node:
    """One operation; "" stands for an input or output that is left out."""

    operator: Operator
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def evaluate(self, jax: Any, real: Any, values: dict[str, Any]) -> None:
        """Reads its inputs from `values` by name and adds its outputs."""
        arguments = [values[name] if name else None for name in self.inputs]
        try:
            found = quantised.evaluate(jax, real, self.operator, arguments, len(self.outputs), self.attributes)
        except Unsupported as why:
            raise Unsupported(f"operator {self.operator.name} ({self.name}): {why}") from why
        values.update(zip(self.outputs, found if isinstance(found, tuple) else (found,)))


@dataclass(frozen=True)
class Graph:
    """`params` are the large weights by name, floats or bytes, `constants` all else that is stored; nodes in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Array]
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]

    def evaluate(self, jax: Any, real: Any, params: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Its outputs; floats are `real`, as `Operator.apply` says."""
        values: dict[str, Any] = {**self.constants, **params, **dict(zip(self.inputs, inputs))}
        for node in self.nodes:
            node.evaluate(jax, real, values)
        found = quantised.plain(jax, real, [values[name] for name in self.outputs])
        return tuple(place(jax, real, value) for value in found)


def read(path: Path) -> Graph:
    """The graph in an ONNX file; Unsupported for what cannot be computed, naming it."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    check_opset(proto)
    graph, reader = proto.graph, _Reader(path.parent)
    if graph.sparse_initializer:
        raise Unsupported(f"tensor {graph.sparse_initializer[0].values.name} is sparse")
    stored = {tensor.name: reader.tensor(tensor) for tensor in graph.initializer}
    stored.update({node.output[0]: reader.constant(node) for node in graph.node if _is_constant(node)})
    params = {name: array for name, array in stored.items() if _is_parameter(array)}
    return Graph(
        tuple(value.name for value in graph.input if value.name not in stored),
        tuple(value.name for value in graph.output),
        params,
        {name: np.array(array) for name, array in stored.items() if name not in params},
        tuple(reader.node(node) for node in graph.node if not _is_constant(node)),
    )


class _Reader:
    """Turns onnx's objects into ours. Files with weights are mapped once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Array] = {}

    def node(self, node: Any) -> Node:
        kind = f"{node.domain}.{node.op_type}" if node.domain not in DOMAINS else node.op_type
        name = node.name or (node.output[0] if node.output else "without a name")
        if kind not in OPERATORS:
            raise Unsupported(f"operator {kind} ({name}) has no counterpart in JAX here: workloads/forms/_jax")
        attributes = {one.name: self._attribute(one) for one in node.attribute}
        outputs = tuple(node.output)
        while outputs and not outputs[-1]:
            outputs = outputs[:-1]
        try:
            OPERATORS[kind].check(len(node.input), len(outputs), attributes)
        except Unsupported as why:
            raise Unsupported(f"operator {kind} ({name}): {why}") from why
        return Node(OPERATORS[kind], name, tuple(node.input), outputs, attributes)

    def constant(self, node: Any) -> Array:
        """The value of a node Constant."""
        (attribute,) = node.attribute
        if attribute.name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            raise Unsupported(f"operator Constant ({node.output[0]}): attribute {attribute.name} is not known")
        value = self._attribute(attribute)
        if attribute.name == "value":
            return np.asarray(value)
        return np.array(value, np.float32 if "float" in attribute.name else np.int64)

    def tensor(self, tensor: Any) -> Array:
        """A stored tensor; what lies in a file of its own is mapped."""
        from onnx import helper, numpy_helper

        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        if dtype.name not in TYPES:
            raise Unsupported(f"tensor {tensor.name} is {dtype.name}; computed are {', '.join(TYPES)}")
        if tensor.data_location != tensor.EXTERNAL:
            array: Array = numpy_helper.to_array(tensor)
            return array
        where = {entry.key: entry.value for entry in tensor.external_data}
        offset, size = int(where.get("offset", 0)), dtype.itemsize * math.prod(tensor.dims)
        return self._mapped(where["location"])[offset : offset + size].view(dtype).reshape(tuple(tensor.dims))

    def _attribute(self, attribute: Any) -> Any:
        """Its value; text as text and a tensor as an array."""
        from onnx import helper

        value = helper.get_attribute_value(attribute)
        if attribute.type == attribute.TENSOR:
            return self.tensor(value)
        if attribute.type == attribute.STRING:
            return value.decode()
        return list(value) if isinstance(value, Sequence) else value

    def _mapped(self, location: str) -> Array:
        path = Path(location)
        if path.is_absolute() or ".." in path.parts:
            raise Unsupported(f"external data {location} lies outside of the model's folder")
        if location not in self._files:
            self._files[location] = np.memmap(self._folder / path, np.uint8, mode="r")
        return self._files[location]


def _is_parameter(array: Array) -> bool:
    """Zero points, which are bytes too, are of one dimension."""
    weights = array.dtype == "float32" or (array.dtype.name in quantised.BYTES and array.ndim > 1)
    return bool(weights and array.size >= PARAMETER_MIN)


def _is_constant(node: Any) -> bool:
    return bool(node.op_type == "Constant" and node.domain in DOMAINS)
