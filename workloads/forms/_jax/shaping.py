"""Operators that move elements about. Shapes are static: they follow from the arguments' shapes when it is traced."""

# ruff: noqa: ARG001 - a function has the parameters that the standard gives its operator

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax.operators import Maths, operator, whole


@operator("Shape", folds=True)
def _shape(m: Maths, x: Any, *, start: int = 0, end: int | None = None) -> Any:
    return np.array(x.shape[start:end], np.int64)


@operator("Size", folds=True)
def _size(m: Maths, x: Any) -> Any:
    return np.array(math.prod(x.shape), np.int64)


@operator("Reshape", folds=True, static=(1,))
def _reshape(m: Maths, x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    sizes = whole(shape)
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(sizes)])


@operator("Flatten", folds=True)
def _flatten(m: Maths, x: Any, *, axis: int = 1) -> Any:
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze", folds=True, static=(1,))
def _squeeze(m: Maths, x: Any, axes: Any = None) -> Any:
    return m.xp.squeeze(x, None if axes is None else whole(axes))


@operator("Unsqueeze", folds=True, static=(1,))
def _unsqueeze(m: Maths, x: Any, axes: Any) -> Any:
    return m.xp.expand_dims(x, whole(axes))


@operator("Transpose", folds=True)
def _transpose(m: Maths, x: Any, *, perm: Any = None) -> Any:
    return m.xp.transpose(x, perm)


@operator("Expand", folds=True, static=(1,))
def _expand(m: Maths, x: Any, shape: Any) -> Any:
    return m.xp.broadcast_to(x, np.broadcast_shapes(x.shape, whole(shape)))


@operator("Tile", folds=True, static=(1,))
def _tile(m: Maths, x: Any, repeats: Any) -> Any:
    return m.xp.tile(x, whole(repeats))


@operator("Concat", folds=True)
def _concat(m: Maths, *several: Any, axis: int) -> Any:
    return m.xp.concatenate(several, axis)


@operator("Split", folds=True, static=(1,), outputs=1_000_000)
def _split(m: Maths, x: Any, split: Any = None, *, axis: int = 0, num_outputs: int | None = None) -> Any:
    """Without sizes, all parts are alike but for the last, which may be smaller."""
    size, parts = x.shape[axis], num_outputs or m.outputs
    step = -(-size // parts)
    ends = range(step, step * parts, step) if split is None else np.cumsum(whole(split))[:-1]
    return tuple(m.xp.split(x, [min(int(end), size) for end in ends], axis))


@operator("Slice", folds=True, static=(1, 2, 3, 4))
def _slice(m: Maths, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    chosen = range(len(starts)) if axes is None else whole(axes)
    strides = [1] * len(starts) if steps is None else whole(steps)
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(chosen, whole(starts), whole(ends), strides):
        cuts[axis] = slice(start, _before_first(end, x.shape[axis]) if step < 0 else end, step)
    return x[tuple(cuts)]


def _before_first(end: int, size: int) -> int | None:
    """Where a backward slice ends: what lies before the first element is no index from the end."""
    return None if end < -size else end


PADDING = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Pad", folds=True, static=(1, 3))
def _pad(m: Maths, x: Any, pads: Any, constant_value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    chosen = range(x.ndim) if axes is None else whole(axes)
    amounts = whole(pads)
    if mode not in PADDING or min(amounts, default=0) < 0:
        raise Unsupported(f"mode={mode} with pads {list(amounts)}; computed are {', '.join(PADDING)}, never negative")
    widths = [(0, 0)] * x.ndim
    for number, axis in enumerate(chosen):
        widths[axis] = (amounts[number], amounts[number + len(chosen)])
    if mode != "constant":
        return m.xp.pad(x, widths, PADDING[mode])
    return m.xp.pad(x, widths, constant_values=0 if constant_value is None else constant_value.reshape(()))


@operator("Trilu", folds=True, static=(1,))
def _trilu(m: Maths, x: Any, k: Any = None, *, upper: int = 1) -> Any:
    return (m.xp.triu if upper else m.xp.tril)(x, 0 if k is None else int(k))


@operator("Range", folds=True, static=(0, 1, 2))
def _range(m: Maths, start: Any, limit: Any, delta: Any) -> Any:
    count = max(math.ceil((limit - start) / delta), 0)
    return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)


@operator("ConstantOfShape", folds=True, static=(0,))
def _constant_of_shape(m: Maths, shape: Any, *, value: Any = None) -> Any:
    filler = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return np.full(whole(shape), filler.reshape(()), filler.dtype)


@operator("DepthToSpace")
def _depth_to_space(m: Maths, x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    deep = c // blocksize**2
    if mode == "DCR":
        parts = x.reshape(n, blocksize, blocksize, deep, h, w).transpose(0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        parts = x.reshape(n, deep, blocksize, blocksize, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        raise Unsupported(f"mode={mode} is neither DCR nor CRD")
    return parts.reshape(n, deep, h * blocksize, w * blocksize)


@operator("SpaceToDepth")
def _space_to_depth(m: Maths, x: Any, *, blocksize: int) -> Any:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).transpose(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * blocksize**2, h // blocksize, w // blocksize)
