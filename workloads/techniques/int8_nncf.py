"""int8-nncf: int8-static by another quantizer, NNCF, which corrects biases and smooths a transformer's activations."""

from __future__ import annotations

from workloads.contract import Model, Technique


class Int8Nncf(Technique):
    """One QDQ graph for every engine that reads ONNX."""

    name = "int8-nncf"
    stage = "graph"
    precision = "int8"
    steps = ("collect calibration samples", "quantise")

    def treat(self, model: Model) -> Model:
        from workloads.forms import _int8_nncf

        made = {"onnx": lambda: _int8_nncf.build(model)}
        return model.treated(self.name, precision=self.precision, made=made, net=None)
