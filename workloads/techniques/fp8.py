"""fp8: weights and activations in 8-bit floating point (E4M3), scaled as they come; on GPUs that multiply it."""

from __future__ import annotations

from typing import NoReturn

from workloads.contract import Model, Technique, Unsupported


class Fp8(Technique):
    """torch on a GPU since Ada, through torchao. Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433."""

    name = "fp8"
    stage = "graph"
    precision = "fp8"
    steps = ("quantise",)

    def treat(self, model: Model) -> Model:
        from workloads.forms import _torchao

        made = {"torch": lambda: _torchao.converted(model, self.name), "onnx": _refuse}
        return model.treated(self.name, precision=self.precision, made=made)


def _refuse() -> NoReturn:
    raise Unsupported("no graph is written in fp8: use --engine torch on a GPU of compute capability 8.9")
