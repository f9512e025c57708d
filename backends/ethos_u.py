"""Arm's Ethos-U microNPU: the one of this board, or any configuration that Arm's compiler Vela can compile for.

In a Linux system on a chip (an i.MX93, say) it hangs on no bus that can be searched. Nodes: Arm's
ethos-u-linux-driver-stack gives /dev/ethosu0, Linux' own drivers/accel/ethosu (6.19) an accel node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backends._ethos_u import STANDARD, Configuration, parsed
from backends._host import HOST, Host, Sighting, distinct, settle
from backends.contract import Backend, Device, Presence, Unsupported

ALL = ("u55-128", "u55-256", "u65-256", "u65-512", "u85-256", "u85-1024")
"""`ethos_u:all`: a small and a large one of each generation."""
DEFAULT = ("u55-128", "u65-256", "u85-256")
PREDICT = "run on a board that has one, or see what Arm's compiler predicts: --target ethos_u:all"


class EthosUBackend(Backend):
    """The microNPU of this board. Its configuration is not written anywhere that can be read without a driver call.

    Targets: `ethos_u:u85-256`, `ethos_u:u85-256?system=Ethos_U85_SYS_DRAM_Low&memory=Sram_Only&sram_kib=2048`, and
    `ethos_u:all`. A configuration includes its system and memory mode, on which an estimate depends as much as on the
    accelerator: two configurations are two devices.
    """

    name = "ethos_u"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return self._targets(targets)
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
        presence = settle(self._host, self.name, (), seen)
        if presence.state != "absent":
            return presence
        devices = tuple(self._device(parsed(name)) for name in DEFAULT)
        return replace(presence, remedy=PREDICT, devices=devices)

    def _targets(self, targets: Sequence[str]) -> Presence:
        try:
            chosen = [one for target in targets for one in self._configurations(target)]
        except Unsupported as error:
            return Presence("no_such_target", str(error), f"write ethos_u:{DEFAULT[0]} or ethos_u:all")
        return Presence("present", devices=distinct(self._device(one) for one in chosen))

    def _configurations(self, target: str) -> list[Configuration]:
        scheme, _, text = target.partition(":")
        if scheme != self.name:
            raise Unsupported(f"ethos_u knows no target {target}; it knows all, {', '.join(STANDARD)}")
        return [parsed(name) for name in ALL] if text == "all" else [parsed(text)]

    def _device(self, chosen: Configuration) -> Device:
        return Device(self.name, chosen.name, {"vela": str(chosen)}, runs=False)
