"""The Edge TPU on machines described by files: every id, and every way of being installed by half."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from backends._edgetpu import runtime
from backends._host import Host
from backends.contract import Device, Presence
from backends.edgetpu import EdgeTpuBackend
from backends.engines.edgetpu import EdgeTpuEngine
from backends.meters.apex import ApexMeter

Files = Mapping[str, str]
LIBRARY = {"usr/lib/x86_64-linux-gnu/libedgetpu.so.1": ""}
CARD = {"sys/bus/pci/devices/0000:03:00.0/vendor": "0x1ac1\n", "sys/bus/pci/devices/0000:03:00.0/device": "0x089a\n"}


def stick(vendor: str, product: str, port: str = "2-1", speed: str = "5000", number: str = "3") -> Files:
    facts = {"idVendor": vendor, "idProduct": product, "speed": speed, "busnum": "2", "devnum": number}
    return {f"sys/bus/usb/devices/{port}/{name}": f"{text}\n" for name, text in facts.items()}


DFU, READY = stick("1a6e", "089a"), stick("18d1", "9302")
NODE = {"dev/bus/usb/002/003": ""}


def machine(root: Path, files: Files, denied: str = "") -> Host:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return Host(root, lambda path, mode: Path(path).exists() and not (denied and denied in str(path)))


def probed(root: Path, files: Files, denied: str = "") -> Presence:
    return EdgeTpuBackend(machine(root, files, denied)).probe()


def driven_by(driver: str) -> Files:
    return {**CARD, "sys/bus/pci/devices/0000:03:00.0/driver": f"-> ../../../drivers/{driver}"}


@pytest.mark.parametrize("files", [DFU, READY])
def test_a_stick_is_found_before_and_after_its_first_use_under_one_name(tmp_path: Path, files: Files) -> None:
    (device,) = probed(tmp_path, {**files, **NODE}).devices
    assert (device.name, device.address["edgetpu"]) == ("Coral Edge TPU (USB 5000 Mb/s)", "usb:0")


@pytest.mark.parametrize(
    ("files", "denied", "state", "reason", "remedy"),
    [
        ({}, "", "absent", "1a6e:089a", "a machine that has one"),
        (stick("18d1", "4ee7"), "", "absent", "no Edge TPU", "a machine that has one"),
        (stick("1a6e", "9302"), "", "absent", "no Edge TPU", "a machine that has one"),
        (READY, "", "broken", "under /dev/bus/usb", "all of /dev/bus/usb"),
        ({**READY, **NODE}, "usb/002", "no_permission", "may not open /dev/bus/usb/002/003", "plug the stick"),
        ({**DFU, **NODE}, "usb/002", "no_permission", "may not open /dev/bus/usb/002/003", "another id"),
        (CARD, "", "broken", "0000:03:00.0 is there", "gasket-dkms and modprobe apex"),
        (driven_by("apex"), "", "broken", "has its driver", "--device /dev/apex_0"),
        (driven_by("vfio-pci"), "", "absent", "virtual machines", "the virtual machine"),
        ({**CARD, "dev/apex_0": ""}, "apex_0", "no_permission", "may not open /dev/apex_0", "udev rule: apex"),
    ],
)
def test_each_half_installed_state_has_a_remedy_of_its_own(
    tmp_path: Path, files: Files, denied: str, state: str, reason: str, remedy: str
) -> None:
    presence = probed(tmp_path, files, denied)
    assert presence.state == state
    assert reason in presence.reason
    assert remedy in presence.remedy
    assert not presence.devices


def test_one_that_can_be_used_outweighs_another_that_cannot(tmp_path: Path) -> None:
    presence = probed(tmp_path, {**CARD, **READY, **NODE})
    assert [device.name for device in presence.devices] == ["Coral Edge TPU (USB 5000 Mb/s)"]


def test_two_sticks_on_different_ports_are_two_devices(tmp_path: Path) -> None:
    slow = stick("18d1", "9302", "1-4", "480", "4")
    devices = probed(tmp_path, {**READY, **NODE, **slow, "dev/bus/usb/002/004": ""}).devices
    assert {device.name: device.address["pycoral"] for device in devices} == {
        "Coral Edge TPU (USB 480 Mb/s)": "usb:0",
        "Coral Edge TPU (USB 5000 Mb/s)": "usb:1",
    }


@pytest.mark.parametrize(
    ("files", "clock"),
    [
        ({}, "unknown"),
        ({"var/lib/dpkg/info/libedgetpu1-std:amd64.list": ""}, "std"),
        ({"var/lib/dpkg/info/libedgetpu1-max.list": ""}, "max"),
        ({"var/lib/dpkg/info/libedgetpu1-max.list": "", "var/lib/dpkg/info/libedgetpu1-std.list": ""}, "unknown"),
    ],
)
def test_the_clock_of_the_runtime_is_part_of_the_name(tmp_path: Path, files: Files, clock: str) -> None:
    presence = probed(tmp_path, {**CARD, "dev/apex_0": "", **LIBRARY, **files})
    assert [device.name for device in presence.devices] == [f"Coral Edge TPU (PCIe, {clock} clock)"]


@pytest.mark.parametrize(("folder", "clock"), [("throttled", "std"), ("direct", "max"), ("k8", "unknown")])
def test_a_runtime_that_was_built_tells_its_clock_by_its_folder(tmp_path: Path, folder: str, clock: str) -> None:
    host = machine(tmp_path, {f"out/{folder}/libedgetpu.so.1": ""})
    found = runtime(host, {"LD_LIBRARY_PATH": f":{tmp_path}/out/{folder}"})
    assert found is not None
    assert (found.path, found.clock) == (tmp_path / f"out/{folder}/libedgetpu.so.1", clock)


def test_without_the_runtime_the_engine_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    host = machine(tmp_path, {**READY, **NODE})
    (device,) = EdgeTpuBackend(host).probe().devices
    presence = EdgeTpuEngine(host).available(device)
    assert presence.state == "absent"
    assert "libedgetpu.so.1" in presence.reason
    assert "libedgetpu1-std" in presence.remedy


def test_other_devices_are_out_of_reach() -> None:
    assert EdgeTpuEngine().available(Device("cpu", "a processor", {})).state == "absent"


def test_a_card_has_a_thermometer_and_a_stick_has_none(tmp_path: Path) -> None:
    host = machine(tmp_path, {**CARD, "dev/apex_0": "", "sys/class/apex/apex_0/temp": "48550\n", **LIBRARY})
    (card,) = EdgeTpuBackend(host).probe().devices
    meter = ApexMeter(host)
    assert meter.available(card).state == "present"
    meter.open(card)
    assert [reading.value for reading in meter.read()] == [48.55]
    presence = meter.available(Device("edgetpu", "Coral Edge TPU (USB 480 Mb/s)", {}))
    assert (presence.state, presence.remedy) == ("absent", "use a wall meter")
