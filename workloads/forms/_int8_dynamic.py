"""The ONNX graph with int8 weights, whose activations are quantised as they come. Builds no form itself.

Weights have a scale for each output channel, activations one for each tensor and query: DynamicQuantizeLinear and
MatMulInteger. Only matrix products and embeddings: ONNX Runtime's ConvInteger was 5 to 7 times slower than fp32 on
resnet50 and digits-large. OpenVINO reads the operators and computes them in fp32.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached
from workloads.forms._matrices import MIN_SHARE
from workloads.forms._packages import installed
from workloads.forms._prepared import prepared, weighted
from workloads.forms.onnx_qdq import LAYERS as ALL_LAYERS
from workloads.forms.onnx_qdq import runtime

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
FORM = "onnx_int8_dynamic"
LAYERS = ("Gemm", "MatMul")


def build(model: Model) -> Path:
    """The path of the .onnx file, its weights within, in the cache; raises Unsupported with nothing to quantise."""
    tools = [*installed(FORM, "techniques", "onnx"), runtime(FORM)]
    path = Path(model.form("onnx"))
    return cached(model, FORM, (VERSION, *tools), f"{model.name}.onnx", lambda to: quantise(path, to))


def quantise(path: Path, to: Path) -> None:
    """Write the graph in `path` to `to`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    proto = prepared(path, FORM, LAYERS)
    if (share := products_share(proto.graph)) < MIN_SHARE:
        raise Unsupported(
            f"{path.stem} has {share:.0%} of its weights in {' or '.join(LAYERS)}, and would mostly stay fp32: "
            "use int8-static, which quantises convolutions too"
        )
    del proto.graph.value_info[:]  # what an exporter left there contradicts what the quantizer infers
    quantize_dynamic(proto, to, op_types_to_quantize=[*LAYERS, "Gather"], per_channel=True, weight_type=QuantType.QInt8)


def products_share(graph: Any) -> float:
    """Which part of the weights of all layers lies in matrix products."""
    sizes: dict[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    total: int = sum(sizes[node.input[1]] for node in weighted(graph, ALL_LAYERS))
    products = sum(sizes[node.input[1]] for node in weighted(graph, LAYERS))
    return products / total
