"""mixed-bf16 and mixed-fp16: weights stored in 16 bits, products in 16 bits where the device has them."""

from __future__ import annotations

import importlib

from workloads.contract import Model, Technique

FROM_WHOLE = ("torch", "jax", "tflite", "tflite_int8")
"""Forms whose engines cast by themselves, or refuse: they are lowered from the fp32 graph, as without a technique."""


class _Mixed(Technique):
    """The graph with its casts, half as large. Precision alone (`--precision`) asks an engine for the same and leaves
    the file in fp32. An engine that would compute in another precision refuses, as it does without a technique.
    """

    stage = "graph"
    steps = ("cast the weights",)

    def treat(self, model: Model) -> Model:
        form = f"onnx_{self.precision}"

        def half() -> object:
            return importlib.import_module(f"workloads.forms.{form}").build(model)

        whole = {name: _lowering(model, name) for name in FROM_WHOLE}
        return model.treated(self.name, made={**whole, "onnx": half, form: half})


def _lowering(model: Model, name: str) -> object:
    return lambda: model.form(name)


class MixedBf16(_Mixed):
    name = "mixed-bf16"
    precision = "bf16"


class MixedFp16(_Mixed):
    name = "mixed-fp16"
    precision = "fp16"
