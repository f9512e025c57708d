"""fuse-basic: the graph optimisations that keep to ONNX' own operators, to see what fused kernels are worth."""

from __future__ import annotations

from workloads.contract import Technique


class FuseBasic(Technique):
    """Constants folded, redundant nodes removed, BatchNormalization taken into its convolution; no layout, no fusion
    into operators of the library's own (https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html).
    """

    name = "fuse-basic"
    stage = "engine"
    wish = "fusion=basic"
