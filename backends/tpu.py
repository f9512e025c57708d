"""Google's Cloud TPUs, found by their PCI numbers.

Numbers and the nodes of each generation: jax/_src/hardware_utils.py and the tpu-info package, read November 2026.
The vendor also makes network cards, so a device number decides, never the vendor alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends._host import HOST, Host, PciDevice, Sighting, settle
from backends.contract import Backend, Device, Presence

GENERATIONS = {"005e": "v4", "0062": "v5p", "0063": "v5e", "006f": "v6e", "0076": "7x"}
OLD, OLD_GENERATIONS = "0027", {"004e": "v2", "004f": "v3"}
"""Both old generations share a device number and differ in that of their subsystem."""


class TpuBackend(Backend):
    """TPU chips of this virtual machine, one device for each generation."""

    name = "tpu"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        chips = {card.address: name for card in self._host.pci("1ae0") if (name := generation(card))}
        # Both nodes may be others' (an NPU, a passed-through GPU): they count only next to a TPU on the bus.
        nodes = [*self._host.glob("dev/accel[0-9]*"), *self._host.glob("dev/vfio/[0-9]*")] if chips else []
        seen = Sighting(
            "Google TPU",
            "PCI 1ae0 with a TPU's device number",
            list(chips),
            nodes,
            tuple(Device(self.name, f"Google TPU {name}", {}) for name in chips.values()),
            "use a TPU VM image; in a container: give it /dev/accel* or /dev/vfio with --privileged",
            "add this user to the group of /dev/accel* and /dev/vfio/*, or run as root",
        )
        return settle(self._host, self.name, targets, seen)


def generation(card: PciDevice) -> str | None:
    """The generation of a chip; None for what is no TPU."""
    if card.device == OLD:
        return OLD_GENERATIONS.get(card.subsystem_device)
    return GENERATIONS.get(card.device)
