"""kws: MLPerf Tiny's keyword spotting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


class KeywordSpotting(Seeded):
    card = Card(
        name="kws",
        task="keyword spotting",
        sample_unit="second of sound",
        flops=5_313_536,
        parameters=23_756,
        weight_bytes=99_632,
        io_bytes=2_008,
        distinct_inputs=1024,
        bounds=(Bound(20.0),),  # chosen: a new frame comes every 20 ms; MLPerf Tiny sets none
        quality=None,
        source="DS-CNN, MLPerf Tiny v1.0, https://github.com/mlcommons/tiny",
    )
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.95)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.980 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.971 or more."""

    def net(self) -> Any:
        from workloads.nets import kws

        return kws.build()

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import fields

        return {"mfcc": fields(stream, (n, 1, 49, 10))}
