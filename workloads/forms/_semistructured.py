"""A torch module with 2:4 sparse weights, packed for a GPU that skips their zeros. Builds no form itself."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

from workloads.contract import Model

AMPERE = (8, 0)


@dataclass(frozen=True)
class SemiStructured:
    """`form` is the network with its zeros, a module or what places one."""

    form: Any

    def place(self, device: Any, dtype: Any) -> Any:
        """A new module in eval mode on a torch device in `dtype`.

        Only sparse tensor cores skip zeros: of a GPU since Ampere, in 16 bits. Elsewhere the zeros are multiplied.
        """
        import torch

        if hasattr(self.form, "place"):
            module = self.form.place(device, dtype)
        else:
            module = copy.deepcopy(self.form).to(device, dtype).eval()
        in_16_bits = dtype in (torch.float16, torch.bfloat16)
        if device.type == "cuda" and in_16_bits and torch.cuda.get_device_capability(device) >= AMPERE:
            pack(module)
        return module


def semi_structured(model: Model) -> SemiStructured:
    return SemiStructured(model.form("torch"))


def pack(module: Any) -> None:
    """Every Linear of `module` that has the pattern keeps two values of four, and where they stood."""
    import torch

    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear) and _is_two_of_four(layer.weight):
            layer.weight = _packed(torch, layer.weight)


def _is_two_of_four(weight: Any) -> bool:
    """Packing what has more weights in a group would drop some of them."""
    if weight.shape[1] % 4:
        return False
    kept = (weight.unflatten(1, (-1, 4)) != 0).sum(-1)
    return int(kept.max()) <= 2


def _packed(torch: Any, weight: Any) -> Any:
    """The weight as it is where its shape fits no kernel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says of this interface that it may change
        try:
            packed = torch.sparse.to_sparse_semi_structured(weight)
        except RuntimeError:  # both sizes have to be multiples of 16 to 64, which depends on the kernels of the build
            return weight
    return torch.nn.Parameter(packed, requires_grad=False)
