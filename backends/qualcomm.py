"""Qualcomm: Cloud AI cards, which are looked for, and the HTP of Snapdragon chips, which is simulated where it is not.

Numbers of the cards: Linux' drivers/accel/qaic/qaic_drv.c, read November 2026. Numbers of the chips: the table in
ExecuTorch's backends/qualcomm/serialization/qc_schema.py, written by Qualcomm, read November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backends._host import HOST, Host, Sighting, settle
from backends.contract import Backend, Device, Presence

CARDS = {"a080": "Cloud AI 80", "a100": "Cloud AI 100", "a110": "Cloud AI 200"}


@dataclass(frozen=True)
class Chip:
    """A system on a chip whose HTP (Hexagon Tensor Processor) is of generation `arch`; `soc_model` is QNN's number."""

    name: str
    arch: int
    soc_model: int


HTPS = {
    f"htp-v{chip.arch}": chip
    for chip in (
        Chip("SM8350", 68, 30),
        Chip("SM8450", 69, 36),
        Chip("SM8550", 73, 43),
        Chip("SM8650", 75, 57),
        Chip("SM8750", 79, 69),
        Chip("SM8850", 81, 87),
    )
}
"""The phone chip of each generation."""
DEFAULT = "htp-v75"


class QualcommBackend(Backend):
    """Cards of the qaic driver: under /dev/accel from the kernel's, as /dev/qaic* from the SDK's."""

    name = "qualcomm"
    family = "asic"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return self._simulated(targets)
        cards = {card.address: name for card in self._host.pci("17cb") if (name := CARDS.get(card.device))}
        nodes = self._host.accelerators("qaic") or self._host.glob("dev/qaic*")
        seen = Sighting(
            "Qualcomm Cloud AI card",
            "PCI 17cb:a080, a100 and a110, /dev/accel/accel* of the driver qaic, /dev/qaic*",
            list(cards),
            nodes,
            tuple(Device(self.name, f"Qualcomm {name}", {}) for name in cards.values() or ("Cloud AI",)),
            "modprobe qaic (Linux 6.4 or newer) and install the Cloud AI platform SDK",
            "add this user to the group qaic: usermod -aG qaic $USER",
        )
        presence = settle(self._host, self.name, (), seen)
        if presence.state != "absent":
            return presence
        remedy = f"{presence.remedy}, or see what an HTP would answer: --target {self.name}:{DEFAULT}"
        return replace(presence, remedy=remedy, devices=(self._htp(DEFAULT),))

    def _simulated(self, targets: Sequence[str]) -> Presence:
        known = [f"{self.name}:{name}" for name in HTPS]
        if unknown := [target for target in targets if target not in known]:
            remedy = f"there are: {', '.join(known)}"
            return Presence("no_such_target", f"{self.name} knows no target {unknown[0] or 'without a name'}", remedy)
        names = dict.fromkeys(target.partition(":")[2] for target in targets)
        return Presence("present", devices=tuple(self._htp(name) for name in names))

    def _htp(self, name: str) -> Device:
        chip = HTPS[name]
        address = {"onnxruntime_qnn": f"{chip.arch}:{chip.soc_model}"}
        return Device(self.name, f"Qualcomm HTP v{chip.arch} ({chip.name})", address, runs=False)
