"""The network as a torch module in eval mode, with the manifest's weights."""

from __future__ import annotations

from typing import Any

from workloads import weights
from workloads.contract import Model, Unsupported


def build(model: Model) -> Any:
    """The module; it takes the inputs in `Model.inputs` order and returns the outputs, a tuple where there are several."""
    import torch

    if model.net is None:
        raise Unsupported(f"{model.name} comes as an ONNX file, which torch cannot run")
    net = model.net()
    arrays = weights.load(weights.Manifest.read(model.origin))
    known = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    missing, unexpected = net.load_state_dict(known, strict=False, assign=False)
    _refuse_unknown(net, missing, unexpected)
    return net.eval().requires_grad_(False)


def _refuse_unknown(net: Any, missing: list[str], unexpected: list[str]) -> None:
    """Tied duplicates and BatchNorm's batch counters are not in the manifest; anything else is a wrong manifest."""
    tied = {id(t) for name, t in net.state_dict(keep_vars=True).items() if name not in missing}
    tensors = net.state_dict(keep_vars=True)
    wrong = [name for name in missing if tensors[name].is_floating_point() and id(tensors[name]) not in tied]
    if wrong or unexpected:
        raise ValueError(f"manifest and network disagree on {', '.join(wrong + unexpected)}: run make graphs")
