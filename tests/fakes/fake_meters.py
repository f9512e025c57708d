"""Meters of known answers: their readings follow from the time alone. No part: they are made with what they shall read.

Also NVIDIA's library in forty lines of C, so that the real binding runs where no GPU is.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import _nvml
from backends.contract import Device, Meter, Presence, Reading

DEVICE = Device("fake", "Fake 1", {"fake": "fake:0"})
GPU = Device("cuda", "NVIDIA Fake", {"torch": "cuda:0", "nvml": "0000:01:00.0"})


@dataclass
class Clock:
    """Time that passes when somebody sleeps, and a little with each look at it."""

    now_ns: int = 1_000_000_000
    look_ns: int = 0

    def __call__(self) -> int:
        self.now_ns += self.look_ns
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class _Programmed(Meter):
    scope = "board"

    def __init__(self, name: str, trust: int, value: Callable[[int], float | None], clock: Callable[[], int]) -> None:
        self.name, self.trust, self._value, self._clock = name, trust, value, clock
        self.opened = 0

    def available(self, device: Device) -> Presence:
        return Presence("present") if device.backend == "fake" else Presence("absent", "it reads fakes")

    def open(self, device: Device) -> None:
        self.opened += 1

    def read(self) -> Sequence[Reading]:
        t_ns = self._clock()
        value = self._value(t_ns)
        return [Reading(t_ns, value, "" if value is not None else "it does not answer")]

    def close(self) -> None:
        self.opened -= 1


class _Counter(_Programmed):
    quantity = "energy_j"
    update_s = 0.001


class _Power(_Programmed):
    quantity = "power_w"


class _Heat(_Programmed):
    quantity = "temperature_c"


class _Bad(_Programmed):
    quantity = "power_w"

    def read(self) -> Sequence[Reading]:
        raise OSError("the bus is gone")


class _Locked(_Programmed):
    quantity = "energy_j"

    def available(self, device: Device) -> Presence:
        return Presence("no_permission", "/dev/meter may not be read", "sudo chmod a+r /dev/meter")


class _Broken(_Programmed):
    quantity = "energy_j"

    def open(self, device: Device) -> None:
        raise RuntimeError("no such register")


def counter(clock: Callable[[], int], watts: float = 50.0, name: str = "fake-counter", trust: int = 80) -> Meter:
    """Joules since the clock was at 0, at constant power."""
    return _Counter(name, trust, lambda t_ns: watts * t_ns / 1e9, clock)


def power(
    clock: Callable[[], int], watts: Callable[[int], float | None] = lambda _t_ns: 50.0, name: str = "fake-power"
) -> Meter:
    return _Power(name, 60, watts, clock)


def thermometer(clock: Callable[[], int]) -> Meter:
    return _Heat("fake-heat", 0, lambda _t_ns: 42.0, clock)


def failing(clock: Callable[[], int], how: str) -> Meter:
    """`how`: "read", "open" or "permission" is what it fails at."""
    kind = {"read": _Bad, "open": _Broken, "permission": _Locked}[how]
    return kind(f"fake-{how}", 70, lambda _t_ns: None, clock)


NVML = """
#include <string.h>
typedef void *Device;
static unsigned long long energy_mj = 5000, reasons = 0;
static unsigned instant_mw = 70000, usage_mw = 65000, clock_mhz = 1980, heat_c = 41, mig = 0, gpus = 1;
static unsigned pids[8]; static int n_pids = 0, sees = 0xffff;
enum { ENERGY = 1, INSTANT = 2, USAGE = 4, REASONS = 8, INIT = 16 };
void fake_set(const char *what, unsigned long long v) {
  if (!strcmp(what, "energy_mj")) energy_mj = v; else if (!strcmp(what, "instant_mw")) instant_mw = v;
  else if (!strcmp(what, "usage_mw")) usage_mw = v; else if (!strcmp(what, "reasons")) reasons = v;
  else if (!strcmp(what, "mig")) mig = v; else if (!strcmp(what, "gpus")) gpus = v;
  else if (!strcmp(what, "hide")) sees &= ~(int)v; else if (!strcmp(what, "pid")) pids[n_pids++] = v; }
int nvmlInitWithFlags(unsigned f) { return sees & INIT ? 0 : 9; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int e) { return e == 3 ? "Not Supported" : e == 9 ? "Driver Not Loaded" : "an error"; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, Device *d) {
  long bus = strlen(pci) == 12 ? pci[6] - '0' : 0; *d = (Device)bus; return bus > 0 && bus <= (long)gpus ? 0 : 6; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { strcpy(s, "570.86.15"); return 0; }
int nvmlDeviceGetEnforcedPowerLimit(Device d, unsigned *mw) { *mw = 350000; return 0; }
int nvmlDeviceGetEccMode(Device d, unsigned *now, unsigned *later) { *now = *later = 1; return 0; }
int nvmlDeviceGetPersistenceMode(Device d, unsigned *on) { *on = 0; return 0; }
int nvmlDeviceGetApplicationsClock(Device d, int type, unsigned *mhz) { *mhz = 0; return 3; }
int nvmlDeviceGetMaxPcieLinkGeneration(Device d, unsigned *n) { *n = 5; return 0; }
int nvmlDeviceGetCurrPcieLinkWidth(Device d, unsigned *n) { *n = 16; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(Device d, unsigned long long *v) {
  *v = energy_mj + 1000000ull * (long)d; return sees & ENERGY ? 0 : 3; }
int nvmlDeviceGetPowerUsage(Device d, unsigned *v) { *v = usage_mw; return sees & USAGE ? 0 : 3; }
struct Field { unsigned id, scope; long long t, latency; unsigned type; int ret; union { double d; unsigned u; } v; };
int nvmlDeviceGetFieldValues(Device d, int n, struct Field *f) {
  f[0].ret = f[0].id == 186 && sees & INSTANT ? 0 : 3; f[0].v.u = instant_mw; return 0; }
int nvmlDeviceGetMigMode(Device d, unsigned *now, unsigned *later) { *now = *later = mig; return 0; }
int nvmlDeviceGetClockInfo(Device d, int type, unsigned *v) { *v = type == 1 ? clock_mhz : 1; return 0; }
int nvmlDeviceGetTemperature(Device d, int sensor, unsigned *v) { *v = heat_c; return 0; }
int nvmlDeviceGetCurrentClocksEventReasons(Device d, unsigned long long *v) {
  *v = reasons; return sees & REASONS ? 0 : 13; }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device d, unsigned long long *v) { *v = reasons; return 0; }
struct Memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(Device d, struct Memory *m) { m->total = 100; m->free = 58; m->used = 42; return 0; }
struct Process { unsigned pid; unsigned long long used; unsigned gi, ci; };
int nvmlDeviceGetComputeRunningProcesses_v3(Device d, unsigned *n, struct Process *p) {
  if (n_pids == 0) { *n = 0; return 0; }
  if (!p) { *n = n_pids; return 7; }
  for (int i = 0; i < n_pids; i++) p[i].pid = pids[i];
  *n = n_pids; return 0; }
"""


def compile_nvml(folder: Path) -> Path:
    """The library, compiled; the test is skipped where there is no binding or no compiler."""
    import pytest  # not for workers, which find their parts in this package

    pytest.importorskip("pynvml")
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: gcc makes the library with known answers")
    source, library = folder / "nvml.c", folder / "libnvidia-ml.so.1"
    source.write_text(NVML)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    return library


@contextmanager
def installed_nvml(library: Path, folder: Path) -> Iterator[Callable[[str, int], None]]:
    """pynvml with a fresh copy of `library`; gives what sets the fake's answers: set("energy_mj", 7000)."""
    import pynvml

    copy = folder / f"{library.name}.{id(object())}"  # a library is loaded once by its file
    copy.write_bytes(library.read_bytes())
    loaded = ctypes.CDLL(str(copy))
    loaded.fake_set.argtypes = (ctypes.c_char_p, ctypes.c_ulonglong)
    before: Any = pynvml.nvmlLib
    pynvml.nvmlLib = loaded
    pynvml._nvmlGetFunctionPointer_cache.clear()
    _nvml._gpu.cache_clear()
    try:
        yield lambda what, value: loaded.fake_set(what.encode(), value)
    finally:
        pynvml.nvmlLib = before
        pynvml._nvmlGetFunctionPointer_cache.clear()
        _nvml._gpu.cache_clear()
