"""Coral's Edge TPU on USB or PCIe.

Numbers: libedgetpu's driver/usb/local_usb_device.cc and the gasket driver's apex.c, read November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, DeviceState, Presence

USB = {("1a6e", "089a"), ("18d1", "9302")}
"""The stick has the first pair until its first use, then it starts its firmware and has the second."""
PCI = ("1ac1", "089a")


class EdgeTpuBackend(Backend):
    """Edge TPUs. The speed of a stick's USB port is part of its name: it decides how fast weights and inputs arrive."""

    name = "edgetpu"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        sticks = self._sticks()
        cards = [card.address for card in self._host.pci(PCI[0]) if card.device == PCI[1]]
        apex = self._host.glob("dev/apex_*")
        names = ["Coral Edge TPU (PCIe)"] * len(apex) + [self._stick_name(stick) for stick in sticks]
        seen = Sighting(
            "Edge TPU",
            "USB 1a6e:089a and 18d1:9302, PCI 1ac1:089a, /dev/apex_*",
            [*cards, *(stick.name for stick in sticks)],
            [*apex, *(node for stick in sticks if self._host.exists(node := self._usb_node(stick)))],
            tuple(Device(self.name, name, {}) for name in names),
            "PCIe: install gasket-dkms and modprobe apex; USB in a container: give it /dev/bus/usb",
            "install libedgetpu's udev rules, or add this user to the groups apex and plugdev",
        )
        return settle(self._host, self.name, targets, seen)

    def state(self, device: Device) -> DeviceState:
        """Only the PCIe card has a sensor, in thousandths of a degree; at each of three trip points it slows down."""
        folder = next(iter(self._host.glob("sys/class/apex/apex_*")), None) if "PCIe" in device.name else None
        heat = self._number(folder, "temp") if folder else None
        if folder is None or heat is None:
            return DeviceState.unknown("only PCIe cards have a sensor, in /sys/class/apex")
        trips = {f"thermal_trip_point{n}": self._number(folder, f"trip_point{n}_temp") for n in range(3)}
        reached = tuple(name for name, trip in trips.items() if trip is not None and heat >= trip)
        missing = dict(DeviceState.unknown("the driver does not tell").missing)
        del missing["temperature_c"]
        if None in trips.values():
            return DeviceState(temperature_c=heat / 1000, missing=missing)
        del missing["throttle_reasons"]
        return DeviceState(temperature_c=heat / 1000, throttle_reasons=reached, missing=missing)

    def _number(self, folder: Path, name: str) -> float | None:
        return self._host.number((folder / name).relative_to(self._host.root))

    def _sticks(self) -> list[Path]:
        host = self._host
        sticks = host.glob("sys/bus/usb/devices/*")
        return [one for one in sticks if (host.within(one, "idVendor"), host.within(one, "idProduct")) in USB]

    def _stick_name(self, stick: Path) -> str:
        return f"Coral Edge TPU (USB {self._host.within(stick, 'speed') or 'unknown'} Mb/s)"

    def _usb_node(self, stick: Path) -> Path:
        bus, device = (self._host.within(stick, name) or "none" for name in ("busnum", "devnum"))
        return self._host.root / "dev/bus/usb" / bus.zfill(3) / device.zfill(3)
