"""distill: a small network that learnt from the large one's answers, and beside it the same one without a teacher."""

from __future__ import annotations

from workloads.contract import Model, Technique, Workload
from workloads.techniques import _shipped


class Distill(Technique):
    """A student with a quarter of the parameters. Temperature 3.0; 0.7 of the loss is the teacher, 0.3 the labels."""

    name = "distill"
    stage = "network"
    own_outputs = True
    steps = ("design a student", "get the training data", "train it on the teacher's answers")

    def suits(self, workload: Workload) -> bool:
        return _shipped.suits(workload, self.name)

    def treat(self, model: Model) -> Model:
        return _shipped.required(model, self.name, "use a smaller network of its family")


class DistillScratch(Distill):
    """The same student by the same seed, steps and data, from the labels alone: what distilling itself buys."""

    name = "distill-scratch"
    control = True
    steps = ("design a student", "get the training data", "train it")
