"""How much work an ONNX graph is: parameters, and the operations of its matrix products and convolutions.

A multiply-add counts as two operations, as on the cards of our own workloads. Shapes are those that onnx infers.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workloads.onnxfile import OTHER_FLOATS, OnnxFile, dtype_of

SMALL = 1024
"""Elements of the largest tensor that shape inference may have to read: shapes, never weights."""
STANDARD = ("", "ai.onnx")
CHEAP = frozenset(
    """BiasGelu BiasSplitGelu EmbedLayerNormalization FastGelu Gelu LayerNormalization QuickGelu RotaryEmbedding
    SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization""".split()  # noqa: SIM905
)
"""Operators beyond the standard that hold no matrix product."""
UNKNOWN = frozenset({"Attention", "DeformConv", "DFT", "STFT"})

Shape = Sequence[int]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Count:
    """`flops` of one sample; None: `why` says which operator could not be counted."""

    parameters: int
    flops: int | None
    why: str = ""


class _UncountedError(Exception):
    pass


def count(file: OnnxFile) -> Count:
    """Count a file whose dimensions are fixed but for the sample axis."""
    weights = [t for t in file.proto.graph.initializer if _is_weight(t.data_type)]
    constants = [a.t for n in file.proto.graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")]
    weights += [t for t in constants if t.dims and _is_weight(t.data_type)]
    parameters = sum(math.prod(t.dims) for t in weights)
    try:
        return Count(parameters, _flops(file))
    except _UncountedError as error:
        return Count(parameters, None, str(error))


def _is_weight(code: int) -> bool:
    return dtype_of(code).startswith(("float32", *OTHER_FLOATS))


def _flops(file: OnnxFile) -> int:
    proto = _folded(_skeleton(_inlined(file.proto), file.batch or 1))
    shapes = _shapes(proto)
    return round(sum(_of_node(node, shapes) for node in proto.graph.node) / (file.batch or 1))


def _inlined(proto: Any) -> Any:
    if not proto.functions:
        return proto
    from onnx import inliner

    return inliner.inline_local_functions(proto)


def _folded(skeleton: Any) -> Any:
    """The graph with what is known beforehand computed, by onnxruntime: shapes that later shapes are inferred from."""
    if find_spec("onnxruntime") is None:
        return skeleton
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(
                skeleton.SerializeToString(),
                options,
                ["CPUExecutionProvider"],
                disabled_optimizers=["CommonSubexpressionElimination"],
            )
        except Exception:  # noqa: BLE001 - a graph that it cannot load is told by the reference run, if there is one
            return skeleton
        return onnx.load(options.optimized_model_filepath)


def _shapes(proto: Any) -> dict[str, Shape]:
    """Shapes that are known to the last size, by tensor."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise _UncountedError(f"shapes cannot be inferred: {str(error).splitlines()[0]}") from error
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    found = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    found.update({tensor.name: list(tensor.dims) for tensor in proto.graph.initializer})
    return {name: shape for name, shape in found.items() if all(size > 0 for size in shape)}


def _skeleton(proto: Any, batch: int) -> Any:
    """The same graph at one batch, with inputs in place of weights, so that nothing large is copied."""
    from onnx import helper

    graph = proto.graph
    small = [t for t in graph.initializer if math.prod(t.dims) <= SMALL and t.data_location != t.EXTERNAL]
    large = [t for t in graph.initializer if math.prod(t.dims) > SMALL or t.data_location == t.EXTERNAL]
    stored = {tensor.name for tensor in graph.initializer}
    made = helper.make_graph(list(graph.node), "skeleton", [], [], initializer=small)
    made.input.extend(value for value in graph.input if value.name not in stored)
    for value in made.input:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    made.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large)
    made.output.extend(graph.output)
    for value in made.output:
        value.type.tensor_type.ClearField("shape")
    return helper.make_model(made, opset_imports=list(proto.opset_import), ir_version=proto.ir_version)


def _of_node(node: Any, shapes: Shapes) -> int:
    if node.op_type in COUNTERS:
        return COUNTERS[node.op_type](_Node(node, shapes))
    foreign = node.domain not in STANDARD and node.op_type not in CHEAP
    if foreign or node.op_type in UNKNOWN:
        raise _UncountedError(f"operator {node.op_type} has no count")
    if any(_holds_products(attribute.g) for attribute in node.attribute if attribute.HasField("g")):
        raise _UncountedError(f"operator {node.op_type} has matrix products inside, and decides itself how often")
    return 0


def _holds_products(graph: Any) -> bool:
    inner = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    return any(node.op_type in COUNTERS or node.op_type in UNKNOWN for node in graph.node) or any(
        _holds_products(subgraph) for subgraph in inner
    )


class _Node:
    """A node with the shapes of its tensors; raises _UncountedError for one that is not known."""

    def __init__(self, node: Any, shapes: Shapes) -> None:
        self._node, self._shapes = node, shapes

    def input(self, index: int) -> Shape:
        return self._shape(self._node.input[index])

    def output(self) -> Shape:
        return self._shape(self._node.output[0])

    def attribute(self, name: str, default: Any) -> Any:
        from onnx import helper

        return next((helper.get_attribute_value(a) for a in self._node.attribute if a.name == name), default)

    def _shape(self, name: str) -> Shape:
        if name not in self._shapes:
            raise _UncountedError(f"operator {self._node.op_type} works on {name}, whose shape is not known")
        return self._shapes[name]


def _conv(node: _Node) -> int:
    return 2 * math.prod(node.output()) * math.prod(node.input(1)[1:])


def _conv_transpose(node: _Node) -> int:
    return 2 * math.prod(node.input(0)) * math.prod(node.input(1)[1:])


def _matmul(node: _Node) -> int:
    return 2 * math.prod(node.output()) * node.input(0)[-1]


def _gemm(node: _Node) -> int:
    return 2 * math.prod(node.output()) * node.input(0)[0 if node.attribute("transA", 0) else 1]


def _recurrent(node: _Node) -> int:
    """Axes 0 and 1 of X are steps and batch, in either order; W and R apply at every step."""
    return 2 * math.prod(node.input(0)[:2]) * (math.prod(node.input(1)) + math.prod(node.input(2)))


def _einsum(node: _Node) -> int:
    equation = node.attribute("equation", b"").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "." in equation or len(terms) > 2:
        raise _UncountedError(f"operator Einsum({equation}) has no count")
    lengths = {letter: size for i, term in enumerate(terms) for letter, size in zip(term, node.input(i))}
    return 2 * math.prod(lengths.values()) if len(terms) == 2 else 0


COUNTERS: Mapping[str, Callable[[_Node], int]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Einsum": _einsum,
}
