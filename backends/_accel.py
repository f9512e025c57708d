"""Cards whose driver gives them a node under /dev/accel: why a node is missing, and their files in sysfs. No part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends._host import Host, PciDevice


@dataclass(frozen=True)
class Driver:
    """A kernel driver: the name of its module, and what to do where it is not loaded, or gave up on a card."""

    module: str
    load: str
    refused: str
    container: str


def remedy(host: Host, cards: Sequence[PciDevice], driver: Driver) -> str:
    """What to do about cards on the bus that have no node, by the driver that has the first of them."""
    bound = cards[0].driver if cards else ""
    if bound == "vfio-pci":
        return "it is reserved for virtual machines (vfio-pci): run inside the one that has it"
    if bound == driver.module:
        return driver.container
    if bound:
        return f"{bound} drives it: unbind that, then {driver.load}"
    return driver.refused if host.exists(host.root / "sys/module" / driver.module) else driver.load


def folders(host: Host, module: str) -> list[Path]:
    """The sysfs folder of each card that a driver has, with the driver's own files."""
    return [host.root / "sys/class/accel" / node.name / "device" for node in host.accelerators(module)]


def number(host: Host, folder: Path, name: str) -> float | None:
    """A file of such a folder that holds one number."""
    return host.number((folder / name).relative_to(host.root))
