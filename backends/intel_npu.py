"""Intel's NPU in Core Ultra processors. Numbers: Linux' drivers/accel/ivpu/ivpu_drv.h, read November 2026."""

from __future__ import annotations

from collections.abc import Sequence

from backends._accel import Driver, folders, number, remedy
from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, DeviceState, Presence

CHIPS = {
    "7d1d": "Meteor Lake",
    "ad1d": "Arrow Lake",
    "643e": "Lunar Lake",
    "b03e": "Panther Lake",
    "fd3e": "Wildcat Lake",
    "d71d": "Nova Lake",
}
DRIVER = Driver(
    "intel_vpu",
    "modprobe intel_vpu (Linux 6.6 or newer)",
    "the driver gave up on it, mostly over firmware that is missing or too old: see dmesg | grep intel_vpu, and "
    "install intel-fw-npu or a newer linux-firmware",
    "in a container: start it with --device /dev/accel",
)


class IntelNpuBackend(Backend):
    """The NPU that the intel_vpu driver gives to OpenVINO."""

    name = "intel_npu"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = [card for card in self._host.pci("8086") if card.device in CHIPS]
        chip = CHIPS[cards[0].device] if cards else "unknown generation"
        seen = Sighting(
            "Intel NPU",
            "/dev/accel/accel* of the driver intel_vpu, and the PCI numbers of Core Ultra NPUs",
            [card.address for card in cards],
            self._host.accelerators(DRIVER.module),
            (Device(self.name, f"Intel NPU ({chip})", {"openvino": "NPU"}),),
            remedy(self._host, cards, DRIVER),
            "add this user to the group render: usermod -aG render $USER",
        )
        return settle(self._host, self.name, targets, seen)

    def state(self, device: Device) -> DeviceState:
        """Clock and memory in use, as the driver tells them since Linux 6.16 (drivers/accel/ivpu/ivpu_sysfs.c)."""
        missing = dict(DeviceState.unknown("the driver intel_vpu does not tell").missing)
        here = next(iter(folders(self._host, DRIVER.module)), None)
        clock = number(self._host, here, "npu_current_frequency_mhz") if here else None
        used = number(self._host, here, "npu_memory_utilization") if here else None
        if clock is not None:
            missing["clock_mhz"] = "the NPU sleeps between runs, and has no clock then"
        if clock:
            del missing["clock_mhz"]
        if used is not None:
            del missing["memory_used_bytes"]
        return DeviceState(
            clock_mhz=clock or None, memory_used_bytes=None if used is None else int(used), missing=missing
        )
