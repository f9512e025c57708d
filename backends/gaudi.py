"""Gaudi cards of Habana Labs, now Intel's.

Numbers: the id tables of the driver habanalabs, Linux' own (habanalabs_drv.c) and the vendor's, read November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends._accel import Driver, folders, number, remedy
from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, DeviceState, Presence

GOYA = "Goya"
CARDS = {
    "0001": GOYA,
    "1000": "Gaudi",
    "1001": "Gaudi",
    "1010": "Gaudi",
    "1011": "Gaudi",
    "1020": "Gaudi 2",
    "1021": "Gaudi 2",
    "1030": "Gaudi 2",
    "1060": "Gaudi 3",
    "1062": "Gaudi 3",
    "1063": "Gaudi 3",
}
DRIVER = Driver(
    "habanalabs",
    "install habanalabs-dkms and modprobe habanalabs",
    "the driver gave up on it, mostly over firmware: see dmesg | grep habanalabs, and install habanalabs-firmware of "
    "the driver's version",
    "in a container: start it with --runtime=habana -e HABANA_VISIBLE_DEVICES=all",
)


class GaudiBackend(Backend):
    """Cards that the habanalabs driver gives out, under /dev/accel since Linux 6.5 and as /dev/hl* before.

    A Goya, the inference card before Gaudi, is found and said to be one: Intel's PyTorch does not drive it.
    """

    name = "gaudi"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        cards = [card for card in self._host.pci("1da3") if card.device in CARDS]
        nodes = self._host.accelerators(DRIVER.module) or self._host.glob("dev/hl[0-9]*")
        names = [CARDS[card.device] for card in cards] or ["Gaudi"]
        seen = Sighting(
            "Gaudi card",
            "PCI 1da3, /dev/accel/accel* of the driver habanalabs, /dev/hl*",
            [card.address for card in cards],
            nodes,
            tuple(self._device(name) for name in names),
            remedy(self._host, cards, DRIVER),
            "let this user read and write the card's node: the driver's udev rules do",
        )
        presence = settle(self._host, self.name, targets, seen)
        told = [self._host.within(folder, "status") for folder in self._folders()]
        ill = [status for status in told if status not in (None, "Operational")]
        if presence.state == "present" and ill:
            return Presence("broken", f"the driver says of a Gaudi card: {ill[0]}", "see dmesg | grep habanalabs")
        return presence

    def state(self, device: Device) -> DeviceState:
        """The clock, as the driver tells it; its temperature sensors have no names, so none is taken for the chip's."""
        missing = dict(DeviceState.unknown("the driver habanalabs does not tell").missing)
        clocks = [clock for folder in self._folders() if (clock := number(self._host, folder, "clk_cur_freq_mhz"))]
        if len(clocks) != 1:
            missing["clock_mhz"] = f"{len(clocks)} cards tell their clock, and the first free one is measured"
            return DeviceState(missing=missing)
        del missing["clock_mhz"]
        return DeviceState(clock_mhz=clocks[0], missing=missing)

    def _device(self, name: str) -> Device:
        return Device(self.name, f"Intel {name}", {} if name == GOYA else {"habana": "hpu"})

    def _folders(self) -> list[Path]:
        """Where the driver writes of each card (Documentation/ABI/testing/sysfs-driver-habanalabs, new and old)."""
        return folders(self._host, DRIVER.module) or self._host.glob("sys/class/habanalabs/hl[0-9]*")
