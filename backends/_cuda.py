"""What the engines on NVIDIA GPUs decide alike: is the driver new enough, what CUDA calls a GPU. Holds no part."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from importlib import metadata

from backends._host import HOST, Host
from backends.contract import Presence, Unsupported

VERSION = "proc/driver/nvidia/version"
DRIVERS = {11: 450, 12: 525, 13: 580}
"""The oldest driver that runs a CUDA release, by its major number (docs.nvidia.com/deploy/cuda-compatibility,
"Minor Version Compatibility")."""
AMPERE = (8, 0)
"""The first compute capability whose matrix units take TF32 and bfloat16 (CUDA C++ programming guide)."""
OVERLAP = 2
"""Runs under way at once for throughput: one moves its data while the other computes."""
RUNTIME = re.compile(r"(?:nvidia-cuda-runtime(?:-cu\d+)?|cuda-toolkit)\b[^;]*==\s*(\d+)")


def driver(host: Host = HOST) -> str | None:
    """Version of the kernel driver that is loaded ("570.86.15")."""
    found = re.search(r"\b(\d{3,}(?:\.\d+)+)", host.text(VERSION) or "")
    return found.group(1) if found else None


def runtime_of(distribution: str) -> int | None:
    """The major number of the CUDA release that an installed distribution asks for; None: it does not say."""
    try:
        needed = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    return next((int(found.group(1)) for one in needed if (found := RUNTIME.match(one))), None)


def too_old(package: str, cuda: int | None, host: Host = HOST) -> Presence | None:
    """Why the driver cannot run what `package` was built with, if so."""
    version = driver(host)
    oldest = DRIVERS.get(cuda or 0)
    if version is None or oldest is None or int(version.partition(".")[0]) >= oldest:
        return None
    reason = (
        f"{package} is built for CUDA {cuda}, which needs NVIDIA's driver {oldest} or later, and {version} is loaded"
    )
    return Presence("broken", reason, f"update the driver, or install a {package} for an older CUDA")


def check_capability(capability: tuple[int, int], precision: str) -> None:
    """Raises Unsupported for a precision that a GPU of this compute capability would compute in another."""
    if precision in ("tf32", "bf16") and capability < AMPERE:
        major, minor = capability
        raise Unsupported(f"a GPU of compute capability {major}.{minor} has no {precision}: that came with 8.0")


def ordinal(address: str, begun: bool, environ: MutableMapping[str, str] = os.environ) -> int:
    """What CUDA calls "cuda:1" or "cuda:MIG-..." in this process; `begun`: it has used CUDA before.

    CUDA shows a process one slice of a GPU at most: the one that CUDA_VISIBLE_DEVICES names when it begins (MIG user
    guide). Raises Unsupported where it is too late for that.
    """
    name = address.partition(":")[2]
    if name.isdecimal():
        return int(name)
    if begun and environ.get("CUDA_VISIBLE_DEVICES") != name:
        raise Unsupported(f"this process began with another device, and CUDA shows it none but that: not {name}")
    environ["CUDA_VISIBLE_DEVICES"] = name
    return 0
