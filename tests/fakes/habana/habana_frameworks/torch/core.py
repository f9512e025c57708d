"""As the real one, it registers the compiler of the card; this one hands the graph back as it is."""

from habana_frameworks.torch import calls

import torch


def mark_step() -> None:
    calls["mark_step"] += 1


def _compile(graph, inputs):
    calls["compiled"] += 1
    return graph.forward


torch._dynamo.register_backend(_compile, name="hpu_backend")
