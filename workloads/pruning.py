"""Pruning of trained networks by l1 norm: weights set to zero, or whole channels, heads and units removed. Needs torch.

Unstructured pruning takes the same share of every convolution and linear layer, as torch's `prune.l1_unstructured`
does. Ranking all layers together often keeps more quality at high sparsity (Blalock et al. 2020,
https://arxiv.org/abs/2003.03033), but then a layer's sparsity is an outcome, and "50 %" says little about any of them.
Structured pruning ranks filters by the sum of their absolute weights (Li et al. 2017, https://arxiv.org/abs/1608.08710).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.nets import bytelm, digits
from workloads.techniques._one_shot import layers
from workloads.techniques._sparsity import l1

RAMP = 0.6
"""The part of the steps in which the zeros become more."""
EVERY = 10
"""Steps from one choice of zeros to the next."""

Masks = Mapping[str, Any]
"""By name of a weight: a bool tensor of its shape, false where it is to be zero."""


def masks(net: Any, share: float) -> Masks:
    """Of all convolutions and linear layers, without the `share` of each one's weights that is smallest."""
    import torch

    weights = {name: weight.detach().numpy() for name, weight in layers(net).items()}
    return {name: torch.from_numpy(l1(array, share) != 0) for name, array in weights.items()}


def hold(net: Any, held: Masks) -> None:
    """Set what the masks leave out to zero, in place."""
    import torch

    with torch.no_grad():
        for name, mask in held.items():
            net.get_parameter(name).mul_(mask)


class Gradually:
    """Called after each of `steps` of training, sets weights to zero: more and more, up to `share`, and then those.

    On the cubic schedule of Zhu and Gupta 2017 (https://arxiv.org/abs/1710.01878): 90 % at once left bytelm-large a
    perplexity of 27 after 600 steps, and little by little 6.6.
    """

    def __init__(self, net: Any, share: float, steps: int) -> None:
        self._net, self._share, self._ramp = net, share, max(1, round(RAMP * steps))
        self._taken = 0
        self._held: Masks = {}

    def __call__(self) -> None:
        self._taken += 1
        if self._taken == self._ramp or (self._taken < self._ramp and self._taken % EVERY == 0):
            self._held = masks(self._net, self._share * (1 - (1 - self._taken / self._ramp) ** 3))
        hold(self._net, self._held)


def smaller_digits(net: Any, size: digits.Size) -> Any:
    """A new network of `size` with the strongest channels of `net`."""
    first, second, third = (
        strongest(net[layer].weight.abs().flatten(1).sum(1), count)
        for layer, count in ((0, size.first), (2, size.second), (5, size.third))
    )
    positions = net[9].in_features // net[5].out_channels
    state = net.state_dict()
    state |= {f"{layer}.bias": state[f"{layer}.bias"][kept] for layer, kept in ((0, first), (2, second), (5, third))}
    state["0.weight"] = state["0.weight"][first]
    state["2.weight"] = state["2.weight"][second][:, first]
    state["5.weight"] = state["5.weight"][third][:, second]
    state["9.weight"] = state["9.weight"].unflatten(1, (-1, positions))[:, third].flatten(1)
    return _filled(digits.build(size), state)


def smaller_bytelm(net: Any, size: bytelm.Size) -> Any:
    """A new network of `size` with the strongest heads and feed-forward units of each layer of `net`."""
    state = net.state_dict()
    for number, block in enumerate(net.blocks):
        units = strongest(_strength(block.up, block.down), size.hidden)
        heads = sum(_strength(one, block.out) for one in (block.query, block.key, block.value))
        numbers = _members(strongest(heads.unflatten(0, (-1, size.head)).sum(1), size.heads), size.head)
        for name, kept in (("query", numbers), ("key", numbers), ("value", numbers), ("up", units)):
            for leaf in ("weight", "bias"):
                state[f"blocks.{number}.{name}.{leaf}"] = state[f"blocks.{number}.{name}.{leaf}"][kept]
        for name, kept in (("out", numbers), ("down", units)):
            state[f"blocks.{number}.{name}.weight"] = state[f"blocks.{number}.{name}.weight"][:, kept]
    return _filled(bytelm.build(size), state)


def _strength(into: Any, out_of: Any) -> Any:
    """Sum of the absolute weights that lead into each unit between two linear layers, and out of it."""
    return into.weight.abs().sum(1) + out_of.weight.abs().sum(0)


def strongest(strength: Any, count: int) -> Any:
    """Indices of the `count` largest, ascending."""
    return strength.topk(count).indices.sort().values


def _members(groups: Any, size: int) -> Any:
    import torch

    return (groups[:, None] * size + torch.arange(size)).flatten()


def _filled(net: Any, state: Mapping[str, Any]) -> Any:
    net.load_state_dict(state)
    return net
