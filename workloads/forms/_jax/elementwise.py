"""Operators that treat every element alike."""

# ruff: noqa: ARG001 - a function has the parameters that the standard gives its operator

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from workloads.contract import Unsupported
from workloads.forms._jax.operators import Maths, is_known, operator

LIKE_NUMPY = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Add": "add", "And": "logical_and", "Asin": "arcsin",
    "Asinh": "arcsinh", "Atan": "arctan", "Atanh": "arctanh", "BitwiseAnd": "bitwise_and", "BitwiseNot": "bitwise_not",
    "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh",
    "Equal": "equal", "Exp": "exp", "Floor": "floor", "Greater": "greater", "GreaterOrEqual": "greater_equal",
    "IsNaN": "isnan", "Less": "less", "LessOrEqual": "less_equal", "Log": "log", "Mul": "multiply", "Neg": "negative",
    "Not": "logical_not", "Or": "logical_or", "Round": "round", "Sign": "sign", "Sin": "sin", "Sinh": "sinh",
    "Sqrt": "sqrt", "Sub": "subtract", "Tan": "tan", "Tanh": "tanh", "Where": "where", "Xor": "logical_xor",
}  # fmt: skip
"""ONNX' names to those that numpy and jax.numpy share."""
ARITY = {"Where": 3, **dict.fromkeys(("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot"), 1)}
ARITY.update(dict.fromkeys(("Ceil", "Cos", "Cosh", "Exp", "Floor", "IsNaN", "Log", "Neg", "Not", "Round", "Sign"), 1))
ARITY.update(dict.fromkeys(("Sin", "Sinh", "Sqrt", "Tan", "Tanh"), 1))


def _like_numpy(name: str, arity: int) -> Callable[..., Any]:
    if arity == 1:
        return lambda m, x: getattr(m.xp, name)(x)
    if arity == 2:
        return lambda m, x, y: getattr(m.xp, name)(x, y)
    return lambda m, x, y, z: getattr(m.xp, name)(x, y, z)


for _name, _numpys in LIKE_NUMPY.items():
    operator(_name, folds=True)(_like_numpy(_numpys, ARITY.get(_name, 2)))


@operator("Identity", folds=True)
def _identity(m: Maths, x: Any) -> Any:
    return x


@operator("Dropout", folds=True, static=(1, 2))
def _dropout(m: Maths, x: Any, ratio: Any = None, training_mode: Any = None, *, seed: int = 0) -> Any:
    if training_mode is not None and training_mode.any():
        raise Unsupported("training_mode is true, and nothing is trained here")
    return x


@operator("Reciprocal", folds=True)
def _reciprocal(m: Maths, x: Any) -> Any:
    return 1 / x


@operator("Div", folds=True)
def _div(m: Maths, x: Any, y: Any) -> Any:
    """Integers are divided towards zero, where numpy rounds down."""
    if not np.issubdtype(x.dtype, np.integer):
        return x / y
    return (m.xp.abs(x) // m.xp.abs(y) * m.xp.sign(x) * m.xp.sign(y)).astype(x.dtype)


@operator("Mod", folds=True)
def _mod(m: Maths, x: Any, y: Any, *, fmod: int = 0) -> Any:
    return m.xp.fmod(x, y) if fmod else m.xp.mod(x, y)


@operator("Pow", folds=True, raw=(1,))
def _pow(m: Maths, x: Any, y: Any) -> Any:
    """A known whole exponent becomes multiplications, which are exact where a general power is not."""
    if is_known(y) and y.size == 1 and y.ndim <= x.ndim and abs(exponent := float(y.item())) <= 64:
        return x ** (int(exponent) if exponent.is_integer() else exponent)
    return m.xp.power(x, m.xp.asarray(y)).astype(x.dtype)


@operator("Max", folds=True)
def _max(m: Maths, *several: Any) -> Any:
    return reduce(m.xp.maximum, several)


@operator("Min", folds=True)
def _min(m: Maths, *several: Any) -> Any:
    return reduce(m.xp.minimum, several)


@operator("Sum", folds=True)
def _sum(m: Maths, *several: Any) -> Any:
    return reduce(m.xp.add, several)


@operator("Mean", folds=True)
def _mean(m: Maths, *several: Any) -> Any:
    return reduce(m.xp.add, several) / len(several)


@operator("Clip", folds=True)
def _clip(m: Maths, x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else m.xp.maximum(x, min)
    return x if max is None else m.xp.minimum(x, max)


@operator("Cast", folds=True)
def _cast(m: Maths, x: Any, *, to: int, saturate: int = 1) -> Any:
    """`saturate` is about floats of 8 bits, which are no target here."""
    return x.astype(m.dtype(to))


@operator("CastLike", folds=True)
def _cast_like(m: Maths, x: Any, like: Any, *, saturate: int = 1) -> Any:
    return x.astype(like.dtype)


@operator("Relu", folds=True)
def _relu(m: Maths, x: Any) -> Any:
    return m.xp.maximum(x, m.xp.zeros((), x.dtype))


@operator("Erf")
def _erf(m: Maths, x: Any) -> Any:
    return m.jax.lax.erf(x)


@operator("Sigmoid")
def _sigmoid(m: Maths, x: Any) -> Any:
    return m.jax.nn.sigmoid(x)


@operator("Softplus")
def _softplus(m: Maths, x: Any) -> Any:
    return m.jax.nn.softplus(x)


@operator("Softsign")
def _softsign(m: Maths, x: Any) -> Any:
    return m.jax.nn.soft_sign(x)


@operator("Mish")
def _mish(m: Maths, x: Any) -> Any:
    return m.jax.nn.mish(x)


@operator("HardSwish")
def _hard_swish(m: Maths, x: Any) -> Any:
    return m.jax.nn.hard_swish(x)


@operator("HardSigmoid")
def _hard_sigmoid(m: Maths, x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return m.xp.clip(alpha * x + beta, 0, 1)


@operator("LeakyRelu")
def _leaky_relu(m: Maths, x: Any, *, alpha: float = 0.01) -> Any:
    return m.jax.nn.leaky_relu(x, alpha)


@operator("PRelu")
def _prelu(m: Maths, x: Any, slope: Any) -> Any:
    return m.xp.where(x < 0, slope * x, x)


@operator("Elu")
def _elu(m: Maths, x: Any, *, alpha: float = 1.0) -> Any:
    return m.jax.nn.elu(x, alpha)


@operator("Celu")
def _celu(m: Maths, x: Any, *, alpha: float = 1.0) -> Any:
    return m.jax.nn.celu(x, alpha)


@operator("Selu")
def _selu(
    m: Maths, x: Any, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Any:
    return gamma * m.jax.nn.elu(x, alpha)


@operator("Gelu")
def _gelu(m: Maths, x: Any, *, approximate: str = "none") -> Any:
    if approximate not in ("none", "tanh"):
        raise Unsupported(f"approximate={approximate} is neither none nor tanh")
    return m.jax.nn.gelu(x, approximate=approximate == "tanh")


@operator("Swish")
def _swish(m: Maths, x: Any, *, alpha: float = 1.0) -> Any:
    return x * m.jax.nn.sigmoid(alpha * x)


@operator("Softmax")
def _softmax(m: Maths, x: Any, *, axis: int = -1) -> Any:
    return m.jax.nn.softmax(x, axis=axis)


@operator("LogSoftmax")
def _log_softmax(m: Maths, x: Any, *, axis: int = -1) -> Any:
    return m.jax.nn.log_softmax(x, axis=axis)
