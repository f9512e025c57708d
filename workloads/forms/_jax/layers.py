"""Operators with weights, and those that slide a window. Tensors are as in ONNX: samples, channels, then space."""

# ruff: noqa: ARG001, N803 - a function has the parameters that the standard gives its operator

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax.operators import Maths, operator, require, whole

SPACE = "DHW"
Pads = "list[tuple[int, int]]"


@operator("MatMul")
def _matmul(m: Maths, x: Any, y: Any) -> Any:
    return m.xp.matmul(x, y)


@operator("Einsum")
def _einsum(m: Maths, *several: Any, equation: str) -> Any:
    return m.xp.einsum(equation, *several)


@operator("Gemm")
def _gemm(
    m: Maths, x: Any, y: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:  # fmt: skip
    product = m.xp.matmul(x.T if transA else x, y.T if transB else y)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None else product + (c if beta == 1.0 else beta * c)


@operator("Conv")
def _conv(
    m: Maths,
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    space = w.ndim - 2
    window = Window(w.shape[2:], strides, dilations, pads, auto_pad)
    result = m.jax.lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding(x.shape[2:]),
        rhs_dilation=window.dilations,
        dimension_numbers=layout(space),
        feature_group_count=group,
    )
    return result if b is None else result + channels(b, space)


@operator("ConvTranspose")
def _conv_transpose(
    m: Maths,
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """The gradient of a convolution: a convolution of the spread input with the turned kernel."""
    require(auto_pad=(auto_pad, "NOTSET"), output_shape=(output_shape, None))
    space = w.ndim - 2
    window = Window(w.shape[2:], strides, dilations, pads, auto_pad)
    more = whole(output_padding or (0,) * space)
    reach = [size - 1 for size in window.extents]
    padding = [(r - a, r - b + o) for r, (a, b), o in zip(reach, window.padding(x.shape[2:]), more)]
    grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
    kernel = grouped.reshape(-1, w.shape[0] // group, *w.shape[2:])
    result = m.jax.lax.conv_general_dilated(
        x,
        m.xp.flip(kernel, range(2, w.ndim)),
        (1,) * space,
        padding,
        lhs_dilation=window.strides,
        rhs_dilation=window.dilations,
        dimension_numbers=layout(space),
        feature_group_count=group,
    )
    return result if b is None else result + channels(b, space)


@operator("MaxPool")
def _max_pool(
    m: Maths,
    x: Any,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    pads: Any = None,
    storage_order: int = 0,
    strides: Any = None,
) -> Any:
    """`storage_order` is about the indices of the largest, an output that is refused."""
    require(ceil_mode=(ceil_mode, 0))
    least = -math.inf if np.issubdtype(x.dtype, np.inexact) or x.dtype.name == "bfloat16" else np.iinfo(x.dtype).min
    window = Window(kernel_shape, strides, dilations, pads, auto_pad)
    return window.reduce(m, x, np.asarray(least, x.dtype)[()], m.jax.lax.max)


@operator("AveragePool")
def _average_pool(
    m: Maths,
    x: Any,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    require(ceil_mode=(ceil_mode, 0))
    window = Window(kernel_shape, strides, dilations, pads, auto_pad)
    zero = np.asarray(0, x.dtype)[()]
    total = window.reduce(m, x, zero, m.jax.lax.add)
    if count_include_pad or not any(map(sum, window.padding(x.shape[2:]))):
        return total / math.prod(window.kernel)
    return total / window.reduce(m, m.xp.ones((1, 1, *x.shape[2:]), x.dtype), zero, m.jax.lax.add)


@operator("GlobalAveragePool")
def _global_average_pool(m: Maths, x: Any) -> Any:
    return m.xp.mean(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def _global_max_pool(m: Maths, x: Any) -> Any:
    return m.xp.max(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("BatchNormalization")
def _batch_normalization(
    m: Maths,
    x: Any,
    scale: Any,
    b: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Any:
    """`momentum` is about training, which is refused."""
    require(training_mode=(training_mode, 0))
    space = x.ndim - 2
    factor = scale * m.jax.lax.rsqrt(var.astype(np.float32) + epsilon).astype(x.dtype)
    return (x - channels(mean, space)) * channels(factor, space) + channels(b, space)


@operator("InstanceNormalization")
def _instance_normalization(m: Maths, x: Any, scale: Any, b: Any, *, epsilon: float = 1e-5) -> Any:
    space = x.ndim - 2
    return _normal(m, x, tuple(range(2, x.ndim)), epsilon) * channels(scale, space) + channels(b, space)


@operator("LayerNormalization")
def _layer_normalization(
    m: Maths, x: Any, scale: Any, b: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """`stash_type` 1: mean and variance are of fp32, whatever the precision is."""
    require(stash_type=(stash_type, 1))
    result = _normal(m, x, tuple(range(axis % x.ndim, x.ndim)), epsilon) * scale
    return result if b is None else result + b


@operator("RMSNormalization")
def _rms_normalization(
    m: Maths, x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    require(stash_type=(stash_type, 1))
    wide = x.astype(np.float32)
    square = m.xp.mean(wide * wide, tuple(range(axis % x.ndim, x.ndim)), keepdims=True)
    return (wide * m.jax.lax.rsqrt(square + epsilon)).astype(x.dtype) * scale


def _normal(m: Maths, x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    """Mean 0 and variance 1 over `axes`, computed in fp32."""
    wide = x.astype(np.float32)
    centred = wide - m.xp.mean(wide, axes, keepdims=True)
    variance = m.xp.mean(centred * centred, axes, keepdims=True)
    return (centred * m.jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def channels(vector: Any, space: int) -> Any:
    """One value a channel, to be broadcast over samples and space."""
    return vector.reshape(-1, *(1,) * space)


def layout(space: int) -> tuple[str, str, str]:
    if space > len(SPACE):
        raise Unsupported(f"{space} axes of space are more than 3")
    axes = SPACE[len(SPACE) - space :]
    return f"NC{axes}", f"OI{axes}", f"NC{axes}"


class Window:
    """What slides over space: sizes in elements, one for each axis."""

    def __init__(self, kernel: Sequence[int], strides: Any, dilations: Any, pads: Any, auto_pad: str) -> None:
        ones = (1,) * len(kernel)
        self.kernel = whole(kernel)
        self.strides = whole(strides or ones)
        self.dilations = whole(dilations or ones)
        self.pads = whole(pads or (0,) * 2 * len(kernel))
        self.auto_pad = auto_pad
        self.extents = [(size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations)]

    def padding(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Before and after each axis of an input of these `sizes`."""
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            return [self._same(size, *one) for size, one in zip(sizes, zip(self.extents, self.strides))]
        if self.auto_pad == "VALID":
            return [(0, 0)] * len(sizes)
        require(auto_pad=(self.auto_pad, "NOTSET"))
        half = len(self.pads) // 2
        return list(zip(self.pads[:half], self.pads[half:]))

    def _same(self, size: int, extent: int, stride: int) -> tuple[int, int]:
        """So much that the output is as large as the input, divided by the stride; an odd one goes to that side."""
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if self.auto_pad == "SAME_UPPER" else (large, small)

    def reduce(self, m: Maths, x: Any, first: Any, combine: Any) -> Any:
        return m.jax.lax.reduce_window(
            x,
            first,
            combine,
            (1, 1, *self.kernel),
            (1, 1, *self.strides),
            ((0, 0), (0, 0), *self.padding(x.shape[2:])),
            window_dilation=(1, 1, *self.dilations),
        )
