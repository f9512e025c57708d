"""autoencoder: MLPerf Tiny's anomaly detection in machine sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


class Autoencoder(Seeded):
    card = Card(
        name="autoencoder",
        task="anomaly detection",
        sample_unit="window of 5 frames",
        flops=528_384,
        parameters=267_928,
        weight_bytes=1_079_968,
        io_bytes=5_120,
        distinct_inputs=1024,
        bounds=(Bound(32.0),),  # chosen: a new frame comes every 32 ms; MLPerf Tiny sets none
        quality=None,
        source="MLPerf Tiny v1.0, https://github.com/mlcommons/tiny",
    )
    outputs = ("reconstruction",)
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.95)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.981 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.989 or more."""

    def net(self) -> Any:
        from workloads.nets import autoencoder

        return autoencoder.build()

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import fields

        return {"spectrogram": fields(stream, (n, 1, 5, 128)).reshape(n, 640)}
