"""Power of AWS Neuron devices, in percent of a maximum that AWS does not publish: joules cannot be made of it.

One line in sysfs, POWER_STATUS_VALID,<epoch>,<min>,<max>,<average>, once a minute (AWS Neuron documentation, "Neuron
Sysfs User Guide"). neuron-monitor has no power at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from backends._host import HOST, Host
from backends.contract import Device, Meter, Presence, Reading

FILES = "sys/devices/virtual/neuron_device/neuron*/stats/power/utilization"


class NeuronMeter(Meter):
    """The average of the last minute that the driver has closed."""

    name = "neuron"
    quantity = "power_percent"
    scope = "device"
    trust = 10
    period_s = 5.0
    update_s = 60.0

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if device.backend != "inferentia":
            return Presence("absent", "it reads AWS Neuron devices")
        if not self._host.glob(FILES):
            return Presence("absent", f"no /{FILES}", "update the driver, aws-neuronx-dkms")
        return Presence("present")

    def open(self, device: Device) -> None:
        self._file = self._host.glob(FILES)[0].relative_to(self._host.root)

    def read(self) -> Sequence[Reading]:
        status, *values = (self._host.text(self._file) or "no power file").split(",")
        try:
            percent = float(values[3]) if status == "POWER_STATUS_VALID" else None
        except (IndexError, ValueError):
            percent = None
        return [Reading(time.monotonic_ns(), percent, "" if percent is not None else f"the driver says {status[:40]}")]
