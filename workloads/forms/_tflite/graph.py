"""What a lowering to TFLite needs to know of an ONNX graph: shapes, constants, and the nodes that are left to lower.

The graph is walked twice, with every free size once 1 and once 2. What is the same in both walks is constant, what
differs depends on a free size, and becomes None in shapes. A value that does so only a Reshape may read: the shape of
its output says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from workloads.contract import Array, Unsupported
from workloads.forms._source import check_opset, whole

SIZES = (1, 2)
ACTIVATIONS = {"Relu": "RELU", "Clip": "RELU6"}
FUSING = ("Conv", "Gemm", "Add")
"""What takes an activation into itself: Edge TPU and Vela know no other fusions."""


@dataclass(frozen=True)
class Node:
    """One operator. `activation` is the one that was fused into it, by TFLite's name."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    activation: str = "NONE"


@dataclass
class Graph:
    """`shapes` and `dtypes` are those of every value that is no constant, in ONNX's order of axes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: list[Node]
    constants: dict[str, Array]
    shapes: dict[str, tuple[int | None, ...]]
    dtypes: dict[str, np.dtype[Any]]

    def users(self, name: str) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes if name in node.inputs]

    def only_user(self, name: str) -> Node | None:
        """The one node that reads a value which nothing else needs."""
        users = self.users(name)
        return users[0] if len(users) == 1 and name not in self.outputs and users[0].inputs.count(name) == 1 else None


@dataclass
class _Walk:
    """Types and constants of a graph whose free sizes are all `size`."""

    size: int
    types: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Array] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        tensor = self.types[name].tensor_type
        if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
            raise Unsupported(f"tflite needs the shape of {name}, which follows from the data only")
        return tuple(dim.dim_value for dim in tensor.shape.dim)


def read(path: Path) -> Graph:
    """The graph in `path`, simplified; raises Unsupported for operators and shapes that nobody could lower."""
    proto = whole(path, "tflite")
    check_opset(proto)
    walks = [_walk(proto, size) for size in SIZES]
    graph = _merged(proto.graph, *walks)
    for simplify in (_fold_identity, _fold_batch_normalization, _fold_pad, _fuse_activations):
        graph.nodes = simplify(graph)
    return graph


def _walk(proto: Any, size: int) -> _Walk:
    from onnx import numpy_helper

    walk = _Walk(size)
    walk.known = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in walk.known:
            walk.types[value.name] = _sized(value.type, size)
    for node in proto.graph.node:
        if node.op_type == "Shape" and node.input[0] in walk.types:
            walk.known[node.output[0]] = _shape(walk, node)
        elif all(name in walk.known for name in node.input if name):
            walk.known.update(zip(node.output, _evaluated(walk, node, proto)))
        else:
            walk.types.update(_inferred(walk, node, proto))
    return walk


def _sized(kind: Any, size: int) -> Any:
    import onnx

    sized = onnx.TypeProto()
    sized.CopyFrom(kind)
    for dim in sized.tensor_type.shape.dim:
        if dim.dim_value <= 0:
            dim.dim_value = size
    return sized


def _shape(walk: _Walk, node: Any) -> Array:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    shape = walk.shape(node.input[0]) if node.input[0] in walk.types else walk.known[node.input[0]].shape
    return np.array(shape[attributes.get("start", 0) : attributes.get("end")], np.int64)


def _evaluated(walk: _Walk, node: Any, proto: Any) -> Sequence[Array]:
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(node, opsets={one.domain: one.version for one in proto.opset_import})
        made: Any = evaluator.run(None, {name: walk.known[name] for name in node.input if name})
    except NotImplementedError as error:
        raise Unsupported(f"tflite cannot fold {node.op_type}: {error}") from error
    return list(made)


def _inferred(walk: _Walk, node: Any, proto: Any) -> Mapping[str, Any]:
    import onnx

    version = next((one.version for one in proto.opset_import if one.domain == node.domain), 1)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError as error:
        raise Unsupported(f"tflite has no operator {node.domain}.{node.op_type}") from error
    data = {name: onnx.numpy_helper.from_array(walk.known[name]) for name in node.input if name in walk.known}
    small = {name: tensor for name, tensor in data.items() if walk.known[name].size < 1024}
    types = {**{name: _type_of(tensor) for name, tensor in data.items()}}
    types.update({name: walk.types[name] for name in node.input if name in walk.types})
    try:
        return onnx.shape_inference.infer_node_outputs(
            schema, node, types, small, opset_imports=list(proto.opset_import), ir_version=proto.ir_version
        )
    except onnx.shape_inference.InferenceError as error:
        raise Unsupported(f"tflite: {node.op_type} {node.name} cannot be right: {error}") from error


def _type_of(tensor: Any) -> Any:
    from onnx import helper

    return helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))


def _merged(proto: Any, one: _Walk, two: _Walk) -> Graph:
    from onnx import helper

    constants = {name: array for name, array in one.known.items() if _equal(array, two.known[name])}
    nodes = [
        Node(
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
        )
        for node in proto.node
        if node.output[0] not in one.known
    ]
    read = {name for node in nodes if node.kind != "Reshape" for name in node.inputs}
    if free := sorted(read & one.known.keys() - constants.keys()):
        raise Unsupported(f"tflite cannot hold {free[0]}, which depends on a free size")
    return Graph(
        tuple(value.name for value in proto.input if value.name in one.types),
        tuple(value.name for value in proto.output),
        nodes,
        constants,
        {name: _shapes(one.shape(name), two.shape(name)) for name in one.types},
        {name: helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type) for name, kind in one.types.items()},
    )


def _equal(one: Array, two: Array) -> bool:
    return one is two or (one.shape == two.shape and np.array_equal(one, two))


def _shapes(one: Sequence[int], two: Sequence[int]) -> tuple[int | None, ...]:
    return tuple(a if a == b else None for a, b in zip(one, two))


def _fold_identity(graph: Graph) -> list[Node]:
    """Without nodes that only rename, as long as a name may be given up."""
    alias: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(alias.get(name, name) for name in node.inputs)
        if _only_renames(graph, node) and node.outputs[0] not in graph.outputs:
            alias[node.outputs[0]] = inputs[0]
        else:
            nodes.append(replace(node, inputs=inputs))
    return nodes


def _only_renames(graph: Graph, node: Node) -> bool:
    """Identity, Dropout, and a Slice that takes all there is; one that goes backwards keeps the shape and is none."""
    if node.kind == "Slice" and graph.shapes[node.outputs[0]] == graph.shapes.get(node.inputs[0]):
        return len(node.inputs) < 5 or bool((graph.constants.get(node.inputs[4], np.zeros(1)) == 1).all())
    return node.kind in ("Identity", "Dropout")


def _fold_batch_normalization(graph: Graph) -> list[Node]:
    """Each BatchNormalization is taken into the weights of the convolution or dense layer before it."""
    nodes: list[Node] = []
    for node in graph.nodes:
        before = next((one for one in nodes if node.inputs and one.outputs[0] == node.inputs[0]), None)
        if node.kind == "BatchNormalization" and before is not None and _may_fold(graph, before):
            nodes[nodes.index(before)] = _normalized(graph, before, node)
        else:
            nodes.append(node)
    return nodes


def _may_fold(graph: Graph, node: Node) -> bool:
    return (
        node.kind in ("Conv", "Gemm")
        and graph.only_user(node.outputs[0]) is not None
        and all(name in graph.constants for name in node.inputs[1:])
        and {node.attributes.get(name, 1.0) for name in ("alpha", "beta")} == {1.0}
    )


def _normalized(graph: Graph, node: Node, norm: Node) -> Node:
    """`node` with the normalization's scale and shift in its weights; computed in float64, rounded once."""
    gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in norm.inputs[1:5])
    factor = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    weight = graph.constants[node.inputs[1]].astype(np.float64)
    bias = graph.constants[node.inputs[2]].astype(np.float64) if len(node.inputs) > 2 else 0.0
    first = node.kind == "Conv" or node.attributes.get("transB", 0)
    scaled = weight * (factor.reshape(-1, *[1] * (weight.ndim - 1)) if first else factor)
    names = (f"{norm.outputs[0]}/weight", f"{norm.outputs[0]}/bias")
    graph.constants[names[0]] = scaled.astype(np.float32)
    graph.constants[names[1]] = (beta + (bias - mean) * factor).astype(np.float32)
    return replace(node, inputs=(node.inputs[0], *names), outputs=norm.outputs[:1])


def _fold_pad(graph: Graph) -> list[Node]:
    """A Pad of zeros around an image becomes the padding of the convolution behind it."""
    pads = {node.outputs[0]: node for node in graph.nodes if _is_image_pad(graph, node)}
    kept = dict(pads)
    nodes = []
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.kind == "Conv" and node.inputs else None
        if pad is not None and graph.only_user(pad.outputs[0]) is not None:
            sizes = graph.constants[pad.inputs[1]]
            added = [sizes[2], sizes[3], sizes[6], sizes[7]]
            both = [int(a + b) for a, b in zip(node.attributes.get("pads", [0, 0, 0, 0]), added)]
            node = replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), attributes={**node.attributes, "pads": both})
            del kept[pad.outputs[0]]
        nodes.append(node)
    return [node for node in nodes if node.outputs[0] in kept or node.outputs[0] not in pads]


def _is_image_pad(graph: Graph, node: Node) -> bool:
    if node.kind != "Pad" or node.attributes.get("mode", b"constant") != b"constant" or len(node.inputs) > 3:
        return False
    sizes = graph.constants.get(node.inputs[1])
    value = graph.constants.get(node.inputs[2], np.ones(1)) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    return (
        sizes is not None and len(sizes) == 8 and not sizes[[0, 1, 4, 5]].any() and min(sizes) >= 0 and not value.any()
    )


def _fuse_activations(graph: Graph) -> list[Node]:
    """ReLU and ReLU6 become part of the node before them, where nothing else reads that one's output."""
    nodes: list[Node] = []
    made: dict[str, int] = {}
    for node in graph.nodes:
        at = made.get(node.inputs[0]) if node.inputs else None
        if at is not None and _is_activation(graph, node) and graph.only_user(node.inputs[0]) is not None:
            nodes[at] = replace(nodes[at], outputs=node.outputs, activation=ACTIVATIONS[node.kind])
            continue
        if node.kind in FUSING:
            made[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return nodes


def _is_activation(graph: Graph, node: Node) -> bool:
    return node.kind == "Relu" or (node.kind == "Clip" and clip_bounds(graph, node) == (0.0, 6.0))


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float]:
    """What a Clip with constant bounds limits to; raises Unsupported for others."""
    limits = [-np.inf, np.inf]
    for at, name in enumerate(node.inputs[1:3]):
        if name and name not in graph.constants:
            raise Unsupported(f"tflite cannot lower Clip {node.outputs[0]}, whose bounds are computed")
        if name:
            limits[at] = float(graph.constants[name].reshape(()))
    return limits[0], limits[1]
