"""AWS Inferentia and Trainium, which share a driver and a compiler.

Numbers: aws-neuron-driver's neuron_pci.h; the folders in sysfs: the Neuron SDK's "Neuron Sysfs User Guide", 2.32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence

CHIPS = {
    "7064": "Inferentia", "7065": "Inferentia", "7066": "Inferentia", "7067": "Inferentia",
    "7164": "Trainium", "7264": "Inferentia2", "7364": "Trainium2",
}  # fmt: skip


class InferentiaBackend(Backend):
    """Neuron devices, one for each kind of chip."""

    name = "inferentia"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = {card.address: chip for card in self._host.pci("1d0f") if (chip := CHIPS.get(card.device))}
        nodes = self._host.glob("dev/neuron[0-9]*")
        fallback = next(iter(cards.values()), "Neuron device")
        seen = Sighting(
            "AWS Neuron device",
            "/dev/neuron* and PCI 1d0f with a Neuron device number",
            list(cards),
            nodes,
            tuple(Device(self.name, f"AWS {self._chip(node) or fallback}", {}) for node in nodes),
            "install aws-neuronx-dkms from AWS' repository and modprobe neuron; in a container: --device=/dev/neuron0",
            "let this user read and write /dev/neuron*: the driver's udev rules do",
        )
        return settle(self._host, self.name, targets, seen)

    def _chip(self, node: Path) -> str | None:
        folder = f"sys/devices/virtual/neuron_device/{node.name}/info/architecture"
        return self._host.text(f"{folder}/device_name")
