"""What OpenVINO executed on a CPU, from the runtime model: the graph as it was compiled to kernels. Holds no part.

Each of its nodes has a `primitiveType`, the kernel with what it computes in ("brgemm_avx512_amx_I8"), and with the
property PERF_COUNT, after a run, `execTimeMcs`, its mean time (docs.openvino.ai, "Performance counters" and
openvino/runtime/exec_model_info.hpp). Counting takes time, so it is done in a second compiled model. Weights that stay
compressed are those of a kernel that computes in floating point and whose second input is of integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.contract import Executed, Unsupported
from backends.engines._executed import Kernel, check_again, told

if TYPE_CHECKING:
    from backends.contract import Facts, Values

PRODUCTS = {
    "Convolution", "Deconvolution", "FullyConnected", "GatherMatmul", "LLMMLP", "MHA", "MatMul", "QKVProjection",
    "RNNCell", "RNNSeq", "ScaledAttn",
}  # fmt: skip
"""Layers that are matrix products or convolutions. Attention that was fused into a "Subgraph" is not told apart."""
NOT_KERNELS = ("Const", "Input", "Output")
TYPES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8", "f64": "fp64"}
WEIGHTS = {
    "i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4", "nf4": "nf4", "u3": "int3", "u2": "int2",
    "f8e4m3": "fp8", "f8e5m2": "fp8", "f4e2m1": "fp4",
}  # fmt: skip
RUNS = 5
COMPILE_MAX_S = 2.0
"""Times are worth a second compilation of so much; counts come without one."""
COUNTING = {"PERF_COUNT": True, "NUM_STREAMS": 1}
"""One stream, as a runtime model is of one of them."""


def executed(compiled: Any, again: Callable[[], Any], facts: Facts, path: Path, values: Values) -> Executed:
    """Kernels of `compiled`, with their times where compiling it `again` is cheap; `values` are (port, tensor)."""
    try:
        check_again(facts, path, COMPILE_MAX_S)
    except Unsupported:
        return told("openvino's runtime model", kernels(compiled))
    counted = again()
    request = counted.create_infer_request()
    for index, tensor in values:
        request.set_input_tensor(index, tensor)
    for _ in range(RUNS):
        request.infer()
    return told("openvino's runtime model, with times of a second one", kernels(counted))


def kernels(compiled: Any) -> Iterator[Kernel]:
    for node in compiled.get_runtime_model().get_ordered_ops():
        about = {key: str(value.value) for key, value in node.get_rt_info().items()}
        layer, primitive = about["layerType"], about["primitiveType"]
        time = about.get("execTimeMcs", "not_executed")
        if layer not in NOT_KERNELS and (layer in PRODUCTS or time.isdigit()):
            precision = _precision(node, about) if layer in PRODUCTS else ""
            yield Kernel(f"{layer} {primitive}", precision, float(time) if time.isdigit() else None)


def _precision(node: Any, about: dict[str, str]) -> str:
    """The kernel's own word for what it computes in, else the layer's; "int4 weights" where only those are of it."""
    own = about["primitiveType"].rpartition("_")[2].lower()
    computed = TYPES.get(own) or TYPES.get(about["runtimePrecision"], about["runtimePrecision"])
    inputs = [one.get_element_type().get_type_name() for one in node.inputs()]
    weights = WEIGHTS.get(inputs[1], "") if len(inputs) > 1 else ""
    return f"{weights} weights" if weights and computed in ("fp32", "bf16", "fp16") else computed
