"""Coral's Edge TPU on USB or PCIe.

Numbers: libedgetpu's driver/usb/local_usb_device.cc and the gasket driver's apex.c, read November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from backends._edgetpu import runtime
from backends._host import HOST, Host, distinct, no_targets
from backends.contract import Backend, Device, DeviceState, Presence

DFU, READY = ("1a6e", "089a"), ("18d1", "9302")
"""The stick has the first pair until its first use, then it starts its firmware and has the second."""
PCI = ("1ac1", "089a")
SPEED = re.compile(r"[0-9]{1,6}(\.5)?")
"""In Mbit/s, 1.5 the slowest (Documentation/ABI/testing/sysfs-bus-usb)."""
LOOKED = "USB 1a6e:089a and 18d1:9302, PCI 1ac1:089a, /dev/apex_*"
RULE = 'SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e|18d1", GROUP="plugdev", MODE="0664"'
"""For both vendors, or a stick would be lost as soon as it has started its firmware."""


class EdgeTpuBackend(Backend):
    """Edge TPUs. What decides their speed is in the name: the USB port's rate, and the clock that the runtime sets."""

    name = "edgetpu"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return no_targets(self.name, targets)
        found = [*self._cards(), *self._sticks()]
        devices = [device for presence in found for device in presence.devices]
        if devices:
            return Presence("present", devices=distinct(devices))
        nothing = Presence("absent", f"no Edge TPU: looked for {LOOKED}", "run on a machine that has one")
        return next(iter(found), nothing)

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

    def _cards(self) -> Iterator[Presence]:
        """One answer a node of the driver; without any, one a card on the bus."""
        nodes = self._host.glob("dev/apex_*")
        for number, node in enumerate(nodes):
            remedy = f"add this user to the group that owns /dev/{node.name}, by Coral's udev rule: apex"
            yield self._opened(node, remedy, self._device("PCIe", f"pci:{number}"))
        for card in [] if nodes else self._host.pci(PCI[0]):
            if card.device == PCI[1]:
                yield self._undriven(card.address, card.driver)

    def _undriven(self, address: str, driver: str) -> Presence:
        """A card on the bus of which the driver has made no node."""
        if driver == "vfio-pci":
            why = f"Edge TPU {address} is reserved for virtual machines (vfio-pci)"
            return Presence("absent", why, "run in the virtual machine that has it")
        if driver == "apex":
            why = f"Edge TPU {address} has its driver, and there is no /dev/apex_0"
            return Presence("broken", why, "in a container: give it the node, --device /dev/apex_0")
        why = f"Edge TPU {address} is there, its driver's device node is not"
        return Presence("broken", why, "install gasket-dkms and modprobe apex")

    def _sticks(self) -> Iterator[Presence]:
        folders = self._host.glob("sys/bus/usb/devices/*")
        ids = {one: (self._host.within(one, "idVendor"), self._host.within(one, "idProduct")) for one in folders}
        sticks = [one for one in folders if ids[one] in (DFU, READY)]
        for number, stick in enumerate(sticks):
            yield self._stick(stick, number, ids[stick] == DFU)

    def _stick(self, stick: Path, number: int, is_new: bool) -> Presence:
        numbers = (self._host.within(stick, name) or "none" for name in ("busnum", "devnum"))
        node = self._host.root.joinpath("dev/bus/usb", *(number.zfill(3) for number in numbers))
        if not self._host.exists(node):
            why = f"Edge TPU {stick.name} is on USB, and there is no node of it under /dev/bus/usb"
            return Presence("broken", why, "in a container: give it all of /dev/bus/usb, as the stick's node changes")
        rule = f"add the udev rule {RULE}, then plug the stick out and in"
        if is_new:
            rule += "; it was not used yet, and will have another id then: the rule is for both"
        speed = self._host.within(stick, "speed") or ""
        told = speed if SPEED.fullmatch(speed) else "unknown"
        return self._opened(node, rule, self._device(f"USB {told} Mb/s", f"usb:{number}"))

    def _opened(self, node: Path, remedy: str, device: Device) -> Presence:
        if self._host.denied([node]):
            return Presence("no_permission", f"this user may not open /{node.relative_to(self._host.root)}", remedy)
        return Presence("present", devices=(device,))

    def _device(self, link: str, address: str) -> Device:
        """Engines hand `address` to the runtime as its option "device": with a number, as it then minds its others."""
        found = runtime(self._host)
        device = Device(self.name, f"Coral Edge TPU ({link})", {"edgetpu": address, "pycoral": address})
        return replace(device, name=f"Coral Edge TPU ({link}, {found.clock} clock)") if found else device
