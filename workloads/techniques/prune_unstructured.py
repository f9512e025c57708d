"""prune-unstructured-30, -50 and -90: the smallest weights of every layer are zero, masks removed.

They are plain zeros in plain dense tensors, so the file stays as large as it was and dense kernels multiply them as
before. Trained families have learnt once more with their zeros held; any other network is pruned as it is.
"""

from __future__ import annotations

from workloads.contract import Model, Technique, Workload
from workloads.techniques import _one_shot, _shipped


class _Unstructured(Technique):
    percent: int
    stage = "network"
    own_outputs = True
    steps = ("set the smallest weights to zero", "get the training data", "fine-tune with the zeros held")

    def __init__(self) -> None:
        self.name = f"prune-unstructured-{self.percent}"

    def suits(self, workload: Workload) -> bool:
        """Of a network whose quality nobody can measure, one share tells as much as three."""
        return workload.card.quality is not None or self.percent == 50

    def taken(self, outcome: Model) -> tuple[str, ...]:
        """Without training it is one step."""
        return self.steps if outcome.training else self.steps[:1]

    def treat(self, model: Model) -> Model:
        if _shipped.there(model.origin, self.name):
            return _shipped.treated(model, self.name)
        return _one_shot.treated(model, self.name, self.percent / 100)


class PruneUnstructured30(_Unstructured):
    percent = 30


class PruneUnstructured50(_Unstructured):
    percent = 50


class PruneUnstructured90(_Unstructured):
    percent = 90


class PruneLinear30(Technique):
    """30 % of every linear layer's weights, and nothing learnt afterwards: what the published guide does."""

    name = "prune-linear-30"
    stage = "network"
    own_outputs = True
    steps = ("set the smallest weights to zero",)

    def suits(self, workload: Workload) -> bool:
        return workload.card.quality is not None

    def treat(self, model: Model) -> Model:
        return _one_shot.treated(model, self.name, 0.3, linear_only=True)
