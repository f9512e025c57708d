"""TPUs by their PCI numbers, every half-installed state with its own remedy, and the chips that can be compiled for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._host import Host
from backends.contract import Device, DeviceState
from backends.tpu import TARGETS, TpuBackend
from bench.surroundings.power import Metering
from results import catalog
from results.names import is_name

NOWHERE = Host(Path("/nowhere"))
CHIPS = [
    ("0027", "0x004e", "accel0", "Google TPU v2 (1 of 2 cores)"),
    ("0027", "0x004f", "accel0", "Google TPU v3 (1 of 2 cores)"),
    ("005e", "", "accel0", "Google TPU v4"),
    ("0062", "", "vfio/0", "Google TPU v5p"),
    ("0063", "", "vfio/0", "Google TPU v5e"),
    ("006f", "", "vfio/0", "Google TPU v6e"),
    ("0076", "", "vfio/0", "Google TPU7x (1 of 2 cores)"),
]


def machine(root: Path, number: str, subsystem: str = "", *others: str, denied: str = "") -> Host:
    """One function of Google's on the bus, and `others`: paths of empty files."""
    folder = root / "sys/bus/pci/devices/0000:00:05.0"
    folder.mkdir(parents=True)
    for name, content in (("vendor", "0x1ae0"), ("device", f"0x{number}"), ("subsystem_device", subsystem)):
        (folder / name).write_text(content + "\n")
    for other in others:
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / other).touch()
    return Host(root, lambda path, mode: Path(path).exists() and not (denied and denied in str(path)))


@pytest.mark.parametrize(("number", "subsystem", "node", "name"), CHIPS)
def test_every_chip_is_known_by_its_number(number: str, subsystem: str, node: str, name: str, tmp_path: Path) -> None:
    presence = TpuBackend(machine(tmp_path, number, subsystem, f"dev/{node}")).probe()
    assert presence.state == "present"
    assert [(device.name, device.runs, dict(device.address)) for device in presence.devices] == [
        (name, True, {"jax": "tpu:0"})
    ]


@pytest.mark.parametrize(("number", "subsystem"), [("0042", ""), ("0027", "0x0050"), ("0027", "")])
def test_another_function_of_the_vendor_is_no_tpu(number: str, subsystem: str, tmp_path: Path) -> None:
    presence = TpuBackend(machine(tmp_path, number, subsystem, "dev/accel0", "dev/vfio/0")).probe()
    assert presence.state == "absent"


@pytest.mark.parametrize(
    ("number", "others", "denied", "state", "remedy"),
    [
        ("0063", (), "", "broken", "TPU VM image"),
        ("0063", (".dockerenv",), "", "broken", "--privileged"),
        ("0063", ("run/.containerenv",), "", "broken", "--privileged"),
        ("0063", ("dev/accel0",), "", "broken", "TPU VM image"),
        ("005e", ("dev/vfio/0",), "", "broken", "TPU VM image"),
        ("0063", ("dev/vfio/0",), "vfio/0", "no_permission", "group"),
        ("005e", ("dev/accel0",), "accel0", "no_permission", "group"),
    ],
)
def test_every_half_installed_state_has_its_remedy(
    number: str, others: tuple[str, ...], denied: str, state: str, remedy: str, tmp_path: Path
) -> None:
    """A node of another generation's driver is somebody else's."""
    presence = TpuBackend(machine(tmp_path, number, "", *others, denied=denied)).probe()
    assert presence.state == state
    assert presence.reason
    assert remedy in presence.remedy


def test_without_a_tpu_one_can_be_compiled_for() -> None:
    presence = TpuBackend(NOWHERE).probe()
    assert presence.state == "absent"
    assert presence.devices == (Device("tpu", "Google TPU v5e", {"jax": "v5e:1x1"}, runs=False),)


@pytest.mark.parametrize(
    ("target", "name", "topology"),
    [
        ("tpu:v4:1x1x1", "Google TPU v4 (1 of 2 cores)", "v4:1x1x1"),
        ("tpu:v5e:1x1", "Google TPU v5e", "v5e:1x1"),
        ("tpu:v5p:1x1x1", "Google TPU v5p", "v5p:1x1x1"),
        ("tpu:v6e:1x1", "Google TPU v6e", "v6e:1x1"),
        ("tpu:7x:1x1x1", "Google TPU7x (1 of 2 cores)", "tpu7x:1x1x1"),
    ],
)
def test_a_target_is_one_chip(target: str, name: str, topology: str) -> None:
    presence = TpuBackend(NOWHERE).probe((target,))
    assert presence.state == "present"
    assert presence.devices == (Device("tpu", name, {"jax": topology}, runs=False),)
    shorthand = target.rpartition(":")[0]
    assert TpuBackend(NOWHERE).probe((shorthand, target)).devices == presence.devices


@pytest.mark.parametrize("target", ["tpu:v5e:2x2", "tpu:v4:2x2x1", "tpu:v5e:1x1x1"])
def test_several_chips_are_refused(target: str) -> None:
    presence = TpuBackend(NOWHERE).probe((target,))
    assert presence.state == "no_such_target"
    assert "no single chip" in presence.reason


@given(
    st.lists(st.text(max_size=12) | st.from_regex(r"tpu:[v0-9xepi]{0,4}(:[0-9x]{0,5})?", fullmatch=True), min_size=1)
)
def test_any_target_is_answered(targets: list[str]) -> None:
    """A chip for each, or absence that names the known ones; never half of them."""
    presence = TpuBackend(NOWHERE).probe(targets)
    if presence.state == "present":
        assert {target.split(":")[1] for target in targets} <= set(TARGETS)
        assert not any(device.runs for device in presence.devices)
    else:
        assert all(f"tpu:{name}:" in presence.reason for name in TARGETS)
        assert not presence.devices


@pytest.mark.parametrize("name", ["v4", "v5e", "v5p", "v6e", "7x"])
def test_a_whole_chip_has_its_data_sheet_and_half_of_one_has_none(name: str) -> None:
    device = TARGETS[name].compiled().name
    assert is_name(device)
    assert bool(catalog.device(device)) == ("of 2" not in device)
    assert catalog.device(TARGETS[name].title)


def test_nothing_is_told_from_outside_of_the_process() -> None:
    state = TpuBackend(NOWHERE).state(TARGETS["v5e"].device())
    told = [one.name for one in fields(DeviceState) if one.name != "missing" and getattr(state, one.name) is not None]
    assert told == []
    assert all("tpumonitoring" in why for why in state.missing.values())


def test_the_record_says_that_no_tpu_exposes_power() -> None:
    metering = Metering.of(TARGETS["v5e"].device(), [], unmetered=TpuBackend.unmetered)
    section, readings = metering.account([], 0, 1_000_000_000)
    assert section["energy_j"] is None
    assert "no TPU exposes power" in section["missing"]["energy_j"]
    assert readings == ""
