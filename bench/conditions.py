"""What the host is and how it is doing: the machine's lasting facts, its state at a moment, and a calibration kernel.

Everything is read from files of the kernel and the firmware. `root` lets tests put another tree in place of `/`. What
cannot be read is None and has its reason. The dictionaries have the fields of the models in `results/record.py`.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Literal

from results.names import cleaned

Moment = Literal["before", "during", "after"]
HOST = Path("/")
DMI = "sys/class/dmi/id"
MEMORY_STEPS_PER_OCTAVE = 4
CALIBRATION_ROUNDS = 15


def machine(root: Path = HOST) -> dict[str, Any]:
    """The host. `fingerprint` hashes what a reboot, a renaming or an update of the system leaves as it was."""
    cpu, cores, memory_bytes = _cpu_name(root), _cores(root), _memory_bytes(root)
    instance_type, why = _instance_type(root)
    return {
        "fingerprint": _fingerprint(root, cpu, cores, memory_bytes),
        "hostname": cleaned(platform.node()),
        "cpu": cleaned(cpu),
        "cores": cores,
        "memory_bytes": memory_bytes,
        "system": cleaned(_system(root)),
        "kernel": cleaned(platform.release()),
        "instance_type": cleaned(instance_type) if instance_type else None,
        "container": _container(root),
        "missing": {"instance_type": why} if why else {},
    }


@dataclass(frozen=True)
class CpuTime:
    """Jiffies since boot, summed over the processors."""

    total: int
    steal: int

    @classmethod
    def now(cls, root: Path = HOST) -> CpuTime | None:
        fields = [int(word) for word in (_text(root / "proc/stat") or "").partition("\n")[0].split()[1:]]
        return cls(sum(fields[:8]), fields[7]) if len(fields) >= 8 else None  # guest time is in user time already


def conditions(moment: Moment, since: CpuTime | None = None, root: Path = HOST) -> dict[str, Any]:
    """The host now; the share of stolen time is over the time that passed since `since`."""
    readings: dict[str, tuple[float | None, str]] = {
        "load_1m": _load(root),
        "steal_percent": _steal(since, CpuTime.now(root)),
        "frequency_mhz": _frequency(root),
        "temperature_c": _temperature(root),
        "memory_available_bytes": _available(root),
    }
    return {
        "moment": moment,
        **{field: value for field, (value, _) in readings.items()},
        "missing": {field: why for field, (value, why) in readings.items() if value is None},
    }


def calibrate(moment: Literal["before", "after"]) -> dict[str, Any]:
    """Median durations of three small jobs that never change, about 45 ms in all: a shift means the machine did."""
    return {"moment": moment, **{f"{job}_ns": _median_ns(run) for job, run in _kernel().items()}}


@cache
def energy(backend: str, root: Path = HOST) -> dict[str, Any]:
    """The energy of a window: not measured by this version, with what a meter would have to read."""
    if backend != "cpu":
        why = f"no power meter of {backend} is read by this version"
    elif any((root / "sys/class/powercap").glob("*rapl:*")):
        why = "the processor has an energy counter (RAPL), which this version does not read"
    else:
        why = "no energy counter: the kernel shows no RAPL domain under /sys/class/powercap"
    return {"method": "none", "missing": dict.fromkeys(("energy_j", "net_energy_j"), why)}


def _kernel() -> Mapping[str, Callable[[], object]]:
    """Each about 1 ms. Matrices of 64 are below the size from which OpenBLAS uses threads: nothing is left spinning."""
    import numpy as np

    left, right = np.full((64, 64), 0.5, np.float32), np.full((64, 64), 0.25, np.float32)
    product, source = np.empty((64, 64), np.float32), np.ones(4 << 20, np.uint8)
    target = np.zeros_like(source)

    def integer() -> int:
        x = 1
        for _ in range(20_000):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        return x

    def sgemm() -> None:
        for _ in range(100):
            np.matmul(left, right, out=product)

    def memcpy() -> None:
        for _ in range(2):
            np.copyto(target, source)

    return {"integer": integer, "sgemm": sgemm, "memcpy": memcpy}


def _median_ns(run: Callable[[], object]) -> int:
    durations = []
    for _ in range(CALIBRATION_ROUNDS + 2):
        start = time.perf_counter_ns()
        run()
        durations.append(time.perf_counter_ns() - start)
    return int(median(durations[2:]))  # the first ones wake the processor and fill its caches


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _field(text: str | None, key: str) -> str | None:
    found = re.search(rf"^{re.escape(key)}\s*[:=]\s*(.*)$", text or "", re.MULTILINE)
    return found[1].strip().strip('"') or None if found else None


def _cpu_name(root: Path) -> str:
    cpuinfo = _text(root / "proc/cpuinfo")
    board = (_text(root / "proc/device-tree/model") or "").rstrip("\0")
    return _field(cpuinfo, "model name") or _field(cpuinfo, "Model") or board or platform.machine() or "unknown"


def _cores(root: Path) -> int:
    """Processors this process may use: its affinity, and a container's quota."""
    usable = len(os.sched_getaffinity(0))
    quota, _, period = (_text(root / "sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return usable if quota == "max" else max(1, min(usable, math.ceil(int(quota) / int(period or 100_000))))


def _memory_bytes(root: Path) -> int:
    """Memory this process may use: the machine's, or a container's limit."""
    kilobytes = (_field(_text(root / "proc/meminfo"), "MemTotal") or "0").split()[0]
    limit = _text(root / "sys/fs/cgroup/memory.max") or "max"
    total = int(kilobytes) * 1024
    return total if limit == "max" else min(total, int(limit))


def _fingerprint(root: Path, cpu: str, cores: int, memory_bytes: int) -> str:
    """16 hex digits. Memory is rounded to a fourth of an octave: kernels keep varying amounts to themselves."""
    memory_step = round(math.log2(max(memory_bytes, 1)) * MEMORY_STEPS_PER_OCTAVE)
    firmware = [
        _text(root / DMI / entry) or "" for entry in ("sys_vendor", "product_name", "board_vendor", "board_name")
    ]
    lasting = [
        platform.machine(),
        cpu,
        str(cores),
        str(memory_step),
        *firmware,
        _text(root / "proc/device-tree/model") or "",
    ]
    return hashlib.sha256("\n".join(lasting).encode()).hexdigest()[:16]


def _instance_type(root: Path) -> tuple[str | None, str]:
    """A cloud's name for this machine, as far as the firmware says it; metadata services are not asked."""
    vendor, product = (_text(root / DMI / entry) or "" for entry in ("sys_vendor", "product_name"))
    if vendor == "Amazon EC2" and re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", product):
        return product, ""
    if not vendor:
        return None, f"the firmware says nothing: /{DMI} is not there"
    return None, f"the firmware says {vendor} {product}, which names no instance type"


def _container(root: Path) -> str:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    groups = _text(root / "proc/1/cgroup") or ""
    return next((kind for kind in ("kubepods", "docker", "lxc") if kind in groups), "none")


def _system(root: Path) -> str:
    release = _text(root / "etc/os-release")
    return f"{_field(release, 'PRETTY_NAME') or platform.system()} {platform.machine()}"


def _load(root: Path) -> tuple[float | None, str]:
    text = _text(root / "proc/loadavg")
    return (float(text.split()[0]), "") if text else (None, "no /proc/loadavg")


def _steal(before: CpuTime | None, now: CpuTime | None) -> tuple[float | None, str]:
    if now is None:
        return None, "no /proc/stat"
    if before is None or now.total <= before.total:
        return None, "a share needs two readings, and time between them"
    return 100 * max(0, now.steal - before.steal) / (now.total - before.total), ""


def _frequency(root: Path) -> tuple[float | None, str]:
    """Mean over the processors. What /proc/cpuinfo says is left alone: in virtual machines it is a constant."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    values = [int(text) for file in files if (text := _text(file)) and text.isdigit()]
    return (sum(values) / len(values) / 1000, "") if values else (None, "no cpufreq: the kernel or hypervisor hides it")


def _temperature(root: Path) -> tuple[float | None, str]:
    """The hottest sensor of the processor, in degrees Celsius."""
    sensors = [
        *(entry for chip in _chips(root) for entry in chip.glob("temp*_input")),
        *(zone / "temp" for zone in (root / "sys/class/thermal").glob("thermal_zone*") if _is_cpu(zone / "type")),
    ]
    values = [int(text) / 1000 for sensor in sensors if (text := _text(sensor)) and text.lstrip("-").isdigit()]
    return (max(values), "") if values else (None, "no sensor of the processor under /sys/class/hwmon or thermal")


def _chips(root: Path) -> list[Path]:
    return [chip for chip in (root / "sys/class/hwmon").glob("hwmon*") if _is_cpu(chip / "name")]


def _is_cpu(label: Path) -> bool:
    return bool(re.search(r"coretemp|k10temp|zenpower|cpu|x86_pkg|soc", (_text(label) or "").lower()))


def _available(root: Path) -> tuple[int | None, str]:
    kilobytes = _field(_text(root / "proc/meminfo"), "MemAvailable")
    return (int(kilobytes.split()[0]) * 1024, "") if kilobytes else (None, "no MemAvailable in /proc/meminfo")
