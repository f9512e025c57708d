"""int8-weights-nncf and int4-weights-nncf: weights compressed by NNCF, as OpenVINO reads them."""

from __future__ import annotations

from workloads.contract import Model, Technique


class _Compressed(Technique):
    """Tables of embeddings too, which MatMulNBits has no place for."""

    stage = "graph"
    steps = ("compress the weights",)

    def treat(self, model: Model) -> Model:
        from workloads.forms import _nncf_weights

        def elsewhere() -> object:
            return _nncf_weights.refuse(self.name)

        made = {"openvino": lambda: _nncf_weights.build(model, self.precision)}
        others = dict.fromkeys(("onnx", "torch"), elsewhere)
        return model.treated(self.name, precision=self.precision, made={**others, **made}, net=None)


class Int8WeightsNncf(_Compressed):
    name = "int8-weights-nncf"
    precision = "int8"


class Int4WeightsNncf(_Compressed):
    name = "int4-weights-nncf"
    precision = "int4"
