"""The temperature of a Coral Edge TPU on PCIe. No Coral product has a power counter (gasket driver, apex_driver.c)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from backends._host import HOST, Host
from backends.contract import Device, Meter, Presence, Reading


class ApexMeter(Meter):
    """In degrees Celsius; the driver writes thousandths."""

    name = "apex"
    quantity = "temperature_c"
    scope = "chip"
    trust = 0
    period_s = 1.0
    update_s = 5.0

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if device.backend != "edgetpu":
            return Presence("absent", "it reads Edge TPUs")
        if "PCIe" not in device.name or not self._sensors():
            return Presence(
                "absent", "an Edge TPU on USB has no sensor, and none has a power counter", "use a wall meter"
            )
        return Presence("present")

    def open(self, device: Device) -> None:
        self._sensor = self._sensors()[0]

    def read(self) -> Sequence[Reading]:
        thousandths = self._host.number(self._sensor)
        if thousandths is None:
            return [Reading(time.monotonic_ns(), None, f"/{self._sensor} could not be read")]
        return [Reading(time.monotonic_ns(), thousandths / 1000)]

    def _sensors(self) -> list[str]:
        return [str(path.relative_to(self._host.root)) for path in self._host.glob("sys/class/apex/apex_*/temp")]
