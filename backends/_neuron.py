"""What the Neuron driver and AWS' tool neuron-ls say of the devices here. Holds no part.

Keys and folders: the Neuron SDK's "Neuron LS User Guide" and "Neuron Sysfs User Guide", 2.32. Fields of neuron-ls are
null or left out where there is nothing to say, so each is read by itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from backends._host import Host

TOOL = "opt/aws/neuron/bin/neuron-ls"
"""Its folder is not on the PATH of an instance as AWS delivers it."""
SYSFS = "sys/devices/virtual/neuron_device"
TIMEOUT_S = 10.0


class NeuronError(Exception):
    """neuron-ls could not be asked; the message is a reason."""


@dataclass(frozen=True)
class Listed:
    """One device as neuron-ls lists it. `cores` is how many a process may ask for, None where it does not say."""

    number: int
    cores: int | None
    pids: tuple[int, ...]


def listed(host: Host) -> list[Listed]:
    """The devices that neuron-ls lists; raises NeuronError."""
    own = host.root / TOOL
    tool = str(own) if host.exists(own) else shutil.which("neuron-ls")
    if tool is None:
        raise NeuronError(f"no /{TOOL}: install aws-neuronx-tools")
    command = [tool, "--json-output"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NeuronError(f"neuron-ls: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise NeuronError(f"neuron-ls ended with status {done.returncode} and said: {said[-1][:200]}")
    return parsed(done.stdout)


def parsed(text: str) -> list[Listed]:
    """The devices in the answer of neuron-ls; raises NeuronError for what is no list of devices."""
    try:
        devices = json.loads(text)
    except ValueError as error:
        raise NeuronError("neuron-ls gave no JSON") from error
    if not isinstance(devices, list):
        raise NeuronError("neuron-ls gave no list of devices")
    return [_device(one) for one in devices if isinstance(one, dict) and _whole(one.get("neuron_device")) is not None]


def _device(one: dict[str, Any]) -> Listed:
    ids, processes = one.get("neuroncore_ids"), one.get("neuron_processes")
    cores = len(ids) if isinstance(ids, list) and ids else _whole(one.get("nc_count"))
    known = processes if isinstance(processes, list) else []
    pids = (_whole(process.get("pid")) for process in known if isinstance(process, dict))
    return Listed(one["neuron_device"], cores or None, tuple(pid for pid in pids if pid is not None))


def _whole(value: object) -> int | None:
    """A number of 0 or more; JSON's true is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def memory_used_bytes(host: Host) -> int | None:
    """Memory that models and their tensors take on all devices; None where the driver does not say."""
    totals = host.glob(f"{SYSFS}/neuron*/neuron_core*/stats/memory_usage/device_mem/total")
    used = [host.number(str(path.relative_to(host.root))) for path in totals]
    known = [int(value) for value in used if value is not None]
    return sum(known) if known and len(known) == len(used) else None
