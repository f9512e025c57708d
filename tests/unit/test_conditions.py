"""How the host and a device were doing: from files to readings, and from readings to what a record says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._host import Host
from backends.contract import DeviceState
from bench.surroundings import conditions
from bench.surroundings.calibration import calibrate
from bench.surroundings.host import CpuTime, HostReader, HostReading
from results.record import Calibration, Conditions

S = 1_000_000_000
NOTHING = DeviceState.unknown("there is no device")
CPU = "sys/devices/system/cpu/cpu{}"


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2})


def tree(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


def stat(cpu0: str, cpu1: str = "9 9 9 9 9 9 9 9 9 9", cpu2: str = "0 0 0 0 0 0 0 0 0 0") -> dict[str, str]:
    return {"proc/stat": f"cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 {cpu0}\ncpu1 {cpu1}\ncpu2 {cpu2}\nintr 7 7 7 7 7 7 7 7 7 7\n"}


def process(pid: int, parent: int, *ticks: int, name: str = "a) (b c") -> dict[str, str]:
    """utime, stime, cutime, cstime are the fields 14 to 17 of proc(5)."""
    return {
        f"proc/{pid}/stat": f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 1 1 1 1 {' '.join(map(str, ticks))} 20 0\n"
    }


def test_what_this_host_says_fits_a_record() -> None:
    reader = HostReader()
    first, last = reader.read(), reader.read()
    for found in (
        conditions.at("before", last, None, reader.lasting(), NOTHING),
        conditions.during([first, last], [(last.t_ns, NOTHING)], reader.lasting(), first.t_ns, last.t_ns),
        conditions.at("after", last, first, reader.lasting(), NOTHING),
    ):
        Conditions.model_validate_json(json.dumps(found))
    for moment in ("before", "after"):
        Calibration.model_validate_json(json.dumps(calibrate(moment)))


def test_an_empty_host_has_a_reason_for_everything(tmp_path: Path) -> None:
    reader = HostReader(Host(tmp_path))
    found = conditions.at("before", reader.read(), None, reader.lasting(), DeviceState.unknown("no device"))
    assert set(found["missing"]) == set(found) - {"moment", "missing"}
    assert all(found["missing"].values())
    Conditions.model_validate_json(json.dumps(found))


def test_sensors_are_read_in_their_units(tmp_path: Path) -> None:
    host = tree(
        tmp_path,
        {
            "proc/loadavg": "1.25 0.5 0.3 2/300 999\n",
            "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n",
            f"{CPU.format(0)}/cpufreq/scaling_cur_freq": "3000000\n",
            f"{CPU.format(1)}/cpufreq/scaling_cur_freq": "9000000\n",
            f"{CPU.format(2)}/cpufreq/scaling_cur_freq": "2000000\n",
            f"{CPU.format(0)}/cpufreq/scaling_governor": "powersave\n",
            f"{CPU.format(2)}/cpufreq/scaling_governor": "performance\n",
            f"{CPU.format(0)}/thermal_throttle/core_throttle_count": "3\n",
            f"{CPU.format(1)}/thermal_throttle/core_throttle_count": "50\n",
            f"{CPU.format(2)}/thermal_throttle/package_throttle_count": "4\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "90000\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "51500\n",
            "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone0/temp": "49000\n",
        },
    )
    reader = HostReader(host, clock=lambda: 7)
    assert reader.read() == HostReading(7, None, 1.25, 2500, 51.5, 4_096_000_000)
    assert reader.lasting()["governor"] == ("performance+powersave", reader.lasting()["governor"][1])
    assert reader.lasting()["throttle_events"][0] == 7


def test_processor_time_is_of_the_usable_processors(tmp_path: Path) -> None:
    files = stat("100 1 10 500 20 2 3 30 99 99", cpu2="200 0 0 100 0 0 0 0 0 0") | process(os.getpid(), 1, 7, 3, 20, 10)
    reading = HostReader(tree(tmp_path, files)).read()
    assert reading.cpu == CpuTime(total=966, busy=316, steal=30, own=40)


def test_descendants_are_ours_and_others_are_not(tmp_path: Path) -> None:
    me = os.getpid()
    files = stat("1 1 1 1 1 1 1 1") | process(me, 1, 1, 0, 0, 0)
    files |= process(70001, me, 10, 0, 0, 0) | process(70002, 70001, 100, 0, 0, 0) | process(70003, 1, 1000, 0, 0, 0)
    reader = HostReader(tree(tmp_path, files))
    assert reader.read().cpu.own == 1  # type: ignore[union-attr]
    reader.find_family()
    assert reader.read().cpu.own == 111  # type: ignore[union-attr]


def test_a_child_that_has_been_waited_for_still_counts(tmp_path: Path) -> None:
    me = os.getpid()
    host = tree(tmp_path, stat("1 1 1 1 1 1 1 1") | process(me, 1, 1, 0, 0, 0) | process(70001, me, 10, 5, 0, 0))
    reader = HostReader(host)
    reader.find_family()
    alive = reader.read().cpu.own  # type: ignore[union-attr]
    (tmp_path / "proc/70001/stat").unlink()
    tree(tmp_path, process(me, 1, 1, 0, 10, 5))
    assert reader.read().cpu.own == alive == 16  # type: ignore[union-attr]


def reading(t_s: float, total: float, busy: float, own: float, steal: float = 0, **more: Any) -> HostReading:
    return HostReading(round(t_s * S), CpuTime(total, busy, steal, own), **more)


def test_other_load_is_busy_time_that_is_not_ours() -> None:
    before, now = reading(1, 1000, 400, 100, 10), reading(3, 1400, 700, 300, 50)
    found = conditions.at("after", now, before, {}, NOTHING)
    assert found["other_cpu_percent"] == pytest.approx(100 * (300 - 200) / 400)
    assert found["steal_percent"] == pytest.approx(10)


def test_counting_by_ticks_never_gives_less_than_nothing() -> None:
    found = conditions.at("after", reading(3, 1400, 590, 300, 5), reading(1, 1000, 400, 100, 10), {}, NOTHING)
    assert (found["other_cpu_percent"], found["steal_percent"]) == (0, 0)


@pytest.mark.parametrize(
    ("since", "why"),
    [
        (None, "a share of time needs two readings"),
        (reading(2.7, 1340, 0, 0), "0.3 s are too short for a share of clock ticks of 10 ms"),
        (HostReading(0), "/proc/stat was not read at both ends"),
    ],
)
def test_a_share_that_cannot_be_told_says_why(since: HostReading | None, why: str) -> None:
    found = conditions.at("before", reading(3, 1400, 590, 300), since, {}, NOTHING)
    for name in ("other_cpu_percent", "steal_percent"):
        assert (found[name], found["missing"][name]) == (None, why)


def test_shares_of_the_window_are_interpolated_at_its_borders() -> None:
    readings = [
        reading(0, 0, 0, 0),
        reading(1, 200, 100, 0),
        reading(2, 400, 300, 0, 40),
        reading(3, 600, 500, 200, 40),
    ]
    found = conditions.during(readings, [], {}, S // 2, round(2.5 * S))
    assert found["other_cpu_percent"] == pytest.approx(100 * ((400 - 50) - 100) / 400)
    assert found["steal_percent"] == pytest.approx(10)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 9))
def test_a_constant_share_is_found_whatever_the_borders(start: float, share: float, step: int) -> None:
    """A processor of which `share` is used by others."""
    readings = [reading(t * step / 10, t * step * 10, share * t * step * 10, 0) for t in range(100)]
    opened_ns = round(start * S)
    found = conditions.during(readings, [], {}, opened_ns, opened_ns + 4 * S)
    if found["other_cpu_percent"] is None:
        assert opened_ns + 4 * S > readings[-1].t_ns
    else:
        assert found["other_cpu_percent"] == pytest.approx(100 * share, abs=1e-6)


def test_during_the_window_it_is_the_worst_that_counts() -> None:
    readings = [
        HostReading(t * S, None, load, clock, heat, memory)
        for t, (load, clock, heat, memory) in enumerate(
            [(9.0, 100.0, 99.0, 1), (1.0, 3000.0, 50.0, 1000), (2.0, 2000.0, 70.0, 2001), (9.0, 100.0, 99.0, 1)]
        )
    ]
    states = [
        (S // 2, DeviceState(1.0, 99.0, ("outside",), 9, 1)),
        (1 * S, DeviceState(1900.0, 60.0, ("b",), 0, 100)),
        (2 * S, DeviceState(1800.0, 65.0, ("c", "a"), 2, 201)),
    ]
    found = conditions.during(readings, states, {}, round(0.9 * S), round(2.1 * S))
    assert [found[name] for name in ("load_1m", "frequency_mhz", "temperature_c")] == [1.5, 2000, 70]
    assert found["memory_available_bytes"] == 1000
    assert [found[f"device_{name}"] for name in ("clock_mhz", "temperature_c", "other_users")] == [1800, 65, 2]
    assert found["device_throttle_reasons"] == ["a", "b", "c"]
    assert found["device_memory_used_bytes"] == 150


def test_not_throttling_is_known_and_not_missing() -> None:
    found = conditions.during([], [(1, DeviceState(throttle_reasons=()))], {}, 0, S)
    assert found["device_throttle_reasons"] == []
    assert "device_throttle_reasons" not in found["missing"]


def test_a_window_between_two_readings_has_none() -> None:
    found = conditions.during([reading(0, 0, 0, 0, load_1m=1.0), reading(1, 1, 1, 1, load_1m=1.0)], [], {}, 1, S // 10)
    for name in ("load_1m", "memory_available_bytes", "device_clock_mhz"):
        assert found["missing"][name] == "no reading fell into the window of 0.1 s"


def test_what_a_reading_lacks_has_the_reason_of_the_field() -> None:
    found = conditions.during([HostReading(5)], [(5, NOTHING)], {}, 0, 10)
    assert found["missing"]["frequency_mhz"] == "no cpufreq: the kernel or the hypervisor hides it"
    assert found["missing"]["device_clock_mhz"] == "there is no device"


@pytest.mark.parametrize("found", [True, False])
def test_the_time_of_a_child_is_ours_once_it_is_found(found: bool) -> None:
    reader = HostReader()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        if found:
            reader.find_family()
        first, deadline = reader.read(), time.monotonic() + 60
        while reader._own(spinner.pid) < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        last = reader.read()
        spinner.kill()
    assert first.cpu is not None
    assert last.cpu is not None
    assert (last.cpu.own - first.cpu.own > 40) is found


def test_the_kernel_does_the_same_work_each_time() -> None:
    first, second = calibrate("before"), calibrate("after")
    assert set(first) == {"moment", "integer_ns", "sgemm_ns", "memcpy_ns"}
    assert all(value > 0 for name, value in second.items() if name != "moment")
