"""digits-small, -medium and -large: handwritten digits, with an accuracy of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads import data
from workloads.contract import Bound, Card, Objective, Quality, Samples, Split, TensorSpec, Tolerance
from workloads.seeded import Trained

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

ROWS = {
    "training": slice(0, 783),
    "calibration": slice(783, 883),
    "perf": slice(883, 947),
    "evaluation": slice(947, 1797),
}
"""Which of the 1797 images serve what; no two share one."""


def part(name: str) -> Samples:
    """All samples of "training", "calibration", "perf" or "evaluation": x (n, 1, 8, 8) float32 in 0..1, label (n,)."""
    import numpy as np

    images, labels = data.digits()
    rows = ROWS[name]
    return Samples({"x": (images[rows, None] / np.float32(16)).astype(np.float32)}, {"label": labels[rows]})


def _card(size: str, flops: int, parameters: int, accuracy: float) -> Card:
    return Card(
        name=f"digits-{size}",
        task="digit recognition",
        sample_unit="image",
        flops=flops,
        parameters=parameters,
        weight_bytes=4 * parameters,
        io_bytes=4 * (64 + 10),
        distinct_inputs=64,
        bounds=(Bound(33.3),),  # chosen: one frame of a 30 Hz camera
        quality=Quality("accuracy", "fraction", "higher", floor=round(0.99 * accuracy, 4)),
        source="trained here on the UCI digits (Alpaydin, Kaynak 1998), https://doi.org/10.24432/C50P49; "
        f"floor: 99 % of fp32's {accuracy:.4f}, the rule of MLPerf Inference",
    )


class _Digits(Trained):
    width: int
    technique_batch = 256
    tolerances = {**Trained.tolerances, "int8": Tolerance(0.998), "int4": Tolerance(0.99)}
    """Measured in int8 with LiteRT 2.3, on XNNPACK and on its reference kernels: 0.9997 or more; with the int8
    techniques in onnxruntime 1.31 and openvino 2026.4: 0.9994 or more for digits-large."""

    def net(self) -> Any:
        from workloads.nets import digits

        return digits.build(digits.Size.of(self.width))

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        return data.pick(part(split), split, n, seed)

    def objective(self) -> Objective:
        return Objective("cross_entropy", (TensorSpec("label", "uint8", (None,)),))

    def lessons(self, n: int, seed: int) -> Samples:
        return data.pick(part("training"), "training", n, seed)

    def score(self, outputs: Arrays, samples: Samples) -> Array:
        """1.0 where the largest logit is the label's, else 0.0; a NaN is no answer."""
        import numpy as np

        logits = outputs["logits"]
        right: Array = (logits.argmax(axis=1) == samples.labels["label"]) & np.isfinite(logits).all(axis=1)
        return right.astype(np.float64)


class DigitsSmall(_Digits):
    card = _card("small", flops=231_680, parameters=4_218, accuracy=0.9788)
    width = 8


class DigitsMedium(_Digits):
    card = _card("medium", flops=905_728, parameters=15_338, accuracy=0.9941)
    width = 16


class DigitsLarge(_Digits):
    subject = True
    card = _card("large", flops=3_580_928, parameters=58_314, accuracy=0.9988)
    width = 32
