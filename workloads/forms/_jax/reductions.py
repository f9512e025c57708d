"""Operators that make many elements one, or order them."""

# ruff: noqa: ARG001 - a function has the parameters that the standard gives its operator

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax.operators import Maths, operator, require, whole

Reduce = Callable[[Maths, Any, Any, bool], Any]


def _reduction(name: str, folds: bool = False) -> Callable[[Reduce], Reduce]:
    """An operator with the axes, as input or attribute, that all reductions have."""

    def enter(reduce: Reduce) -> Reduce:
        @operator(name, folds=folds, static=(1,))
        def function(m: Maths, x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
            chosen = None if axes is None else whole(axes)
            if not chosen and noop_with_empty_axes:
                raise Unsupported("noop_with_empty_axes=1 without axes is not computed")
            return reduce(m, x, chosen or None, bool(keepdims))

        return reduce

    return enter


@_reduction("ReduceSum", folds=True)
def _sum(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.sum(x, axes, keepdims=keep, dtype=x.dtype)


@_reduction("ReduceProd", folds=True)
def _prod(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.prod(x, axes, keepdims=keep, dtype=x.dtype)


@_reduction("ReduceMean", folds=True)
def _mean(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.mean(x, axes, keepdims=keep).astype(x.dtype)


@_reduction("ReduceMax", folds=True)
def _max(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    _check_filled(x)
    return m.xp.max(x, axes, keepdims=keep)


@_reduction("ReduceMin", folds=True)
def _min(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    _check_filled(x)
    return m.xp.min(x, axes, keepdims=keep)


@_reduction("ReduceL1")
def _l1(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.sum(m.xp.abs(x), axes, keepdims=keep)


@_reduction("ReduceL2")
def _l2(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.sqrt(m.xp.sum(x * x, axes, keepdims=keep))


@_reduction("ReduceSumSquare")
def _sum_square(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.xp.sum(x * x, axes, keepdims=keep)


@_reduction("ReduceLogSumExp")
def _log_sum_exp(m: Maths, x: Any, axes: Any, keep: bool) -> Any:
    return m.jax.nn.logsumexp(x, axes, keepdims=keep)


def _check_filled(x: Any) -> None:
    if 0 in x.shape:
        raise Unsupported("of an empty tensor neither the largest nor the smallest is computed")


@operator("ArgMax")
def _arg_max(m: Maths, x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    require(select_last_index=(select_last_index, 0))
    return m.xp.argmax(x, axis, keepdims=bool(keepdims)).astype(m.index)


@operator("ArgMin")
def _arg_min(m: Maths, x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    require(select_last_index=(select_last_index, 0))
    return m.xp.argmin(x, axis, keepdims=bool(keepdims)).astype(m.index)


@operator("CumSum", static=(1,))
def _cum_sum(m: Maths, x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    along = int(np.asarray(axis).reshape(()))
    turned = m.xp.flip(x, along) if reverse else x
    sums = m.xp.cumsum(turned, along, dtype=x.dtype) - (turned if exclusive else 0)
    return m.xp.flip(sums, along) if reverse else sums


@operator("TopK", static=(1,), outputs=2)
def _top_k(m: Maths, x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """Always sorted, which whoever wants none of it accepts too."""
    ordered = m.xp.moveaxis(x if largest else -x, axis, -1)
    values, indices = m.jax.lax.top_k(ordered, int(np.asarray(k).reshape(())))
    values = values if largest else -values
    return m.xp.moveaxis(values, -1, axis), m.xp.moveaxis(indices, -1, axis).astype(m.index)
