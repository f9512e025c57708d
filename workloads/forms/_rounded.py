"""The ONNX graph with its matrices rounded to few bits and kept in fp32. Builds no form itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model
from workloads.forms._cache import cached
from workloads.forms._matrices import counted, matrices, replace
from workloads.forms._packages import installed
from workloads.forms._source import whole

if TYPE_CHECKING:
    from workloads.contract import Array

VERSION = 2
"""Goes up with every change of what is written, as files are kept between runs."""


def build(model: Model, bits: int) -> Path:
    """The path of the .onnx file, its weights within, in the cache; raises Unsupported with nothing to round."""
    form = f"onnx_int{bits}_rounded"
    tools = installed(form, "techniques", "onnx")
    source, about = Path(model.form("onnx")), {}

    def make(to: Path) -> None:
        proto = whole(source, form)
        round_all(proto.graph, bits)
        about.update(counted(proto.graph))
        to.write_bytes(proto.SerializeToString(deterministic=True))

    return cached(model, form, (VERSION, *tools), f"{model.name}.onnx", make, about)


def round_all(graph: Any, bits: int) -> None:
    """Every constant matrix of the graph, in place."""
    for matrix in matrices(graph, "round"):
        replace(graph, matrix.name, rounded(matrix.value, bits))


def rounded(value: Array, bits: int) -> Array:
    """(K, N) fp32 with at most 2^bits - 1 values for each output channel, even steps around zero."""
    import numpy as np

    steps = (1 << (bits - 1)) - 1
    scale = np.abs(value).max(axis=0) / np.float32(steps)
    numbers = np.rint(np.divide(value, scale, out=np.zeros_like(value), where=scale != 0))
    result: Array = (numbers * scale).astype(np.float32)
    return result
