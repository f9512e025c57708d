"""What engines on AWS Neuron share: packages that are AWS' own and fit together, and cores. Holds no part."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import metadata

from backends._host import HOST, Host
from backends.contract import Presence, Unsupported
from backends.engines._tuning import installed

INDEX = "--extra-index-url=https://pip.repos.neuron.amazonaws.com"
RUNTIME = "opt/aws/neuron/lib/libnrt.so*"
VISIBLE, COUNT = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"
COMPILER_FLAGS = "NEURON_CC_FLAGS"
NO_CAST = "--auto-cast=none"
JAX = {"libneuronxla": "libneuronxla/__init__.py", "jax-neuronx": "jax_neuronx/__init__.py"}
JAX_PINS = "'jax-neuronx>=0.1' 'libneuronxla>=2' 'jax>=0.7,<=0.10.0'"
JAX_RELEASES = ((0, 7), (0, 10))
"""The first and the last jax that libneuronxla 3 is made for (Neuron SDK 2.32)."""


def checked(engine: str, wanted: Mapping[str, str], pins: str, host: Host) -> Presence:
    """`wanted`: distribution to a file that only AWS' own one holds. `pins`: what pip is to be asked for."""
    remedy = f"pip install {INDEX} {pins}"
    if missing := [name for name in wanted if installed(name) is None]:
        return Presence("absent", f"{engine} needs {', '.join(missing)} from the AWS Neuron index", remedy)
    if false := [name for name, file in wanted.items() if _is_placeholder(name, file)]:
        named = ", ".join(f"{name} {installed(name)}" for name in false)
        why = f"{named} is a placeholder from the public index, not AWS' package"
        return Presence("broken", why, f"pip uninstall -y {' '.join(false)}; {remedy}")
    if not host.glob(RUNTIME):
        return Presence(
            "broken", f"no Neuron runtime: no /{RUNTIME}", "install aws-neuronx-runtime-lib from AWS' repository"
        )
    return Presence("present")


def available_to_jax(host: Host = HOST) -> Presence:
    """Whether the packages are here that give JAX the platform "neuron". Not verified on a device."""
    presence = checked("jax", JAX, JAX_PINS, host)
    first, last = JAX_RELEASES
    if presence.state == "present" and not first <= release("jax") <= last:
        why = f"jax {installed('jax')} is none of those that libneuronxla is made for, 0.7 to 0.10"
        return Presence("broken", why, f"pip install {INDEX} {JAX_PINS}")
    return presence


def prepare_for_jax() -> None:
    """One core, and a compiler that casts nothing: the precision is the program's own. Raises Unsupported."""
    reserve(1)
    flags = os.environ.get(COMPILER_FLAGS, "")
    if "--auto-cast" in flags.replace(NO_CAST, ""):
        raise Unsupported(f"{COMPILER_FLAGS}={flags} casts whatever the precision says: unset it")
    if NO_CAST not in flags:
        os.environ[COMPILER_FLAGS] = f"{flags} {NO_CAST}".strip()


def reserve(cores: int) -> None:
    """Have the runtime take that many cores, which it does once in a process, before it is first used."""
    visible = os.environ.get(VISIBLE)
    if visible is None:
        os.environ[COUNT] = str(cores)
    elif _count(visible) != cores:
        raise Unsupported(f"{VISIBLE}={visible} is not {cores} cores: unset it, or choose --target inferentia:cores=")


def _count(visible: str) -> int:
    """How many cores NEURON_RT_VISIBLE_CORES names: "3", "0-3" or "0,2"."""
    spans = (part.partition("-")[::2] for part in visible.split(","))
    try:
        return sum(int(last or first) - int(first) + 1 for first, last in spans)
    except ValueError:
        return 0


def release(distribution: str) -> tuple[int, int]:
    """Major and minor of an installed version; (0, 0) where it has none."""
    found = re.match(r"(\d+)\.(\d+)", installed(distribution) or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_placeholder(name: str, file: str) -> bool:
    """All of them have a version below 2; AWS' own have not been below 2 since 2023, jax-neuronx not below 0.1."""
    least = (0, 1) if name == "jax-neuronx" else (2, 0)
    return release(name) < least or not metadata.distribution(name).locate_file(file).exists()  # type: ignore[attr-defined]
