"""int8-static: weights and activations in int8, their ranges known in advance from calibration samples."""

from __future__ import annotations

from workloads.contract import Model, Technique


class Int8Static(Technique):
    """One QDQ graph for every engine that reads ONNX, and full-integer TFLite for those that read that."""

    name = "int8-static"
    stage = "graph"
    precision = "int8"
    steps = ("collect calibration samples", "quantise")

    def treat(self, model: Model) -> Model:
        from workloads.forms import onnx_qdq, tflite_int8

        def integer() -> object:
            return tflite_int8.build(model)

        made = {"onnx": lambda: onnx_qdq.build(model), "tflite": integer, "tflite_int8": integer}
        return model.treated(self.name, precision=self.precision, made=made, net=None)
