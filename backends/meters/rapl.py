"""Energy counters of x86 processors: packages and their memory, through the kernel's powercap files.

Documentation/power/powercap/powercap.rst. The counters move about every millisecond (Intel SDM volume 3B, "RAPL
Interfaces") and wrap after minutes. Since CVE-2020-8694 (PLATYPUS) only root may read them: that is not absence.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from backends._cores import affinity
from backends._host import HOST, Host
from backends.contract import Device, Meter, Presence, Reading

FOLDER = "sys/class/powercap"
PERMIT = f"run as root, or: sudo chmod a+r /{FOLDER}/*rapl*/energy_uj"


class RaplMeter(Meter):
    """All packages and the memory of each, added up. The platform's domain (psys) has them too, and is left out."""

    name = "rapl"
    quantity = "energy_j"
    scope = "package"
    trust = 80
    update_s = 0.001

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if device.backend != "cpu":
            return Presence("absent", "it reads processors of the host")
        domains = self._domains()
        if not domains:
            return Presence(
                "absent", f"no RAPL package under /{FOLDER}", "run on the bare machine, with intel_rapl_msr"
            )
        counters = [folder / "energy_uj" for folder in domains]
        if denied := next((one for one in counters if not self._host.access(one, os.R_OK)), None):
            return Presence("no_permission", f"/{denied.relative_to(self._host.root)} may not be read", PERMIT)
        return Presence("present")

    def open(self, device: Device) -> None:
        domains = self._domains()
        self._counters = [_Counter(self._host, folder) for folder in domains]
        names = [self._name(folder) for folder in domains]
        self.scope = "package+dram" if "dram" in names else "package"
        self.shared = len(affinity()) < len(self._host.glob("sys/devices/system/cpu/cpu[0-9]*"))

    def read(self) -> Sequence[Reading]:
        """The sum of what each counter has passed since `open`: one that wraps is unwound by its own range."""
        values = [counter.advance() for counter in self._counters]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return [Reading(time.monotonic_ns(), None, "a RAPL counter could not be read")]
        return [Reading(time.monotonic_ns(), sum(known) / 1e6)]

    def _domains(self) -> list[Path]:
        """Folders like intel-rapl:0 (a package) and intel-rapl:0:2 (a part of it); intel-rapl-mmio repeats them."""
        folders = self._host.glob(f"{FOLDER}/intel-rapl:*")
        return [one for one in folders if self._name(one).startswith("package") or self._name(one) == "dram"]

    def _name(self, folder: Path) -> str:
        return self._host.within(folder, "name") or ""


class _Counter:
    """One domain's counter, unwound: what it has counted since it was made, in microjoules."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._file = host, str((folder / "energy_uj").relative_to(host.root))
        self._range = host.number((folder / "max_energy_range_uj").relative_to(host.root)) or 0
        self._last, self._passed = host.number(self._file), 0.0

    def advance(self) -> float | None:
        """Less than half the range passes between two readings; a fall by less is no wrap, and the sum falls too."""
        now = self._host.number(self._file)
        if now is None or self._last is None:
            return None
        step = now - self._last
        self._passed += step + self._range if step < -self._range / 2 else step
        self._last = now
        return self._passed
