"""What a TensorRT engine computes in, by its inspector, and how long its layers take, by its profiler. Holds no part.

IEngineInspector of an engine built with ProfilingVerbosity.DETAILED, as TensorRT 11 writes it: a layer has `LayerType`,
`TacticName` (the kernel), `Weights` and, for each tensor, a `DataType` (docs/targets/cuda.md). IProfiler reports each
layer of a run by its name, in milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract import Executed, Unsupported

PRODUCT = re.compile(r"conv(?!er)|gemm|gemv|matmul|matrix|mha|attention", re.IGNORECASE)
"""In the type of a layer that multiplies: CaskConvolution, CaskDeconvolution, gemm, MatrixMultiply."""
KINDS = {"Float": "fp32", "Half": "fp16", "BFloat16": "bf16", "Int8": "int8", "FP8": "fp8", "Int4": "int4"}
SOURCE = "TensorRT's engine inspector, timed by its profiler"


def profiler(trt: Any) -> Any:
    """One that adds up `times_ms` by the name of the layer."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)  # the binding wants its own constructor, and no super()
            self.times_ms: Counter[str] = Counter()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms[layer_name] += ms  # type: ignore[assignment]

    return Profiler()


def executed(layers: Sequence[Mapping[str, Any]], times_ms: Mapping[str, float], tf32: bool) -> Executed:
    """Products by what they multiply; their share is of the time of all layers, None where none was reported."""
    if not layers:
        raise Unsupported("TensorRT's inspector tells the names of its layers only")
    kernels, names, spent_ms = Counter[str](), Counter[str](), dict[str, float]()
    for layer in layers:
        names[str(layer.get("TacticName") or layer.get("LayerType", "unknown"))] += 1
        if PRODUCT.search(str(layer.get("LayerType", ""))):
            kind = _kind(layer, tf32)
            kernels[kind] += 1
            spent_ms[kind] = spent_ms.get(kind, 0.0) + times_ms.get(str(layer.get("Name")), 0.0)
    total_ms = sum(times_ms.values())
    share = {kind: min(1.0, ms / total_ms) for kind, ms in spent_ms.items()} if total_ms else None
    return Executed(SOURCE, kernels, names, share)


def _kind(layer: Mapping[str, Any], tf32: bool) -> str:
    """What comes in, and the weights where they are stored otherwise. TF32 is told by the kernel's name alone."""
    types = [one["DataType"] for one in layer.get("Inputs", []) if "DataType" in one]
    came, weights = types[0] if types else "unknown", dict(layer.get("Weights") or {}).get("Type")
    name = KINDS.get(came, came)
    if name == "fp32" and tf32 and "tf32" in str(layer.get("TacticName", "")).lower():
        name = "tf32"
    return name if weights in (None, came) else f"{name} by {KINDS.get(weights, weights)} weights"
