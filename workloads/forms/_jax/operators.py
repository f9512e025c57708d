"""The table of operators: a function for each, named as in ONNX' operator reference (onnx.ai/onnx/operators).

A function takes `Maths`, the inputs in their order (None where one is left out) and the attributes by name, with the
standard's defaults. What it has no parameter for is Unsupported, so that nothing is silently ignored. An operator that
folds also computes in numpy, on what is known when the graph is traced: shapes, and all that follows from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workloads.contract import Unsupported

OPERATORS: dict[str, Operator] = {}
FLOAT, INT64 = 1, 7
WHOLE = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 9: "bool", 12: "uint32"}
"""Types of onnx.TensorProto.DataType that mean the same in numpy and in JAX."""


@dataclass(frozen=True)
class Maths:
    """What a function computes with: `xp` is numpy or jax.numpy, `outputs` how many the node asks for.

    `real` and `index` are the types that stand for ONNX' float and int64, of which JAX has 32 bits here.
    """

    jax: Any
    xp: Any
    real: Any
    index: Any
    outputs: int

    def dtype(self, code: int) -> Any:
        """The type of one of onnx.TensorProto.DataType's numbers."""
        if code in (FLOAT, INT64):
            return self.real if code == FLOAT else self.index
        if code not in WHOLE:
            raise Unsupported(f"type {code} of onnx.TensorProto.DataType is none that it computes in")
        return np.dtype(WHOLE[code])


@dataclass(frozen=True)
class Operator:
    """`static`: numbers of the inputs that have to be known when traced; `raw`: of those left as they are if known."""

    name: str
    function: Callable[..., Any]
    folds: bool
    static: tuple[int, ...]
    raw: tuple[int, ...]
    outputs: int

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())[1:]

    def check(self, inputs: int, outputs: int, attributes: Mapping[str, Any]) -> None:
        """Refuses a node that asks for more than the function does."""
        positional = [one for one in self._parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        variadic = any(one.kind is one.VAR_POSITIONAL for one in self._parameters)
        if inputs > len(positional) and not variadic:
            raise Unsupported(f"it has {inputs} inputs, and {len(positional)} are known")
        if outputs > self.outputs:
            raise Unsupported(f"it has {outputs} outputs, and {self.outputs} can be computed")
        named = {one.name for one in self._parameters if one.kind is not one.VAR_POSITIONAL}
        given = {one.name for one in positional[:inputs]}
        if unknown := sorted(set(attributes) - named | set(attributes) & given):
            raise Unsupported(f"attribute {', '.join(unknown)} is not known")
        needed = {one.name for one in self._parameters if one.default is one.empty and one.name in named}
        if lacking := sorted(needed - given - set(attributes)):
            raise Unsupported(f"{', '.join(lacking)} is missing")

    def apply(self, jax: Any, real: Any, values: Sequence[Any], outputs: int, attributes: Mapping[str, Any]) -> Any:
        """Its outputs for `values`, in numpy where all of them are known and it folds.

        In a reduced precision floats are `real` as soon as one of them is. What is made of integers alone (a position,
        a mask) is of fp32 until it meets such a one: 1001 in bf16 would be 1000.
        """
        known = [value is None or is_known(value) for value in values]
        if self.folds and all(known):
            with np.errstate(all="ignore"):
                return self.function(Maths(jax, np, np.float32, np.int64, outputs), *values, **attributes)
        if unknown := [number for number in self.static if number < len(values) and not known[number]]:
            raise Unsupported(f"its input {unknown[0]} depends on what the network is given, so its shape would too")
        reduced = any(not known[i] and value.dtype == real for i, value in enumerate(values))
        kind = np.dtype(real if reduced else np.float32)
        kept = {*self.static, *self.raw}
        placed = [v if v is None or (i in kept and known[i]) else place(jax, kind, v) for i, v in enumerate(values)]
        found = self.function(Maths(jax, jax.numpy, kind, np.int32, outputs), *placed, **attributes)
        for one in found if isinstance(found, tuple) else (found,):
            if is_real(jax, one) and not is_known(one) and one.dtype != kind:
                raise Unsupported(f"it gives {one.dtype} where {kind} was asked for")
        return found


def operator(
    *names: str, folds: bool = False, static: tuple[int, ...] = (), raw: tuple[int, ...] = (), outputs: int = 1
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters a function into the table under these names."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPERATORS[name] = Operator(name, function, folds, static, raw, outputs)
        return function

    return enter


def is_known(value: Any) -> bool:
    """Whether a value is there when the graph is traced; what depends on inputs or weights is JAX' own."""
    return isinstance(value, (np.ndarray, np.generic))


def is_real(jax: Any, value: Any) -> bool:
    """Whether its elements are floats, those of 16 bits included."""
    return bool(jax.numpy.issubdtype(value.dtype, jax.numpy.floating))


def place(jax: Any, real: Any, value: Any) -> Any:
    """A value as JAX computes with it: floats in `real`, 64-bit integers in 32 bits."""
    if is_real(jax, value):
        return jax.numpy.asarray(value, real)
    return jax.numpy.asarray(narrow(value) if value.dtype == np.int64 else value)


def narrow(value: Any) -> Any:
    """64-bit integers in 32 bits; Unsupported where one does not fit."""
    narrowed = value.astype(np.int32)
    if not np.array_equal(narrowed, value):
        raise Unsupported("JAX computes with integers of 32 bits here, and one does not fit into them")
    return narrowed


def whole(values: Any) -> tuple[int, ...]:
    """A known tensor, or an attribute, of integers."""
    return tuple(int(value) for value in np.ravel(values))


def require(**pairs: tuple[Any, Any]) -> None:
    """Refuses an attribute that is not the one value that is computed: name=(what it is, what it has to be)."""
    for name, (value, needed) in pairs.items():
        if value != needed:
            raise Unsupported(f"{name}={value} is not computed, only {name}={needed}")
