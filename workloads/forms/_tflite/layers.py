"""Layers of convolutional and dense networks as operators of TFLite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workloads.contract import Array, Unsupported
from workloads.forms._tflite.graph import Node, clip_bounds
from workloads.forms._tflite.lowering import NHWC, Lowering

CLIPS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 1.0): "RELU_0_TO_1", (0.0, np.inf): "RELU"}


def conv(to: Lowering, node: Node) -> None:
    """Convolutions over one axis or two."""
    weight = to.constant_of(node, 1)
    lower = {3: _conv_1d, 4: _conv_2d}.get(weight.ndim)
    if lower is None:
        raise Unsupported(f"tflite cannot lower Conv {node.outputs[0]} over {weight.ndim - 2} axes, only 1 or 2")
    lower(to, node, weight)


def _conv_2d(to: Lowering, node: Node, weight: Array) -> None:
    """Dense, or of one channel each. Weights are OHWI, or 1HWO where each channel has its own."""
    channels, groups = to.shape(node.inputs[0])[1], int(node.attributes.get("group", 1))
    dilations = [int(n) for n in node.attributes.get("dilations", (1, 1))]
    source, padding = _padded(to, node, weight.shape[2:], dilations)
    bias = to.constant_of(node, 2) if len(node.inputs) > 2 else np.zeros(weight.shape[0], np.float32)
    strides = [int(n) for n in node.attributes.get("strides", (1, 1))]
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": None,
    }
    depthwise = groups == channels and groups > 1
    if groups != 1 and not depthwise:
        raise Unsupported(f"tflite cannot lower Conv {node.outputs[0]} of {groups} groups with {channels} channels")
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    inputs = [
        source,
        to.file.constant(f"{node.outputs[0]}/weight", weight.transpose(order)),
        to.file.constant(f"{node.outputs[0]}/bias", bias),
    ]
    if depthwise:
        multiplier = weight.shape[0] // groups
        to.emit(
            "DEPTHWISE_CONV_2D", node, inputs, "DepthwiseConv2DOptions", True, depthMultiplier=multiplier, **options
        )
    else:
        to.emit("CONV_2D", node, inputs, "Conv2DOptions", True, **options)


def _conv_1d(to: Lowering, node: Node, weight: Array) -> None:
    """A convolution over one axis is one over an image of height 1: (N, C, L) goes in as (N, 1, L, C)."""
    name, (batch, channels, length) = node.outputs[0], to.shape(node.inputs[0])
    if any(node.attributes.get("pads", ())) or node.attributes.get("group", 1) != 1 or length is None:
        raise Unsupported(f"tflite cannot lower Conv {name} over one axis with pads, groups or a free length")
    order = to.integers(f"{name}/order", (0, 2, 1))
    last = to.step(
        "TRANSPOSE", f"{name}/nlc", (batch, length, channels), [to.use(node.inputs[0]), order], "TransposeOptions"
    )
    wide = to.integers(f"{name}/wide", (-1, 1, length, channels or 1))
    image = to.step("RESHAPE", f"{name}/image", (batch, 1, length, channels), [last, wide], "ReshapeOptions")
    outputs, made = len(weight), to.shape(name)[2]
    bias = to.constant_of(node, 2) if len(node.inputs) > 2 else np.zeros(outputs, np.float32)
    inputs = [
        image,
        to.file.constant(f"{name}/weight", weight[:, :, None].transpose(0, 2, 3, 1)),
        to.file.constant(f"{name}/bias", bias),
    ]
    maps = to.step(
        "CONV_2D",
        f"{name}/maps",
        (batch, 1, made, outputs),
        inputs,
        "Conv2DOptions",
        padding=to.file.number("Padding", "VALID"),
        strideH=1,
        strideW=int(node.attributes.get("strides", (1,))[0]),
        dilationWFactor=int(node.attributes.get("dilations", (1,))[0]),
        fusedActivationFunction=to.file.number("ActivationFunctionType", node.activation),
    )
    narrow = to.integers(f"{name}/narrow", (-1, made or 1, outputs))
    rows = to.step("RESHAPE", f"{name}/rows", (batch, made, outputs), [maps, narrow], "ReshapeOptions")
    to.emit("TRANSPOSE", replace(node, activation="NONE"), [rows, order], "TransposeOptions")


def pool(to: Lowering, node: Node) -> None:
    kind = {"MaxPool": "MAX_POOL_2D", "AveragePool": "AVERAGE_POOL_2D"}[node.kind]
    kernel = [int(n) for n in node.attributes["kernel_shape"]]
    dilations = [int(n) for n in node.attributes.get("dilations", (1, 1))]
    strides = [int(n) for n in node.attributes.get("strides", (1, 1))]
    wrong = "it dilates" if dilations != [1, 1] else "it rounds up" if node.attributes.get("ceil_mode") else ""
    wrong = wrong or ("it has two outputs" if len(node.outputs) > 1 else "")
    wrong = wrong or ("it is not over two axes" if len(kernel) != 2 else "")
    if any(node.attributes.get("pads", ())) and not _keeps_zeros(to, node):
        wrong = wrong or "zeros around it would change the result"
    if wrong:
        raise Unsupported(f"tflite cannot lower {node.kind} {node.outputs[0]}: {wrong}")
    source, padding = _padded(to, node, kernel, dilations)
    to.emit(
        kind,
        node,
        [source],
        "Pool2DOptions",
        True,
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        fusedActivationFunction=None,
    )


def _keeps_zeros(to: Lowering, node: Node) -> bool:
    """Whether zeros around an image leave the result as it is: for the largest of values that are not negative.

    TensorFlow's SAME ignores what lies outside, as ONNX does for the largest, and for the mean unless told otherwise.
    """
    if _is_same(to, node, node.attributes["kernel_shape"], (1, 1)):
        return node.kind == "MaxPool" or not node.attributes.get("count_include_pad", 0)
    before = next((one for one in to.graph.nodes if one.outputs[0] == node.inputs[0]), None)
    positive = before is not None and (before.activation != "NONE" or before.kind in ("Relu", "Sigmoid"))
    return positive if node.kind == "MaxPool" else bool(node.attributes.get("count_include_pad", 0))


def _padded(to: Lowering, node: Node, kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, int]:
    """The image that an operator reads, and how it pads: SAME where that is the same, else VALID behind a PAD."""
    automatic = node.attributes.get("auto_pad", b"NOTSET")
    if automatic not in (b"NOTSET", b"VALID", b""):
        raise Unsupported(f"tflite cannot lower {node.kind} {node.outputs[0]} with auto_pad {automatic.decode()}")
    image = to.use(node.inputs[0], nhwc=True)
    top, left, bottom, right = (int(n) for n in node.attributes.get("pads", (0, 0, 0, 0)))
    if not any((top, left, bottom, right)):
        return image, to.file.number("Padding", "VALID")
    if _is_same(to, node, kernel, dilations):
        return image, to.file.number("Padding", "SAME")
    batch, channels, height, width = to.shape(node.inputs[0])
    if height is None or width is None:
        raise Unsupported(f"tflite cannot pad {node.inputs[0]}, whose size is free")
    shape = (batch, height + top + bottom, width + left + right, channels)
    sizes = to.file.constant(
        f"{node.outputs[0]}/pads", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    )
    padded = to.step("PAD", f"{node.outputs[0]}/padded", shape, [image, sizes], "PadOptions")
    return padded, to.file.number("Padding", "VALID")


def _is_same(to: Lowering, node: Node, kernel: Sequence[int], dilations: Sequence[int]) -> bool:
    """Whether the node's pads are those of TensorFlow's SAME, which puts an odd one at the end."""
    pads, strides = node.attributes.get("pads", (0, 0, 0, 0)), node.attributes.get("strides", (1, 1))
    for axis in range(2):
        size = to.shape(node.inputs[0])[2 + axis]
        if size is None:
            return False
        steps = -(-size // strides[axis])
        total = max((steps - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - size, 0)
        if (pads[axis], pads[2 + axis]) != (total // 2, total - total // 2):
            return False
    return True


def dense(to: Lowering, node: Node) -> None:
    """Gemm, and MatMul with a constant matrix: FULLY_CONNECTED has its weights as (outputs, inputs)."""
    weight = to.constant_of(node, 1)
    if node.attributes.get("transA", 0) or {node.attributes.get(name, 1.0) for name in ("alpha", "beta")} != {1.0}:
        raise Unsupported(f"tflite cannot lower Gemm {node.outputs[0]} with transA, alpha or beta")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    inputs = [to.use(node.inputs[0])]
    if image := to.values[node.inputs[0]].image:
        weight = weight.reshape(-1, *image).transpose(NHWC).reshape(len(weight), -1)
    inputs.append(to.file.constant(f"{node.outputs[0]}/weight", weight))
    bias = to.constant_of(node, 2) if len(node.inputs) > 2 else np.zeros(len(weight), np.float32)
    if bias.size not in (1, len(weight)):
        raise Unsupported(f"tflite cannot lower Gemm {node.outputs[0]}, whose bias differs from row to row")
    inputs.append(to.file.constant(f"{node.outputs[0]}/bias", np.broadcast_to(bias.reshape(-1), (len(weight),))))
    keep = len(to.shape(node.inputs[0])) > 2
    to.emit("FULLY_CONNECTED", node, inputs, "FullyConnectedOptions", keepNumDims=keep, fusedActivationFunction=None)


def matmul(to: Lowering, node: Node) -> None:
    if _is_dense(to, node, node.inputs[0]):
        dense(to, node)
    else:
        to.emit("BATCH_MATMUL", node, [to.use(name) for name in node.inputs], "BatchMatMulOptions")


def flatten(to: Lowering, node: Node) -> None:
    """Flatten and Reshape. An image that only dense layers read is flattened as it lies, and their weights follow."""
    name, shape = node.inputs[0], to.shape(node.outputs[0])
    source, image = to.shape(name), None
    if to.is_image(name) and len(shape) == 2 and None not in source[1:]:
        sizes = (int(source[1] or 1), int(source[2] or 1), int(source[3] or 1))
        readers = to.graph.users(node.outputs[0])
        dense_only = readers and all(_is_dense(to, one, node.outputs[0]) for one in readers)
        if shape[1] == np.prod(sizes) and dense_only and node.outputs[0] not in to.graph.outputs:
            image = sizes
    free = [axis for axis, size in enumerate(shape) if size is None]
    if len(free) > 1:
        raise Unsupported(f"tflite cannot reshape to {node.outputs[0]}, of which {len(free)} sizes are free")
    target = [-1 if size is None else size for size in shape]
    one_pixel = to.is_image(name) and source[2:] == (1, 1)
    tensor = to.use(name, nhwc=image is not None or one_pixel)
    sizes_at = to.integers(f"{node.outputs[0]}/shape", target)
    to.emit("RESHAPE", node, [tensor, sizes_at], "ReshapeOptions", image=image, newShape=target)


def _is_dense(to: Lowering, node: Node, name: str) -> bool:
    """Whether `dense` lowers the node, and takes the value as what it multiplies."""
    matrix = to.graph.constants.get(node.inputs[1]) if node.kind in ("Gemm", "MatMul") else None
    return node.inputs[0] == name and matrix is not None and matrix.ndim == 2


def global_pool(to: Lowering, node: Node) -> None:
    axes = to.integers(f"{node.outputs[0]}/axes", (1, 2))
    to.emit("MEAN", node, [to.use(node.inputs[0], nhwc=True), axes], "ReducerOptions", True, keepDims=True)


def clip(to: Lowering, node: Node) -> None:
    """The limits that TFLite has operators for."""
    bounds = clip_bounds(to.graph, node)
    if bounds not in CLIPS:
        raise Unsupported(f"tflite cannot lower Clip {node.outputs[0]} to {bounds[0]:g} and {bounds[1]:g}")
    nhwc = to.is_image(node.inputs[0])
    to.emit(CLIPS[bounds], node, [to.use(node.inputs[0], nhwc)], nhwc=nhwc)
