"""prune-structured-50: the weakest channels, heads and feed-forward units are gone, and half of the parameters."""

from __future__ import annotations

from workloads.contract import Model, Technique, Workload
from workloads.techniques import _shipped


class PruneStructured50(Technique):
    """A dense network that is really smaller, fine-tuned. By l1 norm, after Li et al. 2017, arXiv 1608.08710."""

    name = "prune-structured-50"
    stage = "network"
    own_outputs = True
    steps = ("rank channels and heads", "cut every layer to fit", "get the training data", "fine-tune")

    def suits(self, workload: Workload) -> bool:
        return _shipped.suits(workload, self.name)

    def treat(self, model: Model) -> Model:
        return _shipped.required(model, self.name, "use prune-unstructured-50, which works without training")
