"""Intel's NPU in Core Ultra processors. Numbers: Linux' drivers/accel/ivpu/ivpu_drv.h, read November 2026."""

from __future__ import annotations

from collections.abc import Sequence

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence

CHIPS = {"7d1d": "Meteor Lake", "ad1d": "Arrow Lake", "643e": "Lunar Lake", "b03e": "Panther Lake"}


class IntelNpuBackend(Backend):
    """The NPU that the intel_vpu driver gives to OpenVINO."""

    name = "intel_npu"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = {card.address: chip for card in self._host.pci("8086") if (chip := CHIPS.get(card.device))}
        chip = next(iter(cards.values()), "unknown generation")
        seen = Sighting(
            "Intel NPU",
            "/dev/accel/accel* of the driver intel_vpu, and the PCI numbers of Core Ultra NPUs",
            list(cards),
            self._host.accelerators("intel_vpu"),
            (Device(self.name, f"Intel NPU ({chip})", {"openvino": "NPU"}),),
            "modprobe intel_vpu (Linux 6.6 or newer) and install linux-npu-driver",
            "add this user to the group render: usermod -aG render $USER",
        )
        return settle(self._host, self.name, targets, seen)
