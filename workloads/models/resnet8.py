"""resnet8: MLPerf Tiny's image classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


class ResNet8(Seeded):
    card = Card(
        name="resnet8",
        task="image classification",
        sample_unit="image",
        flops=25_003_264,
        parameters=78_186,
        weight_bytes=314_664,
        io_bytes=12_328,
        distinct_inputs=1024,
        bounds=(Bound(33.3),),  # chosen: one frame of a 30 Hz camera; MLPerf Tiny sets none
        quality=None,
        source="MLPerf Tiny v1.0, https://github.com/mlcommons/tiny",
    )
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.95)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.992 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.995 or more."""

    def net(self) -> Any:
        from workloads.nets import resnet8

        return resnet8.build()

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import fields

        return {"image": fields(stream, (n, 3, 32, 32))}
