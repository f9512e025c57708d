"""int3-rounded: matrices rounded to 3 bits and stored in fp32, to see that worse weights are seen as worse."""

from __future__ import annotations

from workloads.contract import Model, Technique, Workload


class Int3Rounded(Technique):
    """A control of the method: between int4 and nothing, it has to cost quality and save no byte.

    It is another function in fp32, so its right outputs are its own, and what it lost shows in its quality.
    """

    name = "int3-rounded"
    stage = "graph"
    own_outputs = True
    control = True
    steps = ("round the weights",)

    def suits(self, workload: Workload) -> bool:
        return workload.card.quality is not None

    def treat(self, model: Model) -> Model:
        from workloads.forms import _rounded

        path = _rounded.build(model, bits=3)
        return model.treated(self.name, _rounded.VERSION, origin=str(path), net=None)
