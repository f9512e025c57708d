"""mobilenetv2: image classification made for phones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


class MobileNetV2(Seeded):
    card = Card(
        name="mobilenetv2",
        task="image classification",
        sample_unit="image",
        flops=601_548_544,
        parameters=3_504_872,
        weight_bytes=14_155_936,
        io_bytes=606_112,
        distinct_inputs=64,
        bounds=(Bound(10.0),),  # MLPerf Inference v0.5, server, for its light image classifier (MobileNet-v1): 10 ms
        quality=None,
        source="Sandler et al. 2018, https://arxiv.org/abs/1801.04381",
    )
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.9)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.949 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.931 or more."""

    def net(self) -> Any:
        from workloads.nets import mobilenetv2

        return mobilenetv2.build()

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import fields

        return {"image": fields(stream, (n, 3, 224, 224))}
