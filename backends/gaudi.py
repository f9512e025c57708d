"""Intel Gaudi. Numbers: Linux' habanalabs/include/hw_ip/pci/pci_general.h and pci_ids.h, read November 2026."""

from __future__ import annotations

from collections.abc import Sequence

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence

CARDS = {"1000": "Gaudi", "1010": "Gaudi", "1020": "Gaudi 2", "1030": "Gaudi 2", "1060": "Gaudi 3", "1063": "Gaudi 3"}


class GaudiBackend(Backend):
    """Cards that the habanalabs driver gives out, under /dev/accel since Linux 6.5 and as /dev/hl* before."""

    name = "gaudi"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = {card.address: name for card in self._host.pci("1da3") if (name := CARDS.get(card.device))}
        nodes = self._host.accelerators("habanalabs") or self._host.glob("dev/hl[0-9]*")
        seen = Sighting(
            "Gaudi card",
            "PCI 1da3, /dev/accel/accel* of the driver habanalabs, /dev/hl*",
            list(cards),
            nodes,
            tuple(Device(self.name, f"Intel {name}", {}) for name in cards.values() or ("Gaudi",)),
            "install habanalabs-dkms and modprobe habanalabs; in a container: --runtime=habana",
            "let this user read and write the card's node: the driver's udev rules do",
        )
        return settle(self._host, self.name, targets, seen)
