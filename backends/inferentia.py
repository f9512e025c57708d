"""AWS Inferentia and Trainium, which share a driver and a compiler.

Numbers: aws-neuron-driver's neuron_pci.h (Trainium2 and 3 from what others read there); cores: the architecture pages
of the Neuron SDK, 2.32, where those of Trainium2 and 3 are logical ones, pairs of what lies on the chip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backends import _neuron
from backends._host import HOST, Host, Sighting, plain, settle
from backends.contract import Backend, Device, DeviceState, Presence

CHIPS = {
    "7064": "Inferentia1", "7065": "Inferentia1", "7066": "Inferentia1", "7067": "Inferentia1",
    "7164": "Trainium1", "7264": "Inferentia2", "7364": "Trainium2", "7564": "Trainium3",
}  # fmt: skip
CORES = {"Inferentia1": 4, "Inferentia2": 2, "Trainium1": 2, "Trainium2": 4, "Trainium3": 4}
"""NeuronCores of a chip that a process may ask for, where neuron-ls does not say."""
OLD = "Inferentia1"
"""Its compiler is another, torch-neuron, which AWS has given up."""
ASKED = re.compile(r"inferentia:cores=[1-9]\d{0,2}")
NO_CLOCK = "the Neuron driver does not tell it"


class InferentiaBackend(Backend):
    """Neuron devices, one for each kind of chip, with all of its cores.

    Target: `inferentia:cores=1`, the same with so many of the chip's cores, which share the work.
    """

    name = "inferentia"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if unknown := [target for target in targets if not ASKED.fullmatch(target)]:
            return _refused(f"{self.name} knows no target {unknown[0]}")
        cards = {card.address: chip for card in self._host.pci("1d0f") if (chip := CHIPS.get(card.device))}
        nodes = self._host.glob("dev/neuron[0-9]*")
        fallback = next(iter(cards.values()), "Neuron device")
        chips = {node: self._chip(node) or fallback for node in nodes}
        seen = Sighting(
            "AWS Neuron device",
            "/dev/neuron* and PCI 1d0f with a Neuron device number",
            list(cards),
            nodes,
            (),
            "install aws-neuronx-dkms from AWS' repository and modprobe neuron; in a container: --device=/dev/neuron0",
            "let this user read and write /dev/neuron*: the driver's udev rules do",
        )
        presence = settle(self._host, self.name, (), seen)
        return self._with(chips, targets) if presence.state == "present" else presence

    def state(self, device: Device) -> DeviceState:
        """Users as neuron-ls lists them on any chip here, and the memory that the driver counts on all of them."""
        missing = dict.fromkeys(("clock_mhz", "temperature_c", "throttle_reasons"), NO_CLOCK)
        others: int | None = None
        try:
            pids = {pid for one in _neuron.listed(self._host) for pid in one.pids}
            others = sum(not self._host.is_ours(pid) for pid in pids)
        except _neuron.NeuronError as error:
            missing["other_users"] = str(error)
        used = _neuron.memory_used_bytes(self._host)
        if used is None:
            missing["memory_used_bytes"] = "the driver has no memory counters in sysfs: update aws-neuronx-dkms"
        return DeviceState(other_users=others, memory_used_bytes=used, missing=missing)

    def _with(self, chips: dict[Path, str], targets: Sequence[str]) -> Presence:
        """The devices that these targets ask for, of each kind of chip."""
        has = self._cores(chips)
        devices: dict[str, Device] = {}
        for chip, cores in has.items():
            for target in targets or (f"{self.name}:cores={cores}",):
                used = int(target.rpartition("=")[2])
                if used > cores:
                    return _refused(f"{target}: an {chip} has {cores} cores, and one chip is measured")
                made = self._device(chip, used, cores)
                devices[made.name] = made
        return Presence("present", devices=tuple(devices.values()))

    def _device(self, chip: str, used: int, cores: int) -> Device:
        """What stands behind the @ is no part of the name that the catalog knows the chip by."""
        count = f"{used} of {cores} cores" if used < cores else f"{cores} core{'s' if cores > 1 else ''}"
        address = {} if chip == OLD else {"neuron": str(used)}
        if used == 1 and address:
            address["jax"] = "neuron:0"  # it computes on one core
        return Device(self.name, f"AWS {chip} @ {count}", address)

    def _cores(self, chips: dict[Path, str]) -> dict[str, int]:
        """Cores of each kind of chip, as neuron-ls lists them on the first that there is of it."""
        try:
            listed = {one.number: one.cores for one in _neuron.listed(self._host)}
        except _neuron.NeuronError:
            listed = {}
        found: dict[str, int] = {}
        for node, chip in chips.items():
            number = int(node.name.removeprefix("neuron") or 0)
            found.setdefault(chip, listed.get(number) or CORES.get(chip, 1))
        return found

    def _chip(self, node: Path) -> str | None:
        """The driver calls the chips of the first generation without their number."""
        name = self._host.text(f"{_neuron.SYSFS}/{node.name}/info/architecture/device_name")
        return {"Inferentia": "Inferentia1", "Trainium": "Trainium1"}.get(name, plain(name)) if name else None


def _refused(reason: str) -> Presence:
    return Presence("no_such_target", reason, "write inferentia:cores=1, or leave it out for all cores of a chip")
