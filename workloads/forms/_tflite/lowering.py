"""The values of a graph as tensors of a TFLite file, each in the layout that its readers need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.contract import Array, Unsupported
from workloads.forms._tflite.file import TfliteFile
from workloads.forms._tflite.graph import Graph, Node

NHWC = (0, 2, 3, 1)
"""Axes of an NCHW array in the order of NHWC."""
NCHW = (0, 3, 1, 2)
MARK = ":nhwc"
IMAGE_KINDS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class Value:
    """A tensor of the file. `nhwc`: it is an image, whose channels come last. `image` is the (C, H, W) of one that was
    flattened with its channels last."""

    tensor: int
    nhwc: bool = False
    image: tuple[int, int, int] | None = None


class Lowering:
    """The file under construction, and what every value of the graph has become in it."""

    def __init__(self, graph: Graph, file: TfliteFile) -> None:
        self.graph = graph
        self.file = file
        self.values: dict[str, Value] = {}
        self._transposed: dict[tuple[str, bool], int] = {}
        images = any(node.kind in IMAGE_KINDS for node in graph.nodes)
        for name in graph.inputs:
            self.values[name] = self._tensor(name, nhwc=images and len(graph.shapes[name]) == 4)

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Of a value or a constant, in ONNX's order of axes."""
        constant = self.graph.constants.get(name)
        return self.graph.shapes[name] if constant is None else constant.shape

    def is_image(self, name: str) -> bool:
        """Whether a value lies in the file with its channels last."""
        return name in self.values and self.values[name].nhwc

    def use(self, name: str, nhwc: bool = False) -> int:
        """The tensor of a value or constant in the layout asked for, transposed where it lies in the other."""
        if name in self.graph.constants:
            return self._constant(name, nhwc)
        value = self.values[name]
        if value.nhwc == nhwc:
            return value.tensor
        key = (name, nhwc)
        if key not in self._transposed:
            order = NHWC if nhwc else NCHW
            shape = reordered(self.graph.shapes[name], NHWC) if nhwc else self.graph.shapes[name]
            tensor = self.file.tensor(f"{name}/{'nhwc' if nhwc else 'nchw'}", shape, self.graph.dtypes[name])
            self.file.operator(
                "TRANSPOSE", [value.tensor, self.integers(f"{name}/order", order)], [tensor], "TransposeOptions"
            )
            self._transposed[key] = tensor
        return self._transposed[key]

    def integers(self, name: str, values: Sequence[int]) -> int:
        """A constant vector of int32, as TFLite takes axes, shapes and paddings."""
        return self.file.constant(name, np.array(values, np.int32))

    def constant_of(self, node: Node, at: int) -> Array:
        """The constant that is `node`'s input number `at`; raises Unsupported where it is computed."""
        name = node.inputs[at]
        if name not in self.graph.constants:
            raise Unsupported(f"tflite cannot lower {node.kind} {node.outputs[0]}, whose {name} is computed")
        return self.graph.constants[name]

    def emit(
        self,
        kind: str,
        node: Node,
        inputs: Sequence[int],
        options: str = "",
        nhwc: bool = False,
        image: tuple[int, int, int] | None = None,
        **values: Any,
    ) -> None:
        """An operator whose output is `node`'s, with its activation."""
        made = self._tensor(node.outputs[0], nhwc)
        self.values[node.outputs[0]] = Value(made.tensor, nhwc, image)
        if "fusedActivationFunction" in values:
            values["fusedActivationFunction"] = self.file.number("ActivationFunctionType", node.activation)
        elif node.activation != "NONE":
            raise ValueError(f"{kind} {node.outputs[0]} would lose its {node.activation}")
        self.file.operator(kind, inputs, [made.tensor], options, **values)

    def step(
        self, kind: str, name: str, shape: Sequence[int | None], inputs: Sequence[int], options: str = "", **values: Any
    ) -> int:
        """One of several operators that a node becomes: the fp32 tensor that it computes."""
        made = self.file.tensor(name, shape, np.dtype(np.float32))
        self.file.operator(kind, inputs, [made], options, **values)
        return made

    def serialised(self) -> bytes:
        for name in self.graph.outputs:
            if name not in self.values:
                raise Unsupported(f"tflite cannot give {name}, which depends on no input")
        return self.file.serialised(self._tensors(self.graph.inputs), self._tensors(self.graph.outputs))

    def _tensors(self, names: Sequence[str]) -> Mapping[str, int]:
        return {name: self.values[name].tensor for name in names}

    def _tensor(self, name: str, nhwc: bool) -> Value:
        shape, outward = self.graph.shapes[name], name in (*self.graph.inputs, *self.graph.outputs)
        named = f"{name}{MARK}" if nhwc and outward else name
        ordered = reordered(shape, NHWC) if nhwc else shape
        return Value(self.file.tensor(named, ordered, self.graph.dtypes[name]), nhwc)

    def _constant(self, name: str, nhwc: bool) -> int:
        array = self.graph.constants[name]
        if nhwc:
            array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(NHWC)
        return self.file.constant(name, array)


def reordered(shape: Sequence[int | None], order: Sequence[int]) -> tuple[int | None, ...]:
    return tuple(shape[axis] for axis in order)
