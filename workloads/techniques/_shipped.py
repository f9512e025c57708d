"""Networks that training made for a technique: `workloads/graphs/<origin>+<technique>`. Holds no technique.

Nothing here needs torch: graph and weights are found by their manifest.
"""

from __future__ import annotations

import hashlib

from workloads.contract import Model, Training, Unsupported, Workload
from workloads.weights import GRAPHS, Manifest


def there(origin: str, technique: str) -> bool:
    return not origin.endswith(".onnx") and (GRAPHS / f"{origin}+{technique}.json").exists()


def suits(workload: Workload, technique: str) -> bool:
    return there(workload.card.name, technique)


def treated(model: Model, technique: str) -> Model:
    """What lies ready for a model; raises FileNotFoundError where nothing is `there`."""
    manifest = Manifest.read(f"{model.origin}+{technique}", GRAPHS)
    made = manifest.made
    if made is None:
        raise ValueError(f"{manifest.name}.json does not say how it was trained: make techniques")
    graph = (GRAPHS / f"{manifest.name}.onnx").read_bytes()
    content = hashlib.sha256(graph + manifest.sha256.encode()).hexdigest()
    return model.treated(
        technique,
        version=int(content[:8], 16),  # trained anew, it is another model
        origin=manifest.name,
        net=made.build,
        training=Training(made.cpu_s, made.samples),
    )


def required(model: Model, technique: str, instead: str) -> Model:
    """The same; raises Unsupported, naming what to do `instead`, for a network that nobody trained an outcome of."""
    if not there(model.origin, technique):
        raise Unsupported(f"nothing was trained for {model.name} yet: add it to workloads/retrain.py, or {instead}")
    return treated(model, technique)
