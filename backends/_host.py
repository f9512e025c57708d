"""What Linux says of this machine in /proc, /sys and /dev, read without any vendor's library.

Every path goes through `Host.root`, so that a test can describe a machine as a tree of files. Holds no part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.contract import Device, Presence


@dataclass(frozen=True)
class PciDevice:
    """A function on the PCI bus. Numbers are lower-case hexadecimal without 0x; `driver` is "" when none is bound."""

    address: str
    device: str
    subsystem_device: str
    class_code: str
    driver: str


@dataclass(frozen=True)
class Host:
    """The machine whose files lie under `root`. `access` says whether this user may open a path, as os.access does."""

    root: Path = Path("/")
    access: Callable[[Path, int], bool] = os.access

    def text(self, path: str | Path) -> str | None:
        """Content of a file, stripped; None where there is none or it cannot be read.

        Read beside measurements, many times a second: Path.read_text would take 25 µs where this takes 8.
        """
        try:
            with open(f"{self.root}/{str(path).lstrip('/')}", "rb", buffering=0) as file:  # noqa: PTH123 - as said
                return file.read().decode(errors="replace").strip("\0 \n\t")
        except OSError:
            return None

    def within(self, folder: Path, name: str) -> str | None:
        """Content of a file in a folder that `glob` gave."""
        return self.text((folder / name).relative_to(self.root))

    def number(self, path: str | Path) -> float | None:
        """A file that holds one number."""
        try:
            return float(self.text(path) or "")
        except ValueError:
            return None

    def process(self, pid: int | str) -> list[str]:
        """/proc/PID/stat after the name, which may hold anything: state, parent and so on (proc(5)); [] for none."""
        return (self.text(f"proc/{pid}/stat") or "").rpartition(")")[2].split()

    def is_ours(self, pid: int) -> bool:
        """Whether a process is this one or descends from it."""
        while pid > 1:
            if pid == os.getpid():
                return True
            _, parent, *_ = self.process(pid) or ("", "0")
            pid = int(parent)
        return False

    def glob(self, pattern: str) -> list[Path]:
        """Paths under the root that match, in natural order ("accel2" before "accel10")."""
        return sorted(self.root.glob(pattern.lstrip("/")), key=_natural)

    def exists(self, path: Path) -> bool:
        """Whether a path under the root is there and its folder may be searched."""
        return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a folder may not be searched

    def link(self, path: Path) -> str:
        """Last part of what a symbolic link points to; "" where there is none."""
        try:
            return Path(os.readlink(path)).name  # noqa: PTH115 - Path.readlink normalises nothing more
        except OSError:
            return ""

    def pci(self, vendor: str) -> list[PciDevice]:
        """Functions of one vendor ("10de") on the PCI bus."""
        folders = self.glob("sys/bus/pci/devices/*")
        return [self._pci(folder) for folder in folders if self.within(folder, "vendor") == f"0x{vendor}"]

    def accelerators(self, driver: str) -> list[Path]:
        """Nodes of the kernel's accel subsystem that `driver` owns."""
        owned = [one for one in self.glob("sys/class/accel/accel*") if self.link(one / "device/driver") == driver]
        return [node for one in owned if self.exists(node := self.root / "dev/accel" / one.name)]

    def denied(self, nodes: Iterable[Path]) -> list[Path]:
        """Those nodes that this user may not both read and write."""
        return [node for node in nodes if not self.access(node, os.R_OK | os.W_OK)]

    def _pci(self, folder: Path) -> PciDevice:
        def number(name: str) -> str:
            return (self.within(folder, name) or "").removeprefix("0x")

        return PciDevice(
            folder.name,
            number("device"),
            number("subsystem_device"),
            number("class"),
            self.link(folder / "driver"),
        )


HOST = Host()


@dataclass(frozen=True)
class Sighting:
    """What was seen of one kind of hardware: `cards` on a bus, device `nodes` of its driver, `devices` made of them.

    `looked` says where was searched; `load` and `permit` are the remedies for a missing driver and missing rights.
    """

    what: str
    looked: str
    cards: Sequence[str]
    nodes: Sequence[Path]
    devices: tuple[Device, ...]
    load: str
    permit: str


def settle(host: Host, name: str, targets: Sequence[str], seen: Sighting) -> Presence:
    """The verdict that hardware of this shape shares: absent, card without driver, node without rights, or present."""
    if targets:
        return no_targets(name, targets)
    if not seen.cards and not seen.nodes:
        return Presence("absent", f"no {seen.what}: looked for {seen.looked}", "run on a machine that has one")
    if not seen.nodes:
        return Presence("broken", f"{seen.what} {seen.cards[0]} is there, its driver's device node is not", seen.load)
    if denied := host.denied(seen.nodes):
        return Presence("no_permission", f"this user may not open /{denied[0].relative_to(host.root)}", seen.permit)
    return Presence("present", devices=distinct(seen.devices))


def no_targets(name: str, targets: Sequence[str]) -> Presence:
    """The answer of a backend that has no targets of its own to one that it was given."""
    return Presence("no_such_target", f"{name} knows no target {', '.join(targets)}", f"leave --target out for {name}")


def distinct(devices: Iterable[Device]) -> tuple[Device, ...]:
    """One device of each name: equal cards answer one question, and the first of them is measured."""
    return tuple({device.name: device for device in reversed(list(devices))}.values())[::-1]


def plain(text: str) -> str:
    """What a device says of itself, as far as a name in a record may say it: no foreign characters, no endless name."""
    return re.sub(r"[^A-Za-z0-9 ._:/+@()=,-]", "", text)[:120].strip(" .,-(")


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), rest) for rest, part in re.findall(r"(\D*)(\d*)", str(path))]
