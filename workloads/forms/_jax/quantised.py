"""Networks in int8: products of two quantised tensors, of int8 by int8 and summed in int32.

A quantised tensor holds whole numbers q with a scale s and a zero point z, and stands for s (q - z). Where ONNX says to
dequantise two of them and to multiply (QDQ), the product is computed of what they hold, as

    s_x s_w (sum x w - z_x sum w - z_w sum x + k z_x z_w)

with k terms in each sum. This is the same number, and the arithmetic is that of the hardware's integer units. All other
operators get what a tensor stands for. XLA multiplies int8 by int8 only, so uint8 is taken as int8 with z - 128.
"""

# ruff: noqa: ARG001, N803 - a function has the parameters that the standard gives its operator

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.forms._jax.layers import Window, channels, layout
from workloads.forms._jax.operators import FLOAT, OPERATORS, Maths, Operator, is_known, operator, require

BYTES = ("int8", "uint8")
MOVES = ("Flatten", "Gather", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that move elements about or choose among them: a tensor with one scale stays quantised through them."""


@dataclass(frozen=True)
class Quantised:
    """What a DequantizeLinear would give, not yet computed: real values are (values - zero) scale."""

    values: Any
    scale: Any
    zero: Any
    axis: int

    def real(self, jax: Any, real: Any) -> Any:
        attributes = {"axis": self.axis}
        return OPERATORS["DequantizeLinear"].apply(jax, real, [self.values, self.scale, self.zero], 1, attributes)

    def scaled_along(self, axis: int) -> bool:
        """Whether it is of bytes with one scale, or with one for each index of `axis`."""
        if self.values.ndim < 2 or self.values.dtype.name not in BYTES:
            return False
        return bool(self.scale.size == 1 or self.axis % self.values.ndim == axis % self.values.ndim)

    def placed(self, m: Maths) -> tuple[Any, Any]:
        """Its scale in JAX, a number or one for each output, and its values as JAX has them."""
        scale = m.xp.asarray(self.scale, np.float32)
        return (scale.reshape(()) if scale.size == 1 else scale.reshape(-1)), m.xp.asarray(self.values)


def evaluate(
    jax: Any, real: Any, kind: Operator, values: Sequence[Any], outputs: int, attributes: Mapping[str, Any]
) -> Any:
    """What `Operator.apply` gives, of values that may be quantised, and as a quantised one where it can be kept so."""
    if kind.name == "DequantizeLinear" and not (attributes.keys() & {"block_size", "output_dtype"}):
        return Quantised(values[0], values[1], values[2] if len(values) > 2 else None, attributes.get("axis", 1))
    first = values[0] if values else None
    if kind.name in MOVES and isinstance(first, Quantised) and first.scale.size == 1:
        return replace(first, values=kind.apply(jax, real, [first.values, *values[1:]], outputs, attributes))
    if kind.name in PRODUCTS and all(isinstance(one, Quantised) for one in values[:2]):
        rest = plain(jax, real, values[2:])
        found = PRODUCTS[kind.name](Maths(jax, jax.numpy, real, np.int32, 1), *values[:2], *rest, **attributes)
        if found is not None:
            return found.astype(real)
    return kind.apply(jax, real, plain(jax, real, values), outputs, attributes)


def plain(jax: Any, real: Any, values: Sequence[Any]) -> list[Any]:
    """`values` with what is quantised as the reals that it stands for."""
    return [one.real(jax, real) if isinstance(one, Quantised) else one for one in values]


def _matmul(m: Maths, x: Quantised, w: Quantised) -> Any:
    if not (x.scaled_along(-1) and x.scale.size == 1 and w.scaled_along(-1)):
        return None
    (by_x, a), (by_w, b) = x.placed(m), w.placed(m)
    return _multiplied(m, a, x.zero, b, w.zero) * (by_x * by_w)


def _gemm(
    m: Maths,
    x: Quantised,
    w: Quantised,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Any:
    if not (x.scaled_along(-1) and x.scale.size == 1 and w.scaled_along(0 if transB else 1)):
        return None
    (by_x, a), (by_w, b) = x.placed(m), w.placed(m)
    product = _multiplied(m, a.T if transA else a, x.zero, b.T if transB else b, w.zero) * (by_x * by_w * alpha)
    return product if c is None else product + m.xp.asarray(c) * beta


def _conv(m: Maths, x: Quantised, w: Quantised, bias: Any = None, **attributes: Any) -> Any:
    if not (x.scaled_along(1) and x.scale.size == 1 and w.scaled_along(0)):
        return None
    (by_x, a), (by_w, b) = x.placed(m), w.placed(m)
    space = b.ndim - 2
    found = _convolved(m, a, x.zero, b, w.zero, **attributes) * channels(by_x * by_w, space)
    return found if bias is None else found + channels(m.xp.asarray(bias), space)


PRODUCTS: Mapping[str, Callable[..., Any]] = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
"""Each gives None for what is not quantised in a way that it can be computed in integers."""


def _multiplied(m: Maths, x: Any, x_zero: Any, w: Any, w_zero: Any) -> Any:
    """The sums of a matrix product in int32; `x_zero` is a number, `w_zero` that or one for each column."""
    a, a_zero = _signed(m, x, x_zero)
    b, b_zero = _signed(m, w, w_zero)
    total = m.xp.matmul(a, b, precision="default", preferred_element_type=np.int32)
    total = total - a_zero * m.xp.sum(b, -2, dtype=np.int32, keepdims=True)
    if _is_zero(b_zero):
        return total
    return total - b_zero * (m.xp.sum(a, -1, dtype=np.int32, keepdims=True) - b.shape[-2] * a_zero)


def _convolved(
    m: Maths,
    x: Any,
    x_zero: Any,
    w: Any,
    w_zero: Any,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """The sums of a convolution in int32. What is padded is the zero point, as that stands for 0."""
    a, a_zero = _signed(m, x, x_zero)
    b, b_zero = _signed(m, w, w_zero)
    space = b.ndim - 2
    window = Window(b.shape[2:], strides, dilations, pads, auto_pad)
    padding = [(0, 0, 0)] * 2 + [(*one, 0) for one in window.padding(a.shape[2:])]
    padded = m.jax.lax.pad(a, m.xp.asarray(a_zero, np.int8).reshape(()), padding)

    def over(kernel: Any) -> Any:
        return m.jax.lax.conv_general_dilated(
            padded,
            kernel,
            window.strides,
            [(0, 0)] * space,
            rhs_dilation=window.dilations,
            dimension_numbers=layout(space),
            feature_group_count=group,
            precision="default",
            preferred_element_type=np.int32,
        )

    total = over(b) - a_zero * channels(m.xp.sum(b, tuple(range(1, b.ndim)), dtype=np.int32), space)
    if _is_zero(b_zero):
        return total
    sums = m.xp.repeat(over(m.xp.ones((group, *b.shape[1:]), np.int8)), b.shape[0] // group, 1)
    return total - channels(b_zero, space) * (sums - math.prod(b.shape[1:]) * a_zero)


def _signed(m: Maths, values: Any, zero: Any) -> tuple[Any, Any]:
    """As int8, and the zero point in int32: known where it was known, a number where there is one."""
    known = zero is None or is_known(zero)
    shifted = (np if known else m.xp).asarray(0 if zero is None else zero).astype(np.int32)
    shifted = shifted.reshape(()) if shifted.size == 1 else shifted
    if values.dtype == np.int8:
        return m.xp.asarray(values), shifted
    return (m.xp.asarray(values).astype(np.int16) - 128).astype(np.int8), shifted - 128


def _is_zero(zero: Any) -> bool:
    return is_known(zero) and not zero.any()


@operator("QuantizeLinear", raw=(2,))
def _quantize_linear(
    m: Maths,
    x: Any,
    y_scale: Any,
    y_zero_point: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    """`saturate` is about floats of 8 bits, which are no type here. Halves are rounded to even."""
    require(block_size=(block_size, 0), precision=(precision in (0, FLOAT), True))
    named = m.dtype(output_dtype) if output_dtype else np.dtype(np.uint8)
    kind = named if y_zero_point is None else y_zero_point.dtype
    limits = np.iinfo(kind)
    steps = m.xp.rint(x / _along(x, y_scale, axis))
    moved = steps if y_zero_point is None else steps + _along(x, y_zero_point, axis).astype(steps.dtype)
    return m.xp.clip(moved, limits.min, limits.max).astype(kind)


@operator("DequantizeLinear", folds=True)
def _dequantize_linear(
    m: Maths,
    x: Any,
    x_scale: Any,
    x_zero_point: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Any:
    require(block_size=(block_size, 0), output_dtype=(output_dtype in (0, FLOAT), True))
    wide = x.astype(np.int32)
    moved = wide if x_zero_point is None else wide - _along(x, x_zero_point, axis).astype(np.int32)
    return moved.astype(x_scale.dtype) * _along(x, x_scale, axis)


@operator("DynamicQuantizeLinear", outputs=3)
def _dynamic_quantize_linear(m: Maths, x: Any) -> Any:
    """To uint8, from the smallest and largest value of this very tensor, all samples of the batch together."""
    least, most = m.xp.minimum(x.min(), 0), m.xp.maximum(x.max(), 0)
    scale = (most - least) / 255
    zero = m.xp.clip(m.xp.rint(-least / scale), 0, 255)
    return m.xp.clip(m.xp.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero.astype(np.uint8)


@operator("MatMulInteger", raw=(2, 3))
def _matmul_integer(m: Maths, x: Any, w: Any, x_zero: Any = None, w_zero: Any = None) -> Any:
    require(**{"zero points of rows": (1 if x_zero is None else x_zero.size, 1)})
    return _multiplied(m, x, x_zero, w, w_zero)


@operator("ConvInteger", raw=(2, 3))
def _conv_integer(
    m: Maths,
    x: Any,
    w: Any,
    x_zero: Any = None,
    w_zero: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    return _convolved(
        m, x, x_zero, w, w_zero, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides
    )


def _along(x: Any, vector: Any, axis: int) -> Any:
    """A number, or one for each index of `axis`, to be broadcast over `x`."""
    if vector.ndim == 0 or vector.size == 1:
        return vector.reshape(())
    require(**{"scales of an axis": (vector.ndim, 1)})
    return vector.reshape([-1 if one == axis % x.ndim else 1 for one in range(x.ndim)])
