"""Meters that read files, on machines that are described by a tree of files."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._host import Host
from backends.contract import Device, Meter, Reading, Unsupported
from backends.meters.apex import ApexMeter
from backends.meters.csv import CsvMeter, _epoch_ns
from backends.meters.hwmon import HwmonEnergyMeter, HwmonMeter
from backends.meters.neuron import NeuronMeter
from backends.meters.rapl import RaplMeter
from tests.fakes.fake_meters import Clock

CPU = Device("cpu", "a processor", {})
RAPL = "sys/class/powercap/intel-rapl"
S = 1_000_000_000


def tree(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


def domain(path: str, name: str, microjoules: int, range_uj: int = 1_000_000) -> dict[str, str]:
    values = {"name": name, "energy_uj": str(microjoules), "max_energy_range_uj": str(range_uj)}
    return {f"{RAPL}{path}/{file}": text + "\n" for file, text in values.items()}


SERVER = (
    domain(":0", "package-0", 100_000)
    | domain(":0:0", "core", 7)
    | domain(":0:1", "dram", 50_000)
    | domain(":1", "package-1", 200_000)
    | domain(":1:0", "dram", 10_000)
    | domain(":2", "psys", 900_000)
    | domain("-mmio:0", "package-0", 100_000)
)


def only(meter: Meter) -> Reading:
    (reading,) = meter.read()
    return reading


def test_rapl_adds_up_packages_and_memory_and_nothing_twice(tmp_path: Path) -> None:
    host = tree(tmp_path, SERVER)
    meter = RaplMeter(host)
    assert meter.available(CPU).state == "present"
    meter.open(CPU)
    assert (meter.scope, only(meter).value) == ("package+dram", 0)
    tree(tmp_path, domain(":0", "package-0", 400_000) | domain(":0:0", "core", 999) | domain(":1:0", "dram", 30_000))
    tree(tmp_path, domain(":2", "psys", 990_000))
    assert only(meter).value == pytest.approx(0.32)


def test_rapl_domains_wrap_one_by_one(tmp_path: Path) -> None:
    host = tree(tmp_path, domain(":0", "package-0", 950_000) | domain(":1", "package-1", 100_000, 300_000))
    meter = RaplMeter(host)
    meter.open(CPU)
    assert meter.scope == "package"
    tree(tmp_path, domain(":0", "package-0", 10_000) | domain(":1", "package-1", 110_000, 300_000))
    assert only(meter).value == pytest.approx(0.06 + 0.01)


def test_a_rapl_counter_that_is_set_back_makes_the_sum_fall(tmp_path: Path) -> None:
    meter = RaplMeter(tree(tmp_path, domain(":0", "package-0", 400_000)))
    meter.open(CPU)
    tree(tmp_path, domain(":0", "package-0", 1_000))
    assert only(meter).value == pytest.approx(-0.399)


def test_rapl_for_root_only_is_no_absence(tmp_path: Path) -> None:
    tree(tmp_path, SERVER)
    presence = RaplMeter(Host(tmp_path, lambda path, mode: "rapl:1/" not in str(path))).available(CPU)
    assert presence.state == "no_permission"
    assert presence.reason == f"/{RAPL}:1/energy_uj may not be read"
    assert "chmod" in presence.remedy


def test_rapl_of_a_part_of_the_processors_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    cpus = {f"sys/devices/system/cpu/cpu{n}/online": "1" for n in range(2)}
    meter = RaplMeter(tree(tmp_path, SERVER | cpus))
    meter.open(CPU)
    assert meter.shared


def test_a_rapl_counter_that_vanishes_is_a_reading_without_a_value(tmp_path: Path) -> None:
    meter = RaplMeter(tree(tmp_path, SERVER))
    meter.open(CPU)
    (tmp_path / f"{RAPL}:0/energy_uj").unlink()
    assert (only(meter).value, only(meter).reason) == (None, "a RAPL counter could not be read")


def chip(number: int, name: str, **files: str) -> dict[str, str]:
    return {f"sys/class/hwmon/hwmon{number}/{file}": text + "\n" for file, text in {"name": name, **files}.items()}


JETSON = chip(
    3, "ina3221",
    in1_label="VDD_IN", in1_input="5000", curr1_input="2000",
    in2_label="VDD_CPU_GPU_CV", in2_input="5000", curr2_input="800",
    in3_label="VDD_SOC", in3_input="5000", curr3_input="300",
    in4_input="1", curr4_input="9999",
)  # fmt: skip


@pytest.mark.parametrize(
    ("files", "watts"),
    [
        (chip(0, "ina226", power1_input="12500000"), 12.5),
        (chip(0, "power_meter", power1_average="180000000"), 180.0),
        (chip(0, "ina219", power1_input="2000000", power1_average="9000000"), 2.0),
        (chip(0, "ina226", power1_input="1000000") | chip(10, "ina226", power1_input="2000000"), 3.0),
        (JETSON, 10.0),
        ({name: text for name, text in JETSON.items() if "in1_label" not in name}, 15.5),
        (chip(0, "nvme", temp1_input="40000") | JETSON, 10.0),
    ],
)
def test_hwmon_reads_power_in_watts(tmp_path: Path, files: dict[str, str], watts: float) -> None:
    meter = HwmonMeter(tree(tmp_path, files))
    assert meter.available(CPU).state == "present"
    meter.open(CPU)
    assert only(meter).value == pytest.approx(watts)


def test_hwmon_reads_energy_in_joules(tmp_path: Path) -> None:
    meter = HwmonEnergyMeter(tree(tmp_path, chip(0, "ina238", energy1_input="2500000", power1_input="1")))
    assert meter.available(CPU).state == "present"
    meter.open(CPU)
    assert only(meter).value == pytest.approx(2.5)


def test_other_sensors_are_no_power_meters(tmp_path: Path) -> None:
    host = tree(tmp_path, chip(0, "amdgpu", power1_average="100000000") | chip(1, "coretemp", temp1_input="50000"))
    assert HwmonMeter(host).available(CPU).reason == "no power sensor of the board under /sys/class/hwmon"
    assert HwmonEnergyMeter(host).available(CPU).reason == "no energy sensor of the board under /sys/class/hwmon"


def test_a_rail_that_cannot_be_read_is_not_left_out_of_the_sum(tmp_path: Path) -> None:
    meter = HwmonMeter(tree(tmp_path, chip(0, "ina226", power1_input="1000000", power2_input="junk")))
    meter.open(CPU)
    assert (only(meter).value, only(meter).reason) == (None, "a sensor of the board could not be read")


def test_apex_reads_temperature_and_says_that_there_is_no_power(tmp_path: Path) -> None:
    meter = ApexMeter(tree(tmp_path, {"sys/class/apex/apex_0/temp": "48550\n"}))
    card, stick = (Device("edgetpu", f"Coral Edge TPU ({kind})", {}) for kind in ("PCIe", "USB 480 Mb/s"))
    assert meter.available(card).state == "present"
    meter.open(card)
    assert only(meter).value == 48.55
    assert "none has a power counter" in meter.available(stick).reason


@pytest.mark.parametrize(
    ("line", "percent", "reason"),
    [
        ("POWER_STATUS_VALID,1781370720,1.50,3.50,2.00\n", 2.0, ""),
        ("POWER_STATUS_NO_DATA,0,0,0,0\n", None, "the driver says POWER_STATUS_NO_DATA"),
        ("POWER_STATUS_VALID,1781370720\n", None, "the driver says POWER_STATUS_VALID"),
    ],
)
def test_neuron_reads_percent_of_a_maximum(tmp_path: Path, line: str, percent: float | None, reason: str) -> None:
    folder = "sys/devices/virtual/neuron_device/neuron0/stats/power"
    meter = NeuronMeter(tree(tmp_path, {f"{folder}/utilization": line}))
    device = Device("inferentia", "AWS Inferentia2", {})
    assert meter.available(device).state == "present"
    meter.open(device)
    assert (only(meter).value, only(meter).reason) == (percent, reason)


EPOCH_S = 1_795_000_000


def watched(tmp_path: Path, text: str, column: str = "") -> tuple[CsvMeter, Path, Clock, Clock]:
    """A meter on a file, its wall clock (at EPOCH_S) and its monotonic clock (at 1 s)."""
    file, wall, monotonic = tmp_path / "meter.csv", Clock(EPOCH_S * S), Clock(S)
    file.write_text(text)
    return CsvMeter(str(file), column, wall, monotonic), file, wall, monotonic


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


@pytest.mark.parametrize(
    ("header", "rows", "value", "quantity"),
    [
        ("time,power_w", f"{EPOCH_S + 2},51.5", 51.5, "power_w"),
        ("Timestamp,Voltage (V),Power (W)", f"{EPOCH_S + 2}.0,230,51.5", 51.5, "power_w"),
        ("date,watts", f"{datetime.fromtimestamp(EPOCH_S + 2, UTC).isoformat()},51.5", 51.5, "power_w"),
        ("energy [J],t", f"1000.25,{(EPOCH_S + 2) * 1000}", 1000.25, "energy_j"),
    ],
)
def test_csv_finds_its_columns_and_moves_rows_to_the_monotonic_clock(
    tmp_path: Path, header: str, rows: str, value: float, quantity: str
) -> None:
    meter, file, _, _ = watched(tmp_path, header + "\n")
    assert meter.available(CPU).state == "present"
    meter.open(CPU)
    append(file, rows + "\n")
    assert meter.read() == [Reading(3 * S, value)]
    assert meter.quantity == quantity
    meter.close()


def test_csv_gives_whole_rows_as_they_come(tmp_path: Path) -> None:
    meter, file, _, _ = watched(tmp_path, f"time,power_w\n{EPOCH_S},1\n{EPOCH_S + 1},")
    meter.open(CPU)
    assert meter.read() == []
    append(file, f"2\n{EPOCH_S + 2},3\r\n{EPOCH_S + 3},")
    assert meter.read() == [Reading(2 * S, 2.0), Reading(3 * S, 3.0)]
    append(file, "4\n\n")
    assert meter.read() == [Reading(4 * S, 4.0)]
    assert meter.update_s == pytest.approx(1)
    meter.close()


def test_csv_learns_from_the_rows_that_are_there_how_often_they_come(tmp_path: Path) -> None:
    rows = [f"{EPOCH_S - 100 + n / 10},50" for n in range(100)]
    meter, _, _, _ = watched(tmp_path, "\n".join(["time,power_w", *rows, ""]))
    meter.open(CPU)
    assert meter.update_s == pytest.approx(0.1)
    assert meter.read() == []
    meter.close()


def test_csv_takes_the_column_that_is_named(tmp_path: Path) -> None:
    meter, file, _, _ = watched(tmp_path, "time,cpu_w,wall_w\n", "wall_w")
    meter.open(CPU)
    append(file, f"{EPOCH_S},10,60\n")
    assert meter.read()[0].value == 60
    meter.close()


def test_csv_rows_that_are_none_have_a_reason(tmp_path: Path) -> None:
    meter, file, _, _ = watched(tmp_path, "time,power_w\n")
    meter.open(CPU)
    append(file, f"{EPOCH_S},overload\n{EPOCH_S},nan\nyesterday,5\n{EPOCH_S}\ninf,5\n{'9' * 200_000},5\n")
    readings = meter.read()
    assert [reading.value for reading in readings] == [None] * 6
    assert readings[0].reason == f"no row of time and value: {EPOCH_S},overload"
    meter.close()


def test_csv_notices_that_the_wall_clock_was_set(tmp_path: Path) -> None:
    meter, file, wall, monotonic = watched(tmp_path, "time,power_w\n")
    meter.open(CPU)
    wall.sleep(1.00004)  # slewed
    monotonic.sleep(1)
    append(file, f"{EPOCH_S + 1},50\n")
    assert meter.read()[0].value == 50
    wall.sleep(3601)
    monotonic.sleep(1)
    append(file, f"{EPOCH_S + 3602},50\n")
    (reading,) = meter.read()
    assert (reading.value, reading.reason) == (
        None,
        "the wall clock was set by 3.6e+03 s: rows cannot be placed in time",
    )
    meter.close()


@pytest.mark.parametrize(
    ("header", "column", "cause"),
    [
        ("when,power_w", "", "no column time among when, power_w"),
        ("time,power", "", "no column that says W or J with its unit among time, power"),
        ("time,power_w", "watts", "no column watts with its unit among time, power_w"),
        ("time,power_mw", "power_mw", "no column power_mw with its unit"),
        ("", "", "no column time among"),
    ],
)
def test_a_csv_file_without_its_columns_is_broken(tmp_path: Path, header: str, column: str, cause: str) -> None:
    presence = watched(tmp_path, header + "\n", column)[0].available(CPU)
    assert presence.state == "broken"
    assert cause in presence.reason


def test_a_csv_file_that_is_not_there_is_absent(tmp_path: Path) -> None:
    presence = CsvMeter(str(tmp_path / "none.csv")).available(CPU)
    assert (presence.state, presence.remedy) == ("absent", "start the meter's logger before the run")
    assert CsvMeter().available(CPU).reason == "no file of an external meter was named"


def test_csv_is_given_its_file(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("time,a_w,b_w\n")
    meter = CsvMeter().given(f"{tmp_path}/m.csv,column=b_w")
    assert meter.available(CPU).state == "present"
    for text in ("", ",column=x", "a.csv,unit=w"):
        with pytest.raises(Unsupported, match="write csv:PATH"):
            CsvMeter().given(text)


def test_other_meters_take_nothing_behind_their_name() -> None:
    with pytest.raises(Unsupported, match="meter rapl takes nothing behind its name, so not fast"):
        RaplMeter().given("fast")


@given(st.integers(1_000_000_000, 4_000_000_000), st.sampled_from([(1, 0), (1000, 3), (10**6, 6), (10**9, 9)]))
def test_seconds_since_1970_may_be_in_thousandths(seconds: int, unit: tuple[int, int]) -> None:
    assert _epoch_ns(str(seconds * unit[0])) == seconds * S
