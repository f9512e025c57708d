"""Arm's Ethos-U microNPU inside a Linux system on a chip (an i.MX93, say); it hangs on no bus that can be searched.

Nodes: Arm's ethos-u-linux-driver-stack gives /dev/ethosu0, Linux' own drivers/accel/ethosu (6.19) an accel node.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence


class EthosUBackend(Backend):
    """The microNPU of this board. Its configuration is not written anywhere that can be read without a driver call."""

    name = "ethos_u"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        nodes = self._host.glob("dev/ethosu[0-9]*") or self._host.accelerators("ethosu")
        seen = Sighting(
            "Ethos-U",
            "/dev/ethosu* and /dev/accel/accel* of the driver ethosu",
            (),
            nodes,
            (Device(self.name, "Arm Ethos-U", {}),),
            "",
            "let this user read and write the node: a udev rule with GROUP and MODE 0660",
        )
        return settle(self._host, self.name, targets, seen)
