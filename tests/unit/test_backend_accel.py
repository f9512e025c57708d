"""Cards under /dev/accel: what is missing where the node is, and what their drivers tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends._host import Host
from backends.contract import Device
from backends.gaudi import GaudiBackend
from backends.intel_npu import IntelNpuBackend
from backends.meters.hwmon import GaudiMeter
from tests.conformance.test_probes import Files, accel, machine, pci

NPUS = {
    "7d1d": "Meteor Lake",
    "ad1d": "Arrow Lake",
    "643e": "Lunar Lake",
    "b03e": "Panther Lake",
    "fd3e": "Wildcat Lake",
    "d71d": "Nova Lake",
}
CARDS = {
    "0001": "Goya",
    **dict.fromkeys(("1000", "1001", "1010", "1011"), "Gaudi"),
    **dict.fromkeys(("1020", "1021", "1030"), "Gaudi 2"),
    **dict.fromkeys(("1060", "1062", "1063"), "Gaudi 3"),
}
NPU = pci("0000:00:0b.0", "8086", "643e")
GAUDI = pci("0000:33:00.0", "1da3", "1020")


@pytest.mark.parametrize(
    ("kind", "vendor", "number", "driver", "name"),
    [
        *((IntelNpuBackend, "8086", number, "intel_vpu", f"Intel NPU ({chip})") for number, chip in NPUS.items()),
        *((GaudiBackend, "1da3", number, "habanalabs", f"Intel {card}") for number, card in CARDS.items()),
    ],
)
def test_every_pci_number(tmp_path: Path, kind: type, vendor: str, number: str, driver: str, name: str) -> None:
    bus = pci("0000:33:00.0", vendor, number)
    (device,) = kind(machine(tmp_path / "whole", {**bus, **accel(0, driver)})).probe().devices
    assert device.name == name
    assert kind(machine(tmp_path / "half", bus)).probe().state == "broken"
    assert kind(machine(tmp_path / "other", pci("0000:33:00.0", vendor, "abcd"))).probe().state == "absent"


@pytest.mark.parametrize(
    ("kind", "files", "remedy"),
    [
        (IntelNpuBackend, NPU, "modprobe intel_vpu"),
        (IntelNpuBackend, {**NPU, "sys/module/intel_vpu/refcnt": "0"}, "firmware that is missing or too old"),
        (IntelNpuBackend, pci("0000:00:0b.0", "8086", "643e", driver="intel_vpu"), "--device /dev/accel"),
        (IntelNpuBackend, pci("0000:00:0b.0", "8086", "643e", driver="vfio-pci"), "virtual machines"),
        (
            IntelNpuBackend,
            pci("0000:00:0b.0", "8086", "643e", driver="uio"),
            "uio drives it: unbind that, then modprobe",
        ),
        (GaudiBackend, GAUDI, "modprobe habanalabs"),
        (
            GaudiBackend,
            {**GAUDI, "sys/module/habanalabs/version": "1.22.0"},
            "habanalabs-firmware of the driver's version",
        ),
        (GaudiBackend, pci("0000:33:00.0", "1da3", "1020", driver="habanalabs"), "--runtime=habana"),
    ],
)
def test_every_half_installation_has_its_own_remedy(tmp_path: Path, kind: type, files: Files, remedy: str) -> None:
    presence = kind(machine(tmp_path, files)).probe()
    assert presence.state == "broken"
    assert remedy in presence.remedy


def folder(number: int = 0) -> str:
    return f"sys/class/accel/accel{number}/device"


@pytest.mark.parametrize(
    ("files", "clock_mhz", "memory_bytes", "why"),
    [
        ({}, None, None, "does not tell"),
        ({"npu_current_frequency_mhz": "1400", "npu_memory_utilization": "25165824"}, 1400.0, 25165824, ""),
        ({"npu_current_frequency_mhz": "0", "npu_memory_utilization": "0"}, None, 0, "sleeps"),
    ],
)
def test_what_the_npus_driver_tells(
    tmp_path: Path, files: Files, clock_mhz: float | None, memory_bytes: int | None, why: str
) -> None:
    tree = {**accel(0, "intel_vpu"), **{f"{folder()}/{name}": text for name, text in files.items()}}
    state = IntelNpuBackend(machine(tmp_path, tree)).state(Device("intel_npu", "Intel NPU (Lunar Lake)", {}))
    assert (state.clock_mhz, state.memory_used_bytes) == (clock_mhz, memory_bytes)
    assert why in state.missing.get("clock_mhz", "")
    assert ("clock_mhz" in state.missing, "memory_used_bytes" in state.missing) == (
        clock_mhz is None,
        memory_bytes is None,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [("Operational", "present"), ("In reset", "broken"), ("Disabled", "broken"), (None, "present")],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_gaudi_that_its_driver_calls_ill_is_broken(tmp_path: Path, status: str | None, state: str, old: bool) -> None:
    node = {"dev/hl0": ""} if old else accel(0, "habanalabs")
    told = {f"{'sys/class/habanalabs/hl0' if old else folder()}/status": f"{status}\n"} if status else {}
    presence = GaudiBackend(machine(tmp_path, {**GAUDI, **node, **told})).probe()
    assert presence.state == state
    if state == "broken":
        assert str(status) in presence.reason


def test_the_clock_of_a_gaudi_is_told_of_one_card_only(tmp_path: Path) -> None:
    device = Device("gaudi", "Intel Gaudi 2", {})
    one = {**accel(0, "habanalabs"), f"{folder()}/clk_cur_freq_mhz": "1650\n"}
    two = {**one, **accel(1, "habanalabs"), f"{folder(1)}/clk_cur_freq_mhz": "1500\n"}
    assert GaudiBackend(machine(tmp_path / "one", one)).state(device).clock_mhz == 1650
    state = GaudiBackend(machine(tmp_path / "two", two)).state(device)
    assert state.clock_mhz is None
    assert "2 cards" in state.missing["clock_mhz"]
    assert GaudiBackend(Host(tmp_path / "none")).state(device).clock_mhz is None


def test_no_engine_is_offered_a_goya(tmp_path: Path) -> None:
    (goya,) = GaudiBackend(machine(tmp_path, {**pci("0000:33:00.0", "1da3", "0001"), "dev/hl0": ""})).probe().devices
    assert (goya.name, goya.address) == ("Intel Goya", {})


def sensor(number: int, card: str, microwatts: str) -> Files:
    chip = f"sys/class/hwmon/hwmon{number}"
    return {f"{chip}/name": "HL225\n", f"{chip}/device": f"-> ../../../{card}", f"{chip}/power1_input": microwatts}


def test_the_power_of_a_gaudi_is_read_where_it_is_the_only_one(tmp_path: Path) -> None:
    device = Device("gaudi", "Intel Gaudi 2", {"habana": "hpu"})
    one = {**GAUDI, **sensor(1, "0000:33:00.0", "98500000\n"), **sensor(0, "0000:00:18.3", "1000000\n")}
    meter = GaudiMeter(machine(tmp_path / "one", one))
    assert meter.available(device).state == "present"
    meter.open(device)
    assert [reading.value for reading in meter.read()] == [98.5]
    assert meter.available(Device("cpu", "a processor", {})).remedy == ""
    two = {**one, **pci("0000:34:00.0", "1da3", "1020"), **sensor(2, "0000:34:00.0", "99000000\n")}
    for number, files in ((2, two), (0, GAUDI)):
        presence = GaudiMeter(machine(tmp_path / str(number), files)).available(device)
        assert presence.state == "absent"
        assert presence.reason.startswith(f"{number} Gaudi cards")
