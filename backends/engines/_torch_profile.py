"""What a torch session holds and what it executes, as torch itself tells. Holds no part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from backends.contract import Executed, Unsupported

PRODUCT = re.compile(r"mm(_|$)|conv(\d|olution)|[^i]linear(_pointwise)?$|mv$|dot_product")
"""Operators that are matrix products or convolutions, those around them included, and Inductor's own."""
WEIGHTS_ONLY = re.compile(r"_weight_(int\d)pack_mm")
"""Kernels that widen integer weights as they multiply: their inputs' types do not say it."""
KINDS = {
    "float": "fp32",
    "double": "fp64",
    "c10::BFloat16": "bf16",
    "c10::Half": "fp16",
    "signed char": "int8",
    "unsigned char": "uint8",
    "c10::Float8_e4m3fn": "fp8",
    "c10::Float8_e5m2": "fp8",
}


def held_bytes(module: Any) -> int:
    """What parameters and buffers take, tied ones once, and of a quantised tensor what it is made of."""
    tensors = {id(one): one for one in (*module.parameters(), *module.buffers())}
    return sum(part.numel() * part.element_size() for one in tensors.values() for part in _parts(one))


def _parts(tensor: Any) -> Iterator[Any]:
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def executed(run: Callable[[], Any]) -> Executed:
    """What `run` executes, from torch.profiler: operators by the type of what they multiply, timed on the GPU if it is
    one that works. A compiled network shows what its compiler leaves to torch's operators.
    """
    from torch.profiler import ProfilerActivity, profile, supported_activities

    wanted = {ProfilerActivity.CPU, ProfilerActivity.CUDA} & set(supported_activities())
    with profile(activities=sorted(wanted, key=str), record_shapes=True) as profiled:
        run()
    return told(profiled.events())


def told(events: Sequence[Any]) -> Executed:
    """Shaped from the profiler's events, of which the innermost products are what runs; Unsupported where none is."""
    operators = [one for one in events if one.device_type.name == "CPU"]  # a GPU's kernels come once more by themselves
    products = [one for one in operators if _is_product(one) and not any(map(_holds_product, one.cpu_children))]
    if not products:
        raise Unsupported("torch's profile shows no matrix product: what is compiled or captured shows none")
    kernels, spent = Counter(map(_kind, products)), Counter[str]()
    on_gpu = any(one.device_time_total for one in products)
    for one in products:
        spent[_kind(one)] += one.device_time_total if on_gpu else one.cpu_time_total
    whole = sum(one.self_device_time_total if on_gpu else one.self_cpu_time_total for one in operators)
    share = {kind: min(1.0, time / whole) for kind, time in spent.items()} if whole else None
    return Executed("torch.profiler", kernels, Counter(one.name for one in products), share)


def _is_product(event: Any) -> bool:
    return "::" in event.name and bool(PRODUCT.search(event.name))


def _holds_product(event: Any) -> bool:
    return _is_product(event) or any(map(_holds_product, event.cpu_children))


def _kind(event: Any) -> str:
    """By the second input: a matrix product's, a convolution's and an added product's factor alike."""
    if found := WEIGHTS_ONLY.search(event.name):
        return f"{found[1]} weights"
    types = [one for one in event.input_dtypes or () if one]
    return KINDS.get(types[min(1, len(types) - 1)], types[-1]) if types else "unknown"
