"""Reads how the host is doing now, cheaply enough to do it several times a second beside a measurement.

Everything comes from files of the kernel; what it does not show is None.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from backends._cores import affinity
from backends._host import HOST, Host
from bench.surroundings.machine import meminfo_bytes
from results.names import cleaned

Found = tuple[Any, str]
"""A value, or None and why there is none."""

CLOCKS_READ = 8
"""Of so many usable processors, evenly spread, the clock is read: on x86 the kernel interrupts each one for it."""
SENSORS = re.compile(r"coretemp|k10temp|zenpower|cpu|x86_pkg|soc")
"""Names of hwmon drivers and thermal zones that are the processor's."""
THROTTLE_COUNTS = ("core_throttle_count", "package_throttle_count")
"""Since boot, on x86 (Documentation/ABI/testing/sysfs-devices-system-cpu). Siblings repeat them: only a rise tells."""
NO_CPUFREQ = "no cpufreq: the kernel or the hypervisor hides it"
NO_THROTTLING = "the kernel counts no thermal throttling of this processor"


@dataclass(frozen=True)
class CpuTime:
    """Clock ticks since boot of the usable processors together; `own` is what this process and its descendants took."""

    total: float
    busy: float
    steal: float
    own: float


@dataclass(frozen=True)
class HostReading:
    """The host at CLOCK_MONOTONIC `t_ns`. `frequency_mhz` is the processors' mean, `temperature_c` their hottest."""

    t_ns: int
    cpu: CpuTime | None = None
    load_1m: float | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    memory_available_bytes: int | None = None


class HostReader:
    """Files are looked for once, when it is made."""

    def __init__(self, host: Host = HOST, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._host, self._clock = host, clock
        self._cpus = sorted(affinity())
        self._family = [os.getpid()]
        some = self._cpus[:: -(-len(self._cpus) // CLOCKS_READ)]
        self._clocks = [f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in some]
        self._sensors = _sensors(host)

    def now_ns(self) -> int:
        return self._clock()

    def read(self) -> HostReading:
        clocks_khz = [khz for path in self._clocks if (khz := self._host.number(path))]
        heats = [value / 1000 for path in self._sensors if (value := self._host.number(path)) is not None]
        load = (self._host.text("proc/loadavg") or "").split()
        return HostReading(
            t_ns=self._clock(),
            cpu=self._cpu_time(),
            load_1m=float(load[0]) if load else None,
            frequency_mhz=fmean(clocks_khz) / 1000 if clocks_khz else None,
            temperature_c=max(heats, default=None),
            memory_available_bytes=meminfo_bytes(self._host, "MemAvailable"),
        )

    def lasting(self) -> Mapping[str, Found]:
        """What changes rarely and is in a file for each processor: not to be read within a window."""
        folders = [f"sys/devices/system/cpu/cpu{cpu}" for cpu in self._cpus]
        governors = {text for one in folders if (text := self._host.text(f"{one}/cpufreq/scaling_governor"))}
        counts = [self._host.number(f"{one}/thermal_throttle/{name}") for one in folders for name in THROTTLE_COUNTS]
        events = [int(count) for count in counts if count is not None]
        return {
            "governor": (cleaned("+".join(sorted(governors))) if governors else None, NO_CPUFREQ),
            "throttle_events": (sum(events) if events else None, NO_THROTTLING),
        }

    def find_family(self) -> None:
        """Look for the processes that descend from this one: from now on, what they take counts as ours.

        Reads a file of every process, so it is not for within a window.
        """
        folders = self._host.glob("proc/[0-9]*")
        parents = {int(one.name): int(stat[1]) for one in folders if (stat := self._host.process(one.name))}
        family = [os.getpid()]
        for pid in family:  # grows as it goes
            family += [child for child, parent in parents.items() if parent == pid]
        self._family = family

    def _cpu_time(self) -> CpuTime | None:
        """The lines of /proc/stat that are of usable processors; guests' time is in user time already (proc(5))."""
        names = {f"cpu{cpu}" for cpu in self._cpus}
        lines = (line.split() for line in (self._host.text("proc/stat") or "").splitlines())
        rows = [[int(word) for word in words[1:9]] for words in lines if words and words[0] in names and len(words) > 8]
        if not rows:
            return None
        user, nice, system, idle, iowait, irq, softirq, steal = map(sum, zip(*rows, strict=True))
        busy = user + nice + system + irq + softirq
        return CpuTime(busy + idle + iowait + steal, busy, steal, sum(self._own(pid) for pid in self._family))

    def _own(self, pid: int) -> int:
        """Ticks that a process took, and children that it has waited for (proc(5): utime, stime, cutime, cstime)."""
        return sum(int(word) for word in self._host.process(pid)[11:15])


def _sensors(host: Host) -> list[Path]:
    """The processor's temperatures, in thousandths of a degree; paths below the root."""
    chips = [chip for chip in host.glob("sys/class/hwmon/hwmon*") if _is_cpu(host.within(chip, "name"))]
    zones = [zone for zone in host.glob("sys/class/thermal/thermal_zone*") if _is_cpu(host.within(zone, "type"))]
    found = [
        *(entry for chip in chips for entry in sorted(chip.glob("temp*_input"))),
        *(zone / "temp" for zone in zones),
    ]
    return [path.relative_to(host.root) for path in found]


def _is_cpu(label: str | None) -> bool:
    return bool(SENSORS.search((label or "").lower()))
