"""The host's own CPU, always there."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

from backends._cores import Cores, usable
from backends._host import HOST, Host, no_targets, plain
from backends.contract import Backend, Device, DeviceState, Presence

ARM_PARTS = {
    "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2", "0xd84": "Neoverse-V3", "0xd8e": "Neoverse-N3",
}  # fmt: skip
"""Names of "CPU part" numbers, from Linux' arch/arm64/include/asm/cputype.h."""
ADDRESS = {
    "onnxruntime": "CPUExecutionProvider", "openvino": "CPU", "torch": "cpu", "jax": "cpu", "litert": "cpu",
    "reference": "numpy",
}  # fmt: skip
NOISE = re.compile(r"\((R|TM|r|tm)\)|\bCPU\b|@.*|\b\d+-Core\b|\bProcessor\b|\bwith Radeon.*")


class CpuBackend(Backend):
    """The CPU that this process runs on. Its name has the cores that the process may use: fewer are another device."""

    name = "cpu"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return no_targets(self.name, targets)
        name = f"{model_name(self._host)}, {_count(usable(self._host))}"
        return Presence("present", devices=(Device(self.name, name, ADDRESS),))

    def state(self, device: Device) -> DeviceState:
        """The processor's clock, temperature and memory are the host's, which is looked at whatever the device."""
        return DeviceState.unknown("the processor is the host")


def model_name(host: Host) -> str:
    """The model without the noise of its marketing, in characters that a record's names may have.

    A hypervisor may hide the model ("Intel Xeon Processor"): then the family and model numbers tell generations apart.
    """
    facts = _cpuinfo(host)
    name = " ".join(NOISE.sub(" ", facts.get("model name", "")).split())
    if not name and "CPU part" in facts:
        name = f"Arm {ARM_PARTS.get(facts['CPU part'], 'part ' + facts['CPU part'])}"
    if not name:
        name = platform.processor() or platform.machine() or "unknown CPU"
    if not re.search(r"\d", name) and "cpu family" in facts:
        name += f" (family {facts['cpu family']} model {facts.get('model', '?')})"
    return plain(name)


def _cpuinfo(host: Host) -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo."""
    first = (host.text("proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _count(found: Cores) -> str:
    cores = f"{found.cores} core{'s' if found.cores != 1 else ''}"
    return cores if found.cores == found.threads else f"{cores} {found.threads} threads"
