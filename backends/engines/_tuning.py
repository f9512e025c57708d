"""What engines decide alike: is it installed, are options and precision known, threads and streams. Holds no part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from backends._cores import usable
from backends.contract import Model, Plan, Presence, Unsupported

if TYPE_CHECKING:
    from backends.contract import Arrays
    from workloads.contract import TensorSpec

CHECKOUT = ".venv/bin/pip install -e '.[{extra}]' -c constraints.txt"
ONNX_FORMS = {"fp16": "onnx_fp16", "bf16": "onnx_bf16", "int8": "onnx_qdq"}
"""For engines whose precision lies in the ONNX graph."""
COUNT_MAX = 4_096
"""More than any host has cores: a mistyped number of threads would fill the memory with their stacks."""


@dataclass(frozen=True)
class Spread:
    """`streams` runs overlap, each on `threads` threads of its own."""

    threads: int
    streams: int


def spread(plan: Plan) -> Spread:
    """Of a CPU. Latency: every usable core works on one run. Throughput: every core has a run of its own.

    On few cores, one-thread streams had the highest throughput, before any batch size or shared pool. Where an option
    sets one of the two, the other shares out the cores.
    """
    cores = usable().cores
    if plan.goal == "latency" or "streams" in plan.options:
        streams = whole(plan.options, "streams", 1)
        return Spread(whole(plan.options, "threads", max(1, cores // streams)), streams)
    threads = whole(plan.options, "threads", 1)
    return Spread(threads, max(1, cores // threads))


def check_options(engine: str, plan: Plan, known: Iterable[str], trains: bool = False) -> None:
    """Refuses options that the engine would otherwise ignore, and training, which most of these engines do not."""
    if plan.mode != "infer" and not trains:
        raise Unsupported(f"{engine} does not train")
    if unknown := sorted(set(plan.options) - set(known)):
        names = ", ".join(sorted(known)) or "none"
        raise Unsupported(f"{engine} has no option {', '.join(unknown)}; it knows: {names}")


def check_precision(engine: str, plan: Plan, known: Sequence[str], why: str, model: Model | None = None) -> None:
    """Refuses a precision that the engine would not really compute in.

    A `model` that a technique brought into the precision has it in itself: what the engine makes of that is seen in
    what it executes (`Session.executed`).
    """
    brought = model is not None and plan.precision == model.precision != "fp32"
    if plan.precision not in known and not brought:
        raise Unsupported(f"{engine} does not compute in {plan.precision} here, only in {' or '.join(known)}: {why}")


def whole(options: Mapping[str, str], name: str, default: int) -> int:
    """An option that counts threads or streams, at least 1."""
    text = options.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= COUNT_MAX:
        raise Unsupported(f"option {name}={text} is no whole number from 1 to {COUNT_MAX:,}")
    return int(text)


def choice(options: Mapping[str, str], name: str, default: str, known: Iterable[str]) -> str:
    """An option that is one of a few words."""
    text = options.get(name, default)
    if text not in known:
        raise Unsupported(f"option {name}={text} is none of {', '.join(known)}")
    return text


def importable(engine: str, module: str, extra: str) -> Presence:
    """Whether a module could be imported, without importing it."""
    if find_spec(module) is None:
        return Presence("absent", f"{engine} needs the package {module}", CHECKOUT.format(extra=extra))
    return Presence("present")


def unreachable(engine: str, device: str) -> Presence:
    """The answer to a device that has no address for the engine."""
    return Presence("absent", f"{engine} cannot drive {device}", f"leave out --engine={engine} or --backend")


def installed(distribution: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_arrays(specs: Sequence[TensorSpec], arrays: Arrays) -> None:
    """Refuses what the network was not made for, on behalf of libraries that would broadcast or cast it silently."""
    if len(arrays) != len(specs) or any(spec.name not in arrays for spec in specs):
        raise ValueError(f"inputs are {', '.join(arrays)} and must be {', '.join(spec.name for spec in specs)}")
    for spec in specs:
        array = arrays[spec.name]
        same = all(want in (None, have) for want, have in zip(spec.shape, array.shape))
        if array.ndim != len(spec.shape) or not same or array.dtype != spec.dtype:
            raise ValueError(f"{spec.name} is {array.dtype}{array.shape} and must be {spec.dtype}{spec.shape}")
