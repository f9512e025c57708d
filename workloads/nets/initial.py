"""From what interval each tensor of a network is drawn, so that activations keep their size through any depth.

Matrices and filters follow He et al. 2015 ("Delving deep into rectifiers"): variance gain**2 / fan_in. What has passed
a ReLU has a mean that is common to all samples and, layer upon layer, drowns what differs between them; filters that
sum to zero let only the differences through (`balanced`; Brock et al. 2021, arXiv 2101.08692, who also give the gain
that goes with it). The last layer of a residual branch gets a small gain, which keeps deep sums within float16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_HE = math.sqrt(2.0)
_BALANCED = math.sqrt(2.0 / (1.0 - 1.0 / math.pi))
_DEVIATION = math.sqrt(3.0)
"""A uniform distribution over [-sqrt(3), sqrt(3)) has variance 1."""


@dataclass(frozen=True)
class Draw:
    """How one tensor is drawn: uniform in [centre - scale, centre + scale), each filter less its mean if `balanced`."""

    scale: float
    centre: float = 0.0
    balanced: bool = False


_PER_CHANNEL = {"running_mean": Draw(0.1), "running_var": Draw(0.2, 1.0), "bias": Draw(0.1)}


def scaled(module: Any, gain: float) -> Any:
    """`module`, its weight drawn with `gain` instead of the default."""
    module.gain = gain
    return module


def balanced(module: Any, gain: float = _BALANCED) -> Any:
    """`module`, a convolution or linear layer behind a ReLU, each of its filters summing to zero."""
    module.balanced = True
    return scaled(module, gain)


def state(net: Any) -> dict[str, Any]:
    """The float tensors of the state_dict by name, tied ones once."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def draw(net: Any, name: str, tensor: Any) -> Draw:
    """How the tensor `name` of `net` is drawn."""
    owner_name, _, leaf = name.rpartition(".")
    if leaf in _PER_CHANNEL:
        return _PER_CHANNEL[leaf]
    owner = net.get_submodule(owner_name)
    if tensor.ndim == 1:
        gain = getattr(owner, "gain", 1.0)
        return Draw(_rounded(0.2 * gain), gain)
    if type(owner).__name__ == "Embedding":
        return Draw(_rounded(getattr(owner, "gain", 1.0) * _DEVIATION))
    deviation = getattr(owner, "gain", _HE) / math.sqrt(tensor.numel() // tensor.shape[0])
    return Draw(_rounded(deviation * _DEVIATION), balanced=getattr(owner, "balanced", False))


def _rounded(scale: float) -> float:
    """To six digits: what is committed is not to hang on the last bit of a square root."""
    return float(f"{scale:.6g}")
