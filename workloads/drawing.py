"""Weights drawn where they are to be used, for networks that are too large to lie in host memory first.

The generator of `workloads/generator.py` once more, in torch's integer operations, which every device has: the same
values to the bit. int64 stands for uint64: products wrap alike, and a mask makes its right shift a logical one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import generator
from workloads.weights import Tensor

if TYPE_CHECKING:
    Tensors = Iterable[Tensor]

CHUNK_WORDS = 1 << 22
"""Words made at once: enough that starting operations takes no time, and temporaries stay under 200 MB."""
CHECKED = 64
"""Values at each end of a tensor, and of its first chunk, that are compared with numpy's."""


class WrongDrawError(Exception):
    """A device has drawn other weights than numpy: its integer arithmetic is not what torch promises."""


def draw(out: Any, name: str, scale: float, centre: float = 0.0) -> None:
    """Fill a contiguous torch tensor with the stream `name`, rounded to its dtype; as `generator.uniform` otherwise.

    In host memory numpy does it, on one thread: those of torch wait for each other on a busy machine. Raises
    WrongDrawError where the ends of what a device has drawn are not what numpy draws.
    """
    import torch

    flat = out.view(-1)
    if out.device.type != "cpu":
        draw_there(flat, name, scale, centre)
        return
    done = 0
    for chunk in generator.uniform_chunks(name, flat.numel(), scale, centre):
        flat[done : done + chunk.size].copy_(torch.from_numpy(chunk))
        done += chunk.size


def draw_there(flat: Any, name: str, scale: float, centre: float = 0.0, chunk: int = CHUNK_WORDS) -> None:
    """As `draw`, on whatever device the flat tensor lies, by that device."""
    for first, values in _chunks(name, flat.numel(), scale, centre, chunk, flat.device):
        flat[first : first + values.numel()].copy_(values)
    _check(flat, name, scale, centre, 2 * chunk)


def _chunks(name: str, count: int, scale: float, centre: float, chunk: int, device: Any) -> Iterator[tuple[int, Any]]:
    """Number of the first value, and values as float32."""
    import torch

    seed, needed = generator.seed_of(name), (count + 1) // 2
    steps = torch.arange(min(chunk, needed), dtype=torch.int64, device=device) * _signed(generator.GAMMA)
    unit = float(np.float32(scale) / np.float32(1 << 23))
    for word in range(0, needed, chunk):
        z = steps[: needed - word] + _signed(seed + (word + 1) * generator.GAMMA)
        for shift, factor in generator.FACTORS:
            z ^= _shifted(z, shift)
            z *= _signed(factor)
        z ^= _shifted(z, generator.LAST_SHIFT)
        halves = torch.stack(((z >> 8) & 0xFFFFFF, (z >> 40) & 0xFFFFFF), -1).view(-1)
        values = halves.sub_(1 << 23).float().mul_(unit)
        if centre:
            values += float(np.float32(centre))
        yield 2 * word, values[: count - 2 * word]


def _shifted(z: Any, bits: int) -> Any:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    """The int64 of the same 64 bits."""
    word &= (1 << 64) - 1
    return word - ((word >> 63) << 64)


def _check(flat: Any, name: str, scale: float, centre: float, border: int) -> None:
    import torch

    count = flat.numel()
    for first in {0, max(0, min(border, count) - CHECKED), max(0, count - CHECKED)}:
        length = min(2 * CHECKED, count - first)
        right = torch.from_numpy(np.concatenate([*generator.uniform_chunks(name, length, scale, centre, first)]))
        if not torch.equal(flat[first : first + length].cpu(), right.to(flat.dtype)):
            raise WrongDrawError(f"{flat.device} drew other values for {name} than numpy: do not measure on it")


def hollow(make: Callable[[], Any]) -> Any:
    """The network in eval mode, its parameters without memory (torch's device "meta").

    Buffers that no manifest names have their values, where the network makes them on an explicit device.
    """
    import torch

    with torch.device("meta"):
        return make().eval().requires_grad_(False)


def zeros(net: Any) -> Any:
    """A copy of a hollow network whose parameters are zeros that share one number's memory."""
    import torch

    net = copy.deepcopy(net)
    for module, leaf, parameter in _slots(net):
        same = torch.zeros((), dtype=parameter.dtype).expand(parameter.shape)
        setattr(module, leaf, torch.nn.Parameter(same, requires_grad=False))
    return net


def place(net: Any, tensors: Tensors, device: Any, dtype: Any) -> Any:
    """Give a hollow network its weights, drawn on `device` in `dtype`, one tensor after another."""
    recipes = _recipes(net, tensors)
    made: dict[int, Any] = {}
    for module, leaf, parameter in _slots(net):
        if id(parameter) not in made:
            made[id(parameter)] = _made(recipes[id(parameter)], device, dtype)
        setattr(module, leaf, made[id(parameter)])
    return net.to(device, dtype)


@contextmanager
def passing(net: Any, tensors: Tensors, dtype: str) -> Iterator[Any]:
    """A hollow network on the CPU whose layers have their weights only while they compute.

    So no more than one layer's are ever in memory, and every run draws all of them anew.
    """
    import torch

    recipes = _recipes(net, tensors)
    slots: dict[Any, list[tuple[str, Any]]] = {}
    for module, leaf, parameter in _slots(net):
        slots.setdefault(module, []).append((leaf, parameter))

    def enter(module: Any, _: Any) -> None:
        for leaf, parameter in slots[module]:
            setattr(module, leaf, _made(recipes[id(parameter)], "cpu", getattr(torch, dtype)))

    def leave(module: Any, *_: Any) -> None:
        for leaf, parameter in slots[module]:
            setattr(module, leaf, parameter)

    hooks = [module.register_forward_pre_hook(enter) for module in slots]
    hooks += [module.register_forward_hook(leave) for module in slots]
    try:
        yield net
    finally:
        for hook in hooks:
            hook.remove()


def _slots(net: Any) -> list[tuple[Any, str, Any]]:
    """Every module with the name and the value of each parameter of its own; tied ones come several times."""
    return [(module, *pair) for module in net.modules() for pair in module.named_parameters(recurse=False)]


def _recipes(net: Any, tensors: Tensors) -> dict[int, Tensor]:
    """How each parameter is drawn, by its id."""
    known = {tensor.name: tensor for tensor in tensors}
    own = dict(net.named_parameters())
    if wrong := [name for name in {**known, **own} if _shape(known, name) != _shape(own, name)]:
        raise ValueError(f"manifest and network disagree on {', '.join(wrong)}: run make graphs")
    return {id(parameter): known[name] for name, parameter in own.items()}


def _shape(tensors: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _made(tensor: Tensor, device: Any, dtype: Any) -> Any:
    import torch

    if tensor.scale is None or tensor.centre is None or tensor.balanced:
        raise ValueError(f"tensor {tensor.name} cannot be drawn on a device: only uniform ones can")
    values = torch.empty(tensor.shape, device=device, dtype=dtype)
    draw(values, f"weights/{tensor.name}", tensor.scale, tensor.centre)
    return torch.nn.Parameter(values, requires_grad=False)
