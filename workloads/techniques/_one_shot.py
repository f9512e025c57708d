"""Weights of any network set to zero by magnitude, without training afterwards. Holds no technique.

Every layer loses the same share of its weights, as torch's `prune.l1_unstructured` has it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported
from workloads.techniques._sparsity import VERSION, l1, rewritten

if TYPE_CHECKING:
    from workloads.contract import Array

LAYERS = ("Linear", "Conv1d", "Conv2d")
DENSE_DIMENSIONS = 2
"""A linear layer's weight is a matrix; a convolution's has a kernel as well."""


def treated(model: Model, technique: str, share: float, linear_only: bool = False) -> Model:
    """The model with `share` of each layer's weights zero; raises Unsupported where no weight is multiplied."""
    change = _change(share, linear_only)
    path = rewritten(model, technique, change)
    made = {"torch": lambda: _module(model, change)}
    return model.treated(technique, VERSION, origin=str(path), net=None, made=made)


def _change(share: float, linear_only: bool) -> Callable[[str, Array], Array]:
    def change(_name: str, array: Array) -> Array:
        return array if linear_only and array.ndim != DENSE_DIMENSIONS else l1(array, share)

    return change


def _module(model: Model, change: Callable[[str, Array], Array]) -> Any:
    """A torch module changed likewise; raises Unsupported where there is none, or none that lies in memory."""
    import torch

    net = model.form("torch")
    if not isinstance(net, torch.nn.Module):
        raise Unsupported(
            f"{model.name} is drawn where it runs, and torch cannot prune it: use an engine that reads ONNX"
        )
    net = copy.deepcopy(net)
    with torch.no_grad():
        for name, weight in layers(net).items():
            weight.copy_(torch.from_numpy(change(name, weight.numpy())))
    return net


def layers(net: Any) -> dict[str, Any]:
    """Weights of convolutions and linear layers by name, without those that are also tables that are looked up."""
    modules = dict(net.named_modules())
    tables = {id(module.weight) for module in modules.values() if type(module).__name__ == "Embedding"}
    weights = {f"{name}.weight": module.weight for name, module in modules.items() if type(module).__name__ in LAYERS}
    return {name: weight for name, weight in weights.items() if id(weight) not in tables}
