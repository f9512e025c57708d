"""The TPU compiler of libtpu, through JAX and without a TPU: what it says of a program. Holds no part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from backends.contract import Presence, Unsupported
from backends.engines._hlo import products
from backends.engines._tuning import CHECKOUT, installed

ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
"""Read by libtpu when it is loaded: other processes may compile too, no log files, no question to a metadata server."""
ONE_CHIP = [1, 1, 1]
"""A host's share of a topology: the default, 2x2x1, refuses a single chip."""
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
UNKNOWN_CYCLES = 2**62
"""What has no estimate stands as the largest int64."""
LOOP = re.compile(r"^\s*(?:ROOT )?%?\S+ = .* while\(", re.MULTILINE)
ON_HOST = '_xla_compute_type="host"'
NO_ROOM = re.compile(r"\((\d[\d.]*)([KMGT]?)\) exceeds available HBM \((\d[\d.]*)([KMGT]?)\)")
NO_ROOM_USED = re.compile(r"Used (\d[\d.]*)([KMGT]?) of (\d[\d.]*)([KMGT]?) hbm")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
TOO_LARGE = 1 << 20
"""Rows of a square matrix of bf16 (2 TiB) that no TPU holds."""


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program for one TPU core or chip, `kind` being its name for that.

    `flops` counts what the program does, padding included. `cycles` sums the cost model over its instructions; None
    where one has no estimate. Both are None where it `loops`, as they count one round. `on_host`: instructions that the
    host would have to run. `products` are matrix products and convolutions by what they multiply ("int8:10 fp32:1").
    """

    kind: str
    flops: int | None
    cycles: int | None
    memory_peak_bytes: int
    memory_limit_bytes: int | None
    loops: int
    on_host: int
    products: str = "none"


def available() -> Presence:
    """Whether the compiler is installed in the version that this jax was made for."""
    found, wanted = installed("libtpu"), _wanted()
    if found is None:
        return Presence("absent", "jax needs the package libtpu for a TPU", CHECKOUT.format(extra="tpu"))
    if wanted and not f"{found}.".startswith(f"{wanted}."):
        reason = f"libtpu {found} is installed, and jax {installed('jax')} was made for {wanted}"
        return Presence("broken", reason, f"pip install 'libtpu=={wanted}.*'")
    return Presence("present")


def _wanted() -> str:
    """The version of libtpu that jax' own extra asks for; "" where it names none."""
    try:
        needs = metadata.requires("jax") or []
    except metadata.PackageNotFoundError:
        return ""
    pins = (re.match(r"libtpu\s*==\s*([\d.]*\d)", need) for need in needs)
    return next((pin[1] for pin in pins if pin), "")


def compile_for(jax: Any, topology: str, function: Any, arguments: Sequence[Any]) -> Compiled:
    """Compile `function` of `arguments` (anything with shapes and dtypes) for one device of `topology`.

    Unsupported where the program does not fit into the device's memory, with both sizes.
    """
    with _environment(ENVIRONMENT):
        device = _device(jax, topology)
        program = fitted(jax, device, _lowered(jax, device, function, arguments))
        return _read(program, device.device_kind, _memory_limit(jax, device))


def _device(jax: Any, topology: str) -> Any:
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, chips_per_host_bounds=ONE_CHIP)
    except jax.errors.JaxRuntimeError as error:
        raise Unsupported(f"libtpu cannot compile for {topology}: {_first_line(error)}") from error
    return found.devices[0]


def shaped(jax: Any, sharding: Any, arguments: Sequence[Any]) -> Any:
    """Arguments of which JAX sees shape, type and place only."""
    return jax.tree.map(lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=sharding), tuple(arguments))


def fitted(jax: Any, device: Any, lowered: Any) -> Any:
    """A lowered program, compiled; Unsupported where it does not fit into the device's memory, with both sizes."""
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        needed, limit = _sizes(str(error))
        told = _first_line(error)
        if needed is not None:
            told = f"it needs {needed:,} bytes of HBM, and a program may have {limit:,}"
        raise Unsupported(f"it does not fit into {device.device_kind}: {told}; use a smaller batch or bf16") from error


def _lowered(jax: Any, device: Any, function: Any, arguments: Sequence[Any]) -> Any:
    there = jax.sharding.SingleDeviceSharding(device)
    return jax.jit(function).trace(*shaped(jax, there, arguments)).lower(lowering_platforms=("tpu",))


def _memory_limit(jax: Any, device: Any) -> int | None:
    """What the compiler lets a program have, told by its refusal of one that is too large; a TPU reserves the rest."""
    huge = jax.ShapeDtypeStruct((TOO_LARGE, TOO_LARGE), jax.numpy.bfloat16)
    try:
        _lowered(jax, device, lambda x: x @ x, [huge]).compile()
    except jax.errors.JaxRuntimeError as error:
        return _sizes(str(error))[1]
    return None


def _read(program: Any, kind: str, memory_limit_bytes: int | None) -> Compiled:
    text = program.as_text()
    loops = len(LOOP.findall(text))
    return Compiled(
        kind,
        None if loops else int(program.cost_analysis()["flops"]),
        None if loops else _cycles(text),
        int(program.memory_analysis().peak_memory_in_bytes),
        memory_limit_bytes,
        loops,
        text.count(ON_HOST),
        " ".join(f"{kind}:{n}" for kind, n in products(text).kernels.most_common()) or "none",
    )


def _cycles(text: str) -> int | None:
    counts = [int(count) for count in CYCLES.findall(text)]
    return sum(counts) if counts and max(counts) < UNKNOWN_CYCLES else None


def _sizes(message: str) -> tuple[int | None, int | None]:
    """Bytes needed and available, as a refusal tells them to two digits; None where it is worded otherwise."""
    told = NO_ROOM.search(message) or NO_ROOM_USED.search(message)
    if told is None:
        return None, None
    return round(float(told[1]) * UNITS[told[2]]), round(float(told[3]) * UNITS[told[4]])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:300]


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for as long as it lasts, for nothing else in this process; a user's own come first."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if name not in before})
    try:
        yield
    finally:
        for name in values:
            if name not in before:
                os.environ.pop(name, None)
