"""The ONNX graph as quantizers want it: constants computed, BatchNormalization folded. Builds no form itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from workloads.contract import Unsupported
from workloads.forms._source import whole
from workloads.onnxfile import QUANTISED

if TYPE_CHECKING:
    from collections.abc import Sequence

PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Metadata by which ONNX Runtime's quantizer knows that its advice, to fold BatchNormalization first, was followed."""
GROWN_BYTES = 1 << 14
"""A constant as large as this is not kept where it is larger than what it is computed from."""


def prepared(path: Path, form: str, kinds: Collection[str]) -> Any:
    """The graph as an onnx.ModelProto with its weights, ready to have its layers of `kinds` quantised.

    Raises Unsupported for one that is quantised already, and where no layer of these kinds has weights.
    """
    import onnx
    import onnxruntime

    proto = whole(path, form)
    if done := sorted({node.op_type for node in proto.graph.node}.intersection(QUANTISED)):
        raise Unsupported(f"{path.stem} is quantised already, it has {done[0]}: start from the fp32 graph")
    fold_batch_normalization(proto.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory(prefix="prepared-") as folder:
        options.optimized_model_filepath = f"{folder}/prepared.onnx"
        onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    if not weighted(optimised.graph, kinds):
        raise Unsupported(f"{path.stem} has nothing to quantise: no {' or '.join(kinds)} with weights")
    compute_again(optimised.graph, proto.graph)
    optimised.metadata_props.add(key=PREPARED[0], value=PREPARED[1])
    return optimised


def weighted(graph: Any, kinds: Collection[str]) -> list[Any]:
    """The nodes of these kinds whose second input is a constant."""
    constants = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type in kinds and constants.intersection(node.input[1:2])]


def attends(graph: Any) -> bool:
    """Whether two computed tensors are multiplied with each other: attention, which only transformers have."""
    constants = {tensor.name for tensor in graph.initializer}
    return any(node.op_type == "MatMul" and not constants.intersection(node.input) for node in graph.node)


def compute_again(graph: Any, source: Any) -> None:
    """Leave computing a large constant, as a mask, to the engine: it compiles to the same, and the file is smaller.

    `source` is the graph before constants were computed.
    """
    makers = {name: node for node in source.node for name in node.output}
    given = {tensor.name: tensor for tensor in source.initializer}
    for tensor in [one for one in graph.initializer if one.name in makers and one.ByteSize() > GROWN_BYTES]:
        kept = {one.name for one in graph.initializer} - {tensor.name}
        nodes, leaves = _ancestry(tensor.name, makers, kept)
        missing = [name for name in leaves if name not in kept]
        if not all(name in given for name in missing):
            continue
        if sum(one.ByteSize() for one in (*nodes, *(given[name] for name in missing))) < tensor.ByteSize():
            graph.initializer.remove(tensor)
            graph.initializer.extend(given[name] for name in missing)
            _insert(graph, nodes)


def _ancestry(name: str, makers: Mapping[str, Any], kept: Collection[str]) -> tuple[list[Any], list[str]]:
    """What computes `name`, in order, and the names that this starts from."""
    nodes: list[Any] = []
    leaves: dict[str, None] = {}

    def visit(wanted: str) -> None:
        if wanted in kept or wanted not in makers:
            leaves[wanted] = None
        elif makers[wanted] not in nodes:
            for each in filter(None, makers[wanted].input):
                visit(each)
            nodes.append(makers[wanted])

    visit(name)
    return nodes, list(leaves)


def _insert(graph: Any, nodes: Sequence[Any]) -> None:
    """At the front, as they depend on constants only."""
    there = {name for node in graph.node for name in node.output}
    new = [node for node in nodes if there.isdisjoint(node.output)]
    for place, node in enumerate(new):
        graph.node.insert(place, node)


def fold_batch_normalization(graph: Any) -> None:
    """Take each BatchNormalization into the dense layer before it; ONNX Runtime does so with convolutions only."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    layers = {node.output[0]: node for node in graph.node if node.op_type == "Gemm" and len(node.input) == 3}
    for node in [one for one in graph.node if one.op_type == "BatchNormalization"]:
        dense = layers.get(node.input[0])
        if dense is None or any(_attribute(dense, name, 1.0) != 1.0 for name in ("alpha", "beta")):
            continue
        alone = all(readers[name] == 1 for name in (*dense.input[1:], node.input[0]))
        if alone and constants.keys() >= {*dense.input[1:], *node.input[1:]}:
            _fold(dense, node, constants)
            graph.node.remove(node)


def _fold(dense: Any, node: Any, constants: Mapping[str, Any]) -> None:
    """scale (x W + b - mean) / sqrt(variance + epsilon) + shift, as another W and b."""
    from onnx import numpy_helper

    weight, bias = dense.input[1:]
    scale, shift, mean, variance = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    factor = scale / (variance + _attribute(node, "epsilon", 1e-5)) ** 0.5
    by_row = factor[:, None] if _attribute(dense, "transB", 0) else factor
    folded = {
        weight: numpy_helper.to_array(constants[weight]) * by_row,
        bias: (numpy_helper.to_array(constants[bias]) - mean) * factor + shift,
    }
    for name, array in folded.items():
        constants[name].CopyFrom(numpy_helper.from_array(array.astype(scale.dtype), name))
    dense.output[0] = node.output[0]


def _attribute(node: Any, name: str, default: float) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)
