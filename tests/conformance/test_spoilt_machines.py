"""Every backend on machines whose files are not as they should be: it never raises, and says why nothing can be used.

Machines are the ones of test_probes.py with one file, or all of them, spoilt; and those whose files nobody may read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from backends._host import Host
from backends.contract import Backend, Device, DeviceState, Presence
from bench import parts
from results.names import is_name
from tests.conformance.test_probes import CASES, Files, machine

MACHINES = [(kind, files) for kind, files, denied, state, _ in CASES if state == "present" and not denied]


class Unreadable(Host):
    """Files are seen in their folders, and none may be read or opened."""

    def text(self, path: str | Path) -> str | None:
        return None

    def link(self, path: Path) -> str:
        return ""


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(bytes(range(255, -1, -1)) * 3)


def overlong(path: Path) -> None:
    path.write_text("9" * 5000)


def negative(path: Path) -> None:
    path.write_text("-1\n")


def turned_into_a_folder(path: Path) -> None:
    path.mkdir()


def left_dangling(path: Path) -> None:
    path.symlink_to("../nowhere/at-all")


def removed(path: Path) -> None:
    """As after the device was unplugged."""


SPOILT = (emptied, garbled, overlong, negative, turned_into_a_folder, left_dangling, removed)


def made(found: parts.Found[Backend], host: Host) -> Backend:
    """A backend of the same kind on another machine; one that takes no machine can only be asked about this one."""
    assert found.part is not None, f"{found.file}: {found.error}"
    kind = type(found.part)
    return kind(host) if "host" in inspect.signature(kind).parameters else kind()


def check(backend: Backend, root: Path) -> Presence:
    presence = backend.probe()
    for device in presence.devices:
        assert is_name(device.name), device.name
        explained(backend.state(device))
    if presence.state != "present":
        assert presence.reason
        assert presence.remedy
        assert str(root) not in presence.reason + presence.remedy
        assert not any(device.runs for device in presence.devices)
    explained(backend.state(Device(backend.name, "was here a moment ago", {})))
    return presence


def explained(state: DeviceState) -> None:
    values = {one.name: getattr(state, one.name) for one in fields(state) if one.name != "missing"}
    assert {name for name, value in values.items() if value is None} <= set(state.missing)


def test_empty_machine(found_backend: parts.Found[Backend], tmp_path: Path) -> None:
    presence = check(made(found_backend, machine(tmp_path, {})), tmp_path)
    assert presence.state in ("absent", "present")


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_spoilt_machine(found_backend: parts.Found[Backend], tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    machines = [files for kind, files in MACHINES if isinstance(found_backend.part, kind)]
    for number, files in enumerate(machines):
        for name in (*files, ""):
            root = tmp_path / f"{number}-{name.replace('/', '-')}"
            check(made(found_backend, spoilt(root, files, [name] if name else list(files), spoil)), root)


def spoilt(root: Path, files: Files, chosen: list[str], spoil: Callable[[Path], None]) -> Host:
    host = machine(root, files)
    for name in chosen:
        (root / name).unlink()
        spoil(root / name)
    return host


def test_machine_that_may_not_be_read(found_backend: parts.Found[Backend], tmp_path: Path) -> None:
    for number, files in enumerate(files for kind, files in MACHINES if isinstance(found_backend.part, kind)):
        root = tmp_path / str(number)
        machine(root, files)
        check(made(found_backend, Unreadable(root, lambda path, mode: False)), root)


def test_machine_whose_nodes_are_denied(found_backend: parts.Found[Backend], tmp_path: Path) -> None:
    """Where there is hardware, it is there: to call it absent would hide that something is to be mended."""
    for number, files in enumerate(files for kind, files in MACHINES if isinstance(found_backend.part, kind)):
        root = tmp_path / str(number)
        presence = check(made(found_backend, machine(root, files, denied="/")), root)
        assert presence.state in ("no_permission", "broken")
