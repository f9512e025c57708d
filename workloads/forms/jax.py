"""The network as a function of JAX, lowered from ONNX: no library that is kept up to date does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, TensorSpec, Unsupported

if TYPE_CHECKING:
    from workloads.contract import Array
    from workloads.forms._jax.graph import Graph

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
INPUTS = ("float32", "int32", "int64", "bool", "int8", "uint8")


@dataclass(frozen=True)
class JaxForm:
    """`call(params, *inputs)` can be jitted; sizes that are free follow from the arguments' shapes when it is traced.

    fp32 means fp32: matrix products and convolutions are of jax' precision "highest". In bf16 weights, arguments and
    all that they meet are bf16. Integers of 64 bits are of 32 inside. Of a graph that is quantised, products are in
    int8, whatever the precision of what is left.
    """

    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str = "fp32"

    def at(self, precision: str) -> JaxForm:
        """The same in another precision."""
        if precision not in DTYPES:
            raise Unsupported(f"form jax computes in {' or '.join(DTYPES)}, not in {precision}")
        return replace(self, precision=precision)

    @property
    def dtype(self) -> Any:
        """What its floats are."""
        return _numpys(DTYPES[self.precision])

    @cached_property
    def params(self) -> Mapping[str, Array]:
        """The weights in its precision; in fp32 they are mapped from their file."""
        if self.precision == "fp32":
            return self.graph.params
        return {
            n: array.astype(self.dtype) if array.dtype == "float32" else array for n, array in self.graph.params.items()
        }

    @property
    def weight_bytes(self) -> int:
        """Of all weights that are stored, small constants included: floats in its precision, bytes as they are."""
        stored = (*self.graph.params.values(), *self.graph.constants.values())
        sizes = {
            kind: sum(array.size for array in stored if array.dtype == kind) for kind in ("float32", "int8", "uint8")
        }
        return int(sizes["float32"]) * int(self.dtype.itemsize) + sizes["int8"] + sizes["uint8"]

    def argument_dtype(self, spec: TensorSpec) -> Any:
        """What an input, or an output, of this specification is inside."""
        inside = {"float32": DTYPES[self.precision], "int64": "int32"}
        return _numpys(inside.get(spec.dtype, spec.dtype))

    def call(self, params: Mapping[str, Any], *inputs: Any) -> tuple[Any, ...]:
        """The outputs in their order, of the types that `argument_dtype` says."""
        import jax

        arguments = [jax.numpy.asarray(x, self.argument_dtype(spec)) for x, spec in zip(inputs, self.inputs)]
        weights = {name: jax.numpy.asarray(array) for name, array in params.items()}
        with jax.default_matmul_precision("highest" if self.precision == "fp32" else "default"):
            found = self.graph.evaluate(jax, self.dtype, weights, arguments)
        for value, spec in zip(found, self.outputs):
            if value.dtype != self.argument_dtype(spec):
                raise Unsupported(f"output {spec.name} is {value.dtype}, and {self.argument_dtype(spec)} was expected")
        return found


def build(model: Model) -> JaxForm:
    """The function of `model`'s ONNX graph; Unsupported for an operator or attribute that it lacks, naming it."""
    from workloads.forms._jax import graph

    if other := next((spec for spec in (*model.inputs, *model.outputs) if spec.dtype not in INPUTS), None):
        raise Unsupported(f"{other.name} is {other.dtype}, and form jax takes {', '.join(INPUTS)}")
    found = graph.read(Path(model.form("onnx")))
    order = {spec.name: spec for spec in (*model.inputs, *model.outputs)}
    names = (*found.inputs, *found.outputs)
    if unknown := [name for name in names if name not in order]:
        raise Unsupported(f"{model.name} does not say what {unknown[0]} is")
    return JaxForm(found, tuple(order[n] for n in found.inputs), tuple(order[n] for n in found.outputs))


def _numpys(name: str) -> Any:
    """A numpy type by name; bfloat16 is one of the package ml_dtypes, which JAX brings."""
    import numpy as np

    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
