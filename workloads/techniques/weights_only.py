"""int8-weights and int4-weights: matrices stored in fewer bits, a scale for every 32 numbers, without calibration."""

from __future__ import annotations

from workloads.contract import Model, Technique


class _WeightsOnly(Technique):
    bits: int
    stage = "graph"
    steps = ("compress the weights",)

    def __init__(self) -> None:
        self.precision = f"int{self.bits}"
        self.name = f"{self.precision}-weights"

    def treat(self, model: Model) -> Model:
        from workloads.forms import _nbits

        return _nbits.treated(model, self.name, self.precision, self.bits)


class Int8Weights(_WeightsOnly):
    """MatMulNBits for every engine that reads ONNX, and torchao's weights for torch. All else stays in fp32."""

    bits = 8


class Int4Weights(_WeightsOnly):
    """As int8-weights, in half of the bytes."""

    bits = 4
