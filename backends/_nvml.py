"""NVIDIA's management library, as its binding `pynvml` (package nvidia-ml-py) gives it. Holds no part.

It is imported when a GPU is first asked for. It makes no CUDA context.
Numbers and names: nvml.h, and the chapter "Device Queries" of NVIDIA's NVML reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from backends._host import HOST, Host
from backends.contract import Device, DeviceState, Presence, Setting

POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT, in mW."""
THROTTLING = {
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x200: "board_limit",
    0x400: "reliability",
}
"""nvmlClocksEventReason*. An idle GPU, and clocks that a user has set, are reasons too, and no throttling."""
STATES = {
    "NVMLError_NoPermission": "no_permission",
    "NVMLError_DriverNotLoaded": "broken",
    "NVMLError_GpuIsLost": "broken",
}
PACKAGE = "pip install nvidia-ml-py"


class NvmlError(Exception):
    """What NVML cannot tell, as a Presence that says why."""

    def __init__(self, presence: Presence) -> None:
        super().__init__(presence.reason)
        self.presence = presence

    @classmethod
    def of(cls, error: Exception, moment: str) -> NvmlError:
        state: Any = STATES.get(type(error).__name__, "absent")
        return cls(Presence(state, f"{moment}: NVML says {error}", "see nvidia-smi"))


class Gpu:
    """One GPU; every method raises NvmlError for what it does not tell."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def energy_j(self) -> float:
        """Since the driver was loaded; Volta and later."""
        return float(self._ask("nvmlDeviceGetTotalEnergyConsumption")) / 1000

    def power_instant_w(self) -> float:
        (field,) = self._ask("nvmlDeviceGetFieldValues", [POWER_INSTANT])
        if field.nvmlReturn != 0:
            raise NvmlError.of(self._nvml.NVMLError(field.nvmlReturn), "power of the moment")
        return float(field.value.uiVal) / 1000

    def power_usage_w(self) -> float:
        """An average over a second on Ampere and later, but for GA100 (NVML reference, nvmlDeviceGetPowerUsage)."""
        return float(self._ask("nvmlDeviceGetPowerUsage")) / 1000

    def is_sliced(self) -> bool:
        """Whether it is divided by MIG; then its meters are all slices' together."""
        try:
            return bool(self._ask("nvmlDeviceGetMigMode")[0])
        except NvmlError:
            return False

    def clock_mhz(self) -> float:
        return float(self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM))

    def temperature_c(self) -> float:
        return float(self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU))

    def throttle_reasons(self) -> tuple[str, ...]:
        try:
            bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        except NvmlError:  # a driver before 535 knows it by its older name
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return tuple(name for bit, name in THROTTLING.items() if bits & bit)

    def memory_used_bytes(self) -> int:
        return int(self._ask("nvmlDeviceGetMemoryInfo").used)

    def configuration(self) -> dict[str, Setting]:
        """A limit of power, error correction, clocks that a user has set: what two equal GPUs may differ in."""
        link = "nvmlDeviceGetMaxPcieLinkGeneration", "nvmlDeviceGetCurrPcieLinkWidth"
        asked: Mapping[str, Callable[[], Setting]] = {
            "gpu_driver": lambda: str(self._nvml.nvmlSystemGetDriverVersion()),
            "gpu_power_limit_w": lambda: float(self._ask("nvmlDeviceGetEnforcedPowerLimit")) / 1000,
            "gpu_application_clock_mhz": lambda: int(
                self._ask("nvmlDeviceGetApplicationsClock", self._nvml.NVML_CLOCK_SM)
            ),
            "gpu_ecc": lambda: bool(self._ask("nvmlDeviceGetEccMode")[0]),
            "gpu_persistence_mode": lambda: bool(self._ask("nvmlDeviceGetPersistenceMode")),
            "gpu_pcie": lambda: "generation {} x{}".format(*(self._ask(name) for name in link)),
        }
        told: dict[str, Setting] = {}
        for name, ask in asked.items():
            with suppress(NvmlError, self._nvml.NVMLError):
                told[name] = ask()
        return told

    def users(self) -> list[int]:
        """Processes that compute on it."""
        return [int(process.pid) for process in self._ask("nvmlDeviceGetComputeRunningProcesses")]

    def state(self, host: Host = HOST) -> DeviceState:
        missing: dict[str, str] = {}

        def told(name: str, ask: Callable[[], Any]) -> Any:
            try:
                return ask()
            except NvmlError as error:
                missing[name] = str(error)
                return None

        return DeviceState(
            told("clock_mhz", self.clock_mhz),
            told("temperature_c", self.temperature_c),
            told("throttle_reasons", self.throttle_reasons),
            told("other_users", lambda: _others(host, self.users())),
            told("memory_used_bytes", self.memory_used_bytes),
            missing,
        )

    def _ask(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, name)(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError) as error:
            raise NvmlError.of(error, name) from error


def gpu(device: Device) -> Gpu:
    """The GPU at the device's address on the bus; raises NvmlError."""
    return _gpu(device.address.get("nvml", ""))


@cache
def _gpu(pci: str) -> Gpu:
    """By its place on the bus: CUDA's numbers are not NVML's."""
    try:
        import pynvml as nvml
    except ImportError as error:
        raise NvmlError(Presence("absent", "the package nvidia-ml-py is not installed", PACKAGE)) from error
    try:
        nvml.nvmlInit()
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByPciBusId(pci))
    except nvml.NVMLError as error:
        raise NvmlError.of(error, "starting NVML") from error


def configuration(device: Device) -> dict[str, Setting]:
    """What the machine's owner has set on the GPU and bears on its speed, as far as NVML tells; nothing is set here."""
    try:
        return gpu(device).configuration()
    except NvmlError:
        return {}


def _others(host: Host, pids: list[int]) -> int:
    """How many of these processes do not descend from this one."""
    if not all(host.process(pid) for pid in pids):
        why = "NVML names processes that are not in this container's list"
        raise NvmlError(Presence("absent", why, "share the host's process namespace: --pid=host"))
    return sum(not host.is_ours(pid) for pid in pids)
