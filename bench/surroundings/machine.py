"""The host's lasting facts: what it is, what of it may be used here, and a fingerprint that a reboot does not change.

Everything is read from files of the kernel and the firmware; what they do not say is None and has its reason. The
dictionary has the fields of `results.record.Machine`.
"""

from __future__ import annotations

import hashlib
import math
import platform
import re
from typing import Any

from backends._cores import affinity, memory_limits, quotas
from backends._host import HOST, Host
from results.names import cleaned

DMI = "sys/class/dmi/id"
MEMORY_STEPS_PER_OCTAVE = 4
SIZE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def machine(host: Host = HOST) -> dict[str, Any]:
    """The host. `fingerprint` hashes what a reboot, a renaming or an update of the system leaves as it was."""
    cpu, cores, memory_bytes = _cpu_name(host), _cores(host), _memory_bytes(host)
    explained: dict[str, tuple[Any, str]] = {
        "instance_type": _instance_type(host),
        "cpu_limit_cores": (min(quotas(host), default=None), "no control group limits processor time"),
        "memory_limit_bytes": (min(memory_limits(host), default=None), "no control group limits memory"),
        "llc_bytes": (_llc_bytes(host), "the kernel shows no cache of the processor"),
    }
    return {
        "fingerprint": _fingerprint(host, cpu, cores, memory_bytes),
        "hostname": cleaned(platform.node()),
        "cpu": cleaned(cpu),
        "cores": cores,
        "memory_bytes": memory_bytes,
        "system": cleaned(_system(host)),
        "kernel": cleaned(platform.release()),
        "container": _container(host),
        **{field: value for field, (value, _) in explained.items()},
        "missing": {field: why for field, (value, why) in explained.items() if value is None},
    }


def field(text: str | None, key: str) -> str | None:
    """What stands behind `key` in lines of "key: value" or "key=value"."""
    found = re.search(rf"^{re.escape(key)}\s*[:=]\s*(.*)$", text or "", re.MULTILINE)
    return found[1].strip().strip('"') or None if found else None


def meminfo_bytes(host: Host, key: str) -> int | None:
    """The kernel writes "16384 kB"."""
    found = field(host.text("proc/meminfo"), key)
    return int(found.split()[0]) * 1024 if found else None


def _cpu_name(host: Host) -> str:
    cpuinfo, board = host.text("proc/cpuinfo"), host.text("proc/device-tree/model")
    return field(cpuinfo, "model name") or field(cpuinfo, "Model") or board or platform.machine() or "unknown"


def _cores(host: Host) -> int:
    """Processors this process may use: its affinity, and a container's quota."""
    allowed = len(affinity())
    return max(1, min(allowed, math.ceil(min(quotas(host), default=allowed))))


def _memory_bytes(host: Host) -> int:
    """Memory this process may use: the machine's, or a container's limit."""
    return min([meminfo_bytes(host, "MemTotal") or 0, *memory_limits(host)])


def _llc_bytes(host: Host) -> int | None:
    """All distinct instances of the last cache level that the usable processors share."""
    folders = [one for cpu in affinity() for one in host.glob(f"sys/devices/system/cpu/cpu{cpu}/cache/index[0-9]*")]
    caches = [
        [host.within(one, name) or "" for name in ("level", "type", "shared_cpu_list", "size")] for one in folders
    ]
    levels = [int(level) for level, kind, _, size in caches if level.isdigit() and kind != "Instruction" and size]
    last = {shared: size for level, kind, shared, size in caches if kind != "Instruction" and level == str(max(levels))}
    return sum(_size_bytes(size) for size in last.values()) if last else None


def _size_bytes(text: str) -> int:
    """The kernel writes "32768K"."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    return int(found[1]) * SIZE_UNITS.get(found[2], 1) if found else 0


def _fingerprint(host: Host, cpu: str, cores: int, memory_bytes: int) -> str:
    """16 hex digits. Memory is rounded to a fourth of an octave: kernels keep varying amounts to themselves."""
    memory_step = round(math.log2(max(memory_bytes, 1)) * MEMORY_STEPS_PER_OCTAVE)
    firmware = [_firmware(host, entry) for entry in ("sys_vendor", "product_name", "board_vendor", "board_name")]
    board = host.text("proc/device-tree/model") or ""
    lasting = [platform.machine(), cpu, str(cores), str(memory_step), *firmware, board]
    return hashlib.sha256("\n".join(lasting).encode()).hexdigest()[:16]


def _instance_type(host: Host) -> tuple[str | None, str]:
    """A cloud's name for this machine, as far as the firmware says it; metadata services are not asked."""
    vendor, product = _firmware(host, "sys_vendor"), _firmware(host, "product_name")
    if vendor == "Amazon EC2" and re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", product):
        return product, ""
    if not vendor:
        return None, f"the firmware says nothing: /{DMI} is not there"
    return None, f"the firmware says {vendor} {product}, which names no instance type"


def _firmware(host: Host, entry: str) -> str:
    return host.text(f"{DMI}/{entry}") or ""


def _container(host: Host) -> str:
    if host.exists(host.root / ".dockerenv"):
        return "docker"
    if host.exists(host.root / "run/.containerenv"):
        return "podman"
    if host.exists(host.root / "var/run/secrets/kubernetes.io"):
        return "kubernetes"
    groups = host.text("proc/1/cgroup") or ""
    return next((kind for kind in ("kubepods", "docker", "lxc") if kind in groups), "none")


def _system(host: Host) -> str:
    release = host.text("etc/os-release")
    return f"{field(release, 'PRETTY_NAME') or platform.system()} {platform.machine()}"
