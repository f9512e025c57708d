"""Qualcomm Cloud AI. Numbers: Linux' drivers/accel/qaic/qaic_drv.c, read November 2026."""

from __future__ import annotations

from collections.abc import Sequence

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence

CARDS = {"a080": "Cloud AI 80", "a100": "Cloud AI 100", "a110": "Cloud AI 200"}


class QualcommBackend(Backend):
    """Cards of the qaic driver: under /dev/accel from the kernel's, as /dev/qaic* from the SDK's."""

    name = "qualcomm"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = {card.address: name for card in self._host.pci("17cb") if (name := CARDS.get(card.device))}
        nodes = self._host.accelerators("qaic") or self._host.glob("dev/qaic*")
        seen = Sighting(
            "Qualcomm Cloud AI card",
            "PCI 17cb:a080, a100 and a110, /dev/accel/accel* of the driver qaic, /dev/qaic*",
            list(cards),
            nodes,
            tuple(Device(self.name, f"Qualcomm {name}", {}) for name in cards.values() or ("Cloud AI",)),
            "modprobe qaic (Linux 6.4 or newer) and install the Cloud AI platform SDK",
            "add this user to the group qaic: usermod -aG qaic $USER",
        )
        return settle(self._host, self.name, targets, seen)
