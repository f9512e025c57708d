"""What engines share that prove by a profile what they executed. Holds no part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.contract import Executed, Unsupported

if TYPE_CHECKING:
    from backends.contract import Facts

EXTERNAL = (".bin", ".data", ".onnx_data")
"""Files with weights that lie beside a graph."""
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Kernel:
    """One kernel that ran: what the engine calls it, what a matrix product or convolution computed in, its time.

    `precision` is "" for any other kernel. `time` is in a unit of the engine's own, None where the profile has none.
    """

    name: str
    precision: str
    time: float | None = None


def told(source: str, ran: Iterable[Kernel]) -> Executed:
    """Counts of one run and, where each kernel has a time, shares of the time of all kernels.

    Raises Unsupported where none of them is known to be a matrix product or a convolution.
    """
    every = list(ran)
    kernels = Counter(kernel.precision for kernel in every if kernel.precision)
    if not kernels:
        raise Unsupported(f"{source} names no matrix product and no convolution")
    return Executed(source, kernels, Counter(kernel.name for kernel in every), _shares(every))


def _shares(ran: list[Kernel]) -> dict[str, float] | None:
    times = [kernel.time for kernel in ran if kernel.time is not None]
    if len(times) < len(ran) or not sum(times):
        return None
    by_precision: defaultdict[str, float] = defaultdict(float)
    for kernel, time in zip(ran, times):
        by_precision[kernel.precision] += time / sum(times)
    return {precision: min(1.0, share) for precision, share in by_precision.items() if precision}


def check_again(facts: Facts, path: Path, most_s: float) -> None:
    """Raises Unsupported where a second session for the profile would take too long, or more memory than is left."""
    spent_s = (facts.compile_ns + (facts.load_ns or 0)) * 1e-9
    if spent_s > most_s:
        raise Unsupported(f"compiling took {spent_s:.0f} s: too long to do it again for a profile")
    files = (path, *(file for suffix in EXTERNAL for file in path.parent.glob(f"*{suffix}")))
    if 2 * sum(file.stat().st_size for file in files) > (available := _available_bytes()):
        raise Unsupported(f"{available >> 20} MiB of memory are left: too few for a second session with a profile")


def _available_bytes() -> int:
    """Memory that could be had without swapping (proc(5), MemAvailable)."""
    lines = (line.split() for line in MEMINFO.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), 0)
