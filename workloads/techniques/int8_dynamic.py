"""int8-dynamic: weights in int8, the range of activations looked up for each query: nothing is calibrated."""

from __future__ import annotations

from workloads.contract import Model, Technique


class Int8Dynamic(Technique):
    """Matrix products only: in a convolutional network little is left to gain."""

    name = "int8-dynamic"
    stage = "graph"
    precision = "int8"
    steps = ("quantise",)

    def treat(self, model: Model) -> Model:
        from workloads.forms import _int8_dynamic

        def converted() -> object:
            from workloads.forms import _torchao

            return _torchao.converted(model, self.name)

        made = {"onnx": lambda: _int8_dynamic.build(model), "torch": converted}
        return model.treated(self.name, precision=self.precision, made=made, net=None)
