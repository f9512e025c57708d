"""Operators of TFLite that compute element by element, along axes, or move data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._tflite.graph import Node
from workloads.forms._tflite.lowering import NHWC, Lowering

UNARY = {
    "Relu": "RELU", "Tanh": "TANH", "Sigmoid": "LOGISTIC", "Sqrt": "SQRT", "Cos": "COS", "Sin": "SIN", "Exp": "EXP",
    "Neg": "NEG", "Abs": "ABS", "Log": "LOG", "HardSwish": "HARD_SWISH",
}  # fmt: skip
BINARY = {"Add": "ADD", "Mul": "MUL", "Sub": "SUB", "Div": "DIV", "Pow": "POW"}
FUSED = ("ADD", "MUL", "SUB", "DIV")
REDUCERS = {"ReduceMean": "MEAN", "ReduceSum": "SUM", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN"}


def unary(to: Lowering, node: Node) -> None:
    nhwc = to.is_image(node.inputs[0])
    to.emit(UNARY[node.kind], node, [to.use(node.inputs[0], nhwc)], nhwc=nhwc)


def binary(to: Lowering, node: Node) -> None:
    """Both operands in one layout: that of the images among them, if the result has their four axes."""
    nhwc = any(to.is_image(name) for name in node.inputs) and all(
        name in to.graph.constants or len(to.shape(name)) == 4 for name in node.inputs
    )
    kind = BINARY[node.kind]
    inputs = [to.use(name, nhwc) for name in node.inputs]
    if kind in FUSED:
        options = f"{kind.capitalize()}Options"
        to.emit(kind, node, inputs, options, nhwc, fusedActivationFunction=None)
    else:
        to.emit(kind, node, inputs, f"{kind.capitalize()}Options", nhwc)


def reduce(to: Lowering, node: Node) -> None:
    """Over an image's own axes it stays as it lies; other axes are those of ONNX's order."""
    rank, keep = len(to.shape(node.inputs[0])), bool(node.attributes.get("keepdims", 1))
    axes = sorted(axis % rank for axis in _axes(to, node, rank))
    nhwc = to.is_image(node.inputs[0]) and (keep or axes == [2, 3])
    ordered = sorted(NHWC.index(axis) for axis in axes) if nhwc else axes
    inputs = [to.use(node.inputs[0], nhwc), to.integers(f"{node.outputs[0]}/axes", ordered)]
    to.emit(REDUCERS[node.kind], node, inputs, "ReducerOptions", nhwc and keep, keepDims=keep)


def _axes(to: Lowering, node: Node, rank: int) -> Sequence[int]:
    if "axes" in node.attributes:
        return [int(axis) for axis in node.attributes["axes"]]
    if len(node.inputs) > 1 and node.inputs[1]:
        return [int(axis) for axis in to.constant_of(node, 1)]
    if node.attributes.get("noop_with_empty_axes", 0):
        raise Unsupported(f"tflite cannot lower {node.kind} {node.outputs[0]} over no axis")
    return range(rank)


def softmax(to: Lowering, node: Node) -> None:
    axis = int(node.attributes.get("axis", -1))
    if axis % len(to.shape(node.inputs[0])) != len(to.shape(node.inputs[0])) - 1:
        raise Unsupported(f"tflite cannot lower Softmax {node.outputs[0]} over axis {axis}, only over the last")
    to.emit("SOFTMAX", node, [to.use(node.inputs[0])], "SoftmaxOptions", beta=1.0)


def gather(to: Lowering, node: Node) -> None:
    """Constant indices that count from the end are counted from the beginning."""
    axis, name = int(node.attributes.get("axis", 0)), node.inputs[1]
    size = to.shape(node.inputs[0])[axis]
    indices = to.use(name)
    if name in to.graph.constants and to.graph.constants[name].min() < 0:
        if size is None:
            raise Unsupported(f"tflite cannot lower Gather {node.outputs[0]} from the end of a free size")
        indices = to.file.constant(name, to.graph.constants[name] % size)
    to.emit("GATHER", node, [to.use(node.inputs[0]), indices], "GatherOptions", axis=axis)


def cast(to: Lowering, node: Node) -> None:
    """Cast and CastLike: the type is that of the output."""
    nhwc = to.is_image(node.inputs[0])
    to.emit("CAST", node, [to.use(node.inputs[0], nhwc)], "CastOptions", nhwc)


def transpose(to: Lowering, node: Node) -> None:
    order = node.attributes.get("perm") or list(reversed(range(len(to.shape(node.inputs[0])))))
    inputs = [to.use(node.inputs[0]), to.integers(f"{node.outputs[0]}/order", [int(axis) for axis in order])]
    to.emit("TRANSPOSE", node, inputs, "TransposeOptions")


def cut(to: Lowering, node: Node) -> None:
    """Slice with constant bounds; an axis that it does not name, or takes whole, is masked."""
    shape, name = to.shape(node.inputs[0]), node.outputs[0]
    begins, ends, steps = [0] * len(shape), [size or 0 for size in shape], [1] * len(shape)
    whole = (1 << len(shape)) - 1
    bounds = [[int(n) for n in to.constant_of(node, at)] for at in range(1, len(node.inputs)) if node.inputs[at]]
    starts, stops = bounds[:2]
    axes = bounds[2] if len(bounds) > 2 else list(range(len(starts)))
    for at, axis in enumerate(axes):
        size = shape[axis]
        steps[axis] = bounds[3][at] if len(bounds) > 3 else 1
        if size is None or steps[axis] < 1:
            raise Unsupported(f"tflite cannot lower Slice {name} of a free size, or backwards")
        begins[axis], ends[axis], _ = slice(starts[at], stops[at]).indices(size)
        whole &= ~(1 << axis % len(shape))
    inputs = [to.use(node.inputs[0])]
    inputs += [
        to.integers(f"{name}/{what}", each) for what, each in (("begin", begins), ("end", ends), ("step", steps))
    ]
    to.emit("STRIDED_SLICE", node, inputs, "StridedSliceOptions", beginMask=whole, endMask=whole)


def pad(to: Lowering, node: Node) -> None:
    """A Pad of zeros at constant places, in the layout that the value lies in."""
    sizes = to.constant_of(node, 1).reshape(2, -1).T
    value = to.constant_of(node, 2) if len(node.inputs) > 2 and node.inputs[2] else 0
    if node.attributes.get("mode", b"constant") != b"constant" or value or len(node.inputs) > 3 or sizes.min() < 0:
        raise Unsupported(f"tflite cannot lower Pad {node.outputs[0]}: only zeros around all axes")
    nhwc = to.is_image(node.inputs[0])
    ordered = sizes[list(NHWC)] if nhwc else sizes
    constant = to.file.constant(f"{node.outputs[0]}/pads", ordered.astype(np.int32))
    to.emit("PAD", node, [to.use(node.inputs[0], nhwc), constant], "PadOptions", nhwc)


def power(to: Lowering, node: Node) -> None:
    """A square is a product: POW would take a logarithm."""
    exponent = to.graph.constants.get(node.inputs[1])
    if exponent is None or exponent.size != 1 or float(exponent.reshape(-1)[0]) != 2.0:
        return binary(to, node)
    nhwc = to.is_image(node.inputs[0])
    factor = to.use(node.inputs[0], nhwc)
    return to.emit("MUL", node, [factor, factor], "MulOptions", nhwc, fusedActivationFunction=None)


def reciprocal(to: Lowering, node: Node) -> None:
    nhwc = to.is_image(node.inputs[0])
    one = to.file.constant("one", np.ones((), np.float32))
    to.emit("DIV", node, [one, to.use(node.inputs[0], nhwc)], "DivOptions", nhwc, fusedActivationFunction=None)


def gelu(to: Lowering, node: Node) -> None:
    nhwc = to.is_image(node.inputs[0])
    approximate = node.attributes.get("approximate", b"none") == b"tanh"
    to.emit("GELU", node, [to.use(node.inputs[0], nhwc)], "GeluOptions", nhwc, approximate=approximate)


def layer_normalization(to: Lowering, node: Node) -> None:
    """Over the last axis, step by step: TFLite has no operator for it."""
    name, shape = node.outputs[0], to.shape(node.inputs[0])
    if int(node.attributes.get("axis", -1)) % len(shape) != len(shape) - 1 or len(node.outputs) > 1:
        raise Unsupported(f"tflite cannot lower LayerNormalization {name} over more than the last axis")
    narrow, none = (*shape[:-1], 1), {"fusedActivationFunction": 0}
    axis = to.integers(f"{name}/axis", (len(shape) - 1,))
    epsilon = to.file.constant(f"{name}/epsilon", np.array(node.attributes.get("epsilon", 1e-5), np.float32))
    x = to.use(node.inputs[0])
    mean = to.step("MEAN", f"{name}/mean", narrow, [x, axis], "ReducerOptions", keepDims=True)
    centred = to.step("SUB", f"{name}/centred", shape, [x, mean], "SubOptions", **none)
    squared = to.step("MUL", f"{name}/squared", shape, [centred, centred], "MulOptions", **none)
    variance = to.step("MEAN", f"{name}/variance", narrow, [squared, axis], "ReducerOptions", keepDims=True)
    raised = to.step("ADD", f"{name}/raised", narrow, [variance, epsilon], "AddOptions", **none)
    inverse = to.step("RSQRT", f"{name}/inverse", narrow, [raised])
    normal = to.step("MUL", f"{name}/normal", shape, [centred, inverse], "MulOptions", **none)
    if len(node.inputs) < 3:
        return to.emit("MUL", node, [normal, to.use(node.inputs[1])], "MulOptions", fusedActivationFunction=None)
    scaled = to.step("MUL", f"{name}/scaled", shape, [normal, to.use(node.inputs[1])], "MulOptions", **none)
    return to.emit("ADD", node, [scaled, to.use(node.inputs[2])], "AddOptions", fusedActivationFunction=None)


def concat(to: Lowering, node: Node) -> None:
    rank = len(to.shape(node.outputs[0]))
    axis = int(node.attributes["axis"]) % rank
    nhwc = all(to.is_image(name) for name in node.inputs)
    ordered = NHWC.index(axis) if nhwc else axis
    inputs = [to.use(name, nhwc) for name in node.inputs]
    to.emit("CONCATENATION", node, inputs, "ConcatenationOptions", nhwc, axis=ordered, fusedActivationFunction=None)
