"""resnet50: MLPerf Inference's image classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


class ResNet50(Seeded):
    subject = True
    card = Card(
        name="resnet50",
        task="image classification",
        sample_unit="image",
        flops=8_178_368_512,
        parameters=25_557_032,
        weight_bytes=102_440_608,
        io_bytes=606_112,
        distinct_inputs=64,
        bounds=(Bound(15.0),),  # MLPerf Inference, data centre, server: 15 ms
        quality=None,
        source="ResNet-50 v1.5, MLPerf Inference, https://github.com/mlcommons/inference",
    )
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.9), "int4": Tolerance(0.8)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.948 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.947 or more. In int4: 0.877."""

    def net(self) -> Any:
        from workloads.nets import resnet50

        return resnet50.build()

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import fields

        return {"image": fields(stream, (n, 3, 224, 224))}
