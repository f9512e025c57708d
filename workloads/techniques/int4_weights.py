"""int4-weights: matrices stored in 4 bits, a scale for every 32 numbers, without calibration."""

from __future__ import annotations

from workloads.contract import Model, Technique


class Int4Weights(Technique):
    """MatMulNBits for every engine that reads ONNX, and torchao's weights for torch. All else stays in fp32."""

    name = "int4-weights"
    stage = "graph"
    precision = "int4"
    steps = ("compress the weights",)

    def treat(self, model: Model) -> Model:
        from workloads.forms import _nbits

        return _nbits.treated(model, self.name, self.precision, bits=4)
