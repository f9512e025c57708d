"""NVIDIA's own meters of a GPU board: an energy counter, and power of the moment or averaged by the driver.

On A100 and H100 polled power sees a quarter of the run time (arXiv 2312.02741), so the counter is trusted most. It
moves every 10 to 100 ms (gpuopenanalytics/pynvml#18, ml-energy/zeus): the longer is taken.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence

from backends._nvml import Gpu, NvmlError, gpu
from backends.contract import Device, Meter, Presence, Reading


class _NvmlMeter(Meter):
    scope = "board"
    update_s = 0.1

    def available(self, device: Device) -> Presence:
        if device.backend != "cuda":
            return Presence("absent", "it reads NVIDIA GPUs")
        try:
            self._value(gpu(device))
        except NvmlError as error:
            return error.presence
        return Presence("present")

    def open(self, device: Device) -> None:
        self._gpu = gpu(device)
        self.shared = self._gpu.is_sliced()

    def read(self) -> Sequence[Reading]:
        try:
            value = self._value(self._gpu)
        except NvmlError as error:
            return [Reading(time.monotonic_ns(), None, str(error))]
        return [Reading(time.monotonic_ns(), value)]

    @abstractmethod
    def _value(self, board: Gpu) -> float:
        """Raises NvmlError."""


class NvmlMeter(_NvmlMeter):
    """The energy counter of Volta and later."""

    name = "nvml"
    quantity = "energy_j"
    trust = 80

    def _value(self, board: Gpu) -> float:
        return board.energy_j()


class NvmlInstantMeter(_NvmlMeter):
    """Power of the moment."""

    name = "nvml-instant"
    quantity = "power_w"
    trust = 60

    def _value(self, board: Gpu) -> float:
        return board.power_instant_w()


class NvmlUsageMeter(_NvmlMeter):
    """What nvidia-smi shows: power that the driver of an Ampere or later GPU has averaged over a second."""

    name = "nvml-usage"
    quantity = "power_w"
    trust = 40
    update_s = 1.0

    def _value(self, board: Gpu) -> float:
        return board.power_usage_w()
