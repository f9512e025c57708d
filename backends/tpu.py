"""Google's Cloud TPUs: found by their PCI numbers, or compiled for where there is none.

Numbers and the nodes of each generation: jax/_src/hardware_utils.py and the tpu-info package, read November 2026.
The vendor also makes network cards, so a device number decides, never the vendor alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backends._host import HOST, Host, PciDevice, Sighting, distinct, settle
from backends.contract import Backend, Device, DeviceState, Presence, Unsupported

OLD, OLD_SUBSYSTEMS = "0027", {"004e": "v2", "004f": "v3"}
"""Both old generations share a device number and differ in that of their subsystem."""
DEFAULT = "v5e"
PREDICT = "run on a TPU VM, or see what the TPU compiler predicts: --target tpu:v5e"
OUTSIDE = "libtpu tells it only to the process that computes (tpumonitoring)"


@dataclass(frozen=True)
class Generation:
    """`chip` is the shape of one chip in a topology, `nodes` what its driver makes in /dev.

    JAX' device is a chip, but for `halves`, where it is one of a chip's two cores, and for v4 where it is compiled for:
    the compiler is then told of no cores that work as one, as they do in a TPU VM ("megacore").
    """

    name: str
    nodes: str
    chip: str = "1x1"
    topology: str = ""
    halves: bool = False
    compiled_halves: bool = False

    @property
    def title(self) -> str:
        return f"Google TPU{'' if self.name[0].isdigit() else ' '}{self.name}"

    def device(self) -> Device:
        """A chip that is here; the first one, if there are more."""
        return Device("tpu", self.title + (HALF if self.halves else ""), {"jax": "tpu:0"})

    def compiled(self) -> Device:
        """A chip that is not here."""
        half = self.halves or self.compiled_halves
        return Device("tpu", self.title + (HALF if half else ""), {"jax": f"{self.topology}:{self.chip}"}, runs=False)


HALF = " (1 of 2 cores)"
ACCEL, VFIO = "dev/accel[0-9]*", "dev/vfio/[0-9]*"
GENERATIONS = {
    "005e": Generation("v4", ACCEL, "1x1x1", "v4", compiled_halves=True),
    "0062": Generation("v5p", VFIO, "1x1x1", "v5p"),
    "0063": Generation("v5e", VFIO, "1x1", "v5e"),
    "006f": Generation("v6e", VFIO, "1x1", "v6e"),
    "0076": Generation("7x", VFIO, "1x1x1", "tpu7x", halves=True),
}
"""By PCI device number; `topology` is libtpu's name."""
TARGETS = {one.name: one for one in GENERATIONS.values()}


class TpuBackend(Backend):
    """TPU chips of this virtual machine, one device for each generation.

    Targets: `tpu:v5e:1x1`, or `tpu:v5e` for the same, one chip of v4, v5e, v5p, v6e or 7x.
    """

    name = "tpu"
    unmetered = "no TPU exposes power: neither libtpu nor its metric service has a reading of it"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return self._targets(targets)
        chips = {card.address: one for card in self._host.pci("1ae0") if (one := generation(card))}
        # Both kinds of nodes may be others' (an NPU, a passed-through GPU): they count only next to a TPU on the bus.
        nodes = [node for pattern in {one.nodes for one in chips.values()} for node in self._host.glob(pattern)]
        seen = Sighting(
            "Google TPU",
            "PCI 1ae0 with a TPU's device number",
            list(chips),
            nodes,
            tuple(one.device() for one in chips.values()),
            self._without_nodes(),
            "add this user to the group of /dev/accel* and /dev/vfio/*, or run as root",
        )
        presence = settle(self._host, self.name, (), seen)
        if presence.state != "absent":
            return presence
        return replace(presence, remedy=PREDICT, devices=(TARGETS[DEFAULT].compiled(),))

    def state(self, device: Device) -> DeviceState:
        """Nothing is told from outside of the process that computes; and no other can use the chip beside it."""
        return DeviceState.unknown(OUTSIDE)

    def _without_nodes(self) -> str:
        if any(self._host.exists(self._host.root / mark) for mark in (".dockerenv", "run/.containerenv")):
            return "this is a container: start it with --privileged, or with --device for /dev/accel* or /dev/vfio/*"
        return "use a TPU VM image: its kernel makes /dev/accel* or /dev/vfio/*"

    def _targets(self, targets: Sequence[str]) -> Presence:
        try:
            return Presence("present", devices=distinct(_compiled(target) for target in targets))
        except Unsupported as reason:
            known = ", ".join(f"tpu:{one.name}:{one.chip}" for one in TARGETS.values())
            return Presence("no_such_target", f"{reason}; known are {known}", f"write tpu:{DEFAULT}")


def generation(card: PciDevice) -> Generation | None:
    """The generation of a chip; None for what is no TPU."""
    if card.device == OLD:
        old = OLD_SUBSYSTEMS.get(card.subsystem_device)
        return None if old is None else Generation(old, ACCEL, halves=True)
    return GENERATIONS.get(card.device)


def _compiled(target: str) -> Device:
    scheme, _, rest = target.partition(":")
    name, _, shape = rest.partition(":")
    if scheme != TpuBackend.name or name not in TARGETS:
        raise Unsupported(f"tpu knows no target {target}")
    chosen = TARGETS[name]
    if shape not in ("", chosen.chip):
        raise Unsupported(f"target {target} is no single chip, and a program for several is not measured")
    return chosen.compiled()
