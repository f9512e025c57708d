"""Operators that look up and write elements by index. One that is out of range reads as NaN, not as a neighbour."""

# ruff: noqa: ARG001 - a function has the parameters that the standard gives its operator

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax.operators import Maths, operator

WRITE = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}


@operator("Gather", folds=True)
def _gather(m: Maths, x: Any, indices: Any, *, axis: int = 0) -> Any:
    if m.xp is np:
        return np.take(x, indices, axis)
    return m.xp.take(x, _from_start(m, indices, x.shape[axis]), axis, mode="fill")


@operator("GatherElements")
def _gather_elements(m: Maths, x: Any, indices: Any, *, axis: int = 0) -> Any:
    return m.xp.take_along_axis(x, _from_start(m, indices, x.shape[axis]), axis, mode="fill")


@operator("GatherND")
def _gather_nd(m: Maths, x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    if batch_dims:
        return m.jax.vmap(lambda one, its: _gather_nd(m, one, its, batch_dims=batch_dims - 1))(x, indices)
    return x.at[_columns(m, indices)].get(mode="fill")


@operator("ScatterND")
def _scatter_nd(m: Maths, x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    return getattr(x.at[_columns(m, indices)], _write(reduction))(updates)


@operator("ScatterElements")
def _scatter_elements(m: Maths, x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    places = list(m.xp.indices(indices.shape, sparse=True))
    places[axis] = indices
    return getattr(x.at[tuple(places)], _write(reduction))(updates)


@operator("OneHot", static=(1,))
def _one_hot(m: Maths, indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    count = int(np.asarray(depth).reshape(()))
    hot = m.jax.nn.one_hot(_from_start(m, indices.astype(m.index), count), count, axis=axis, dtype=bool)
    return m.xp.where(hot, values[1], values[0])


@operator("NonZero", folds=True, static=(0,))
def _non_zero(m: Maths, x: Any) -> Any:
    return np.array(np.nonzero(x), np.int64)


def _from_start(m: Maths, indices: Any, size: int) -> Any:
    """Negative indices count from the end."""
    return m.xp.where(indices < 0, indices + size, indices)


def _columns(m: Maths, indices: Any) -> tuple[Any, ...]:
    """An index for each axis, from tuples that lie in the last axis."""
    return tuple(m.xp.moveaxis(indices, -1, 0))


def _write(reduction: str) -> str:
    if reduction not in WRITE:
        raise Unsupported(f"reduction={reduction} is none of {', '.join(WRITE)}")
    return WRITE[reduction]
