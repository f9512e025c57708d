"""prune-2to4: two weights of every four are zero, a pattern that sparse tensor cores skip."""

from __future__ import annotations

from dataclasses import replace

from workloads.contract import Model, Technique
from workloads.techniques import _sparsity


class PruneTwoOfFour(Technique):
    """By magnitude, without training after. Mishra et al. 2021, https://arxiv.org/abs/2104.08378.

    Nothing but a GPU since Ampere skips the zeros, and of the engines here torch alone is asked to, in fp16 or bf16:
    elsewhere this shows what the pattern costs in quality.
    """

    name = "prune-2to4"
    stage = "network"
    steps = ("prune",)
    own_outputs = True

    def treat(self, model: Model) -> Model:
        from workloads.forms import _semistructured

        path = _sparsity.rewritten(model, self.name, lambda _, array: _sparsity.two_of_four(array))
        pruned = model.treated(self.name, _sparsity.VERSION, origin=str(path))
        return replace(pruned, made={"torch": lambda: _semistructured.semi_structured(pruned)})
