from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import conditions
from bench.conditions import CpuTime
from results.names import cleaned, is_name
from results.record import Calibration, Conditions, Energy, Machine

Tree = Callable[[dict[str, str]], Path]

XEON = """processor : 0
model name : Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz
bogomips : {bogomips}

processor : 1
model name : Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz
"""
MEMORY = "MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:    4000000 kB\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def write(files: dict[str, str]) -> Path:
        shutil.rmtree(tmp_path)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tmp_path.mkdir(exist_ok=True)
        return tmp_path

    return write


def host(bogomips: str = "5999.9", total: int = 8_000_000, **more: str) -> dict[str, str]:
    files = {"proc/cpuinfo": XEON.format(bogomips=bogomips), "proc/meminfo": MEMORY.format(total=total)}
    return {**files, **{key.replace("__", "/"): text for key, text in more.items()}}


def ec2(product: str = "c5.large", vendor: str = "Amazon EC2") -> dict[str, str]:
    return {"sys/class/dmi/id/sys_vendor": vendor + "\n", "sys/class/dmi/id/product_name": product + "\n"}


def fingerprint(tree: Tree, files: dict[str, str]) -> str:
    return str(conditions.machine(tree(files))["fingerprint"])


def test_what_this_host_says_fits_a_record() -> None:
    Machine.model_validate_json(json.dumps(conditions.machine()))
    for moment in ("before", "during", "after"):
        Conditions.model_validate_json(json.dumps(conditions.conditions(moment, CpuTime.now())))
    for moment in ("before", "after"):
        Calibration.model_validate_json(json.dumps(conditions.calibrate(moment)))


def test_an_empty_host_has_a_reason_for_everything(tree: Tree) -> None:
    root = tree({})
    found = conditions.conditions("before", None, root)
    assert all(found[name] is None for name in found["missing"])
    assert set(found["missing"]) == set(found) - {"moment", "missing"}
    Conditions.model_validate_json(json.dumps(found))
    machine = Machine.model_validate_json(json.dumps(conditions.machine(root)))
    assert "says nothing" in machine.missing["instance_type"]


def test_the_fingerprint_survives_a_reboot(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(tree, host())
    monkeypatch.setattr(conditions.platform, "node", lambda: "renamed")
    monkeypatch.setattr(conditions.platform, "release", lambda: "9.9.9-updated")
    assert fingerprint(tree, host(bogomips="6001.2", total=7_996_000, proc__loadavg="9 9 9 1/2 3")) == first


def test_the_fingerprint_tells_machines_apart(tree: Tree) -> None:
    other_cpu = {**host(), "proc/cpuinfo": "model name : AMD EPYC\n"}
    small, large = {**host(), **ec2("c5.large")}, {**host(), **ec2("c5.xlarge")}
    half_memory, one_core = host(total=4_000_000), {**host(), "sys/fs/cgroup/cpu.max": "100000 100000"}
    prints = [fingerprint(tree, files) for files in (host(), other_cpu, small, large, half_memory, one_core)]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("files", "expected", "reason"),
    [
        (ec2("c5.large"), "c5.large", None),
        (ec2("u-6tb1.112xlarge"), "u-6tb1.112xlarge", None),
        (ec2("HVM domU", "Xen"), None, "the firmware says Xen HVM domU"),
        (ec2("Google Compute Engine", "Google"), None, "names no instance type"),
        (ec2("Virtual Machine", "Microsoft Corporation"), None, "names no instance type"),
        ({}, None, "the firmware says nothing"),
    ],
)
def test_the_instance_type_is_what_the_firmware_says(
    tree: Tree, files: dict[str, str], expected: str | None, reason: str | None
) -> None:
    machine = conditions.machine(tree(files))
    assert machine["instance_type"] == expected
    assert (reason is None) or reason in machine["missing"]["instance_type"]


def test_a_containers_limits_are_what_can_be_used(tree: Tree) -> None:
    limits = {"sys/fs/cgroup/cpu.max": "50000 100000\n", "sys/fs/cgroup/memory.max": "1073741824\n", ".dockerenv": ""}
    machine = conditions.machine(tree({**host(), **limits}))
    assert (machine["cores"], machine["memory_bytes"], machine["container"]) == (1, 1 << 30, "docker")


def test_an_arm_board_is_named_by_its_device_tree(tree: Tree) -> None:
    board = {"proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n", "proc/device-tree/model": "Raspberry Pi 4 B\0"}
    assert conditions.machine(tree(board))["cpu"] == "Raspberry Pi 4 B"


def test_steal_is_a_share_of_the_time_between_two_readings(tree: Tree) -> None:
    before = CpuTime(total=1000, steal=10)
    root = tree({"proc/stat": "cpu  1000 50 100 20 10 5 5 60 999 999\ncpu0 1 1 1 1 1 1 1 1 0 0\n"})
    assert CpuTime.now(root) == CpuTime(1250, 60)
    assert conditions.conditions("during", before, root)["steal_percent"] == pytest.approx(20)


def test_steal_that_goes_backwards_is_none_stolen(tree: Tree) -> None:
    root = tree({"proc/stat": "cpu 1000 0 0 0 0 0 0 5\n"})
    assert conditions.conditions("during", CpuTime(900, 10), root)["steal_percent"] == 0


def test_sensors_are_read_in_their_units(tree: Tree) -> None:
    root = tree(
        {
            "proc/loadavg": "1.25 0.5 0.3 2/300 999\n",
            "proc/meminfo": MEMORY.format(total=8_000_000),
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "3000000\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "90000\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "51500\n",
            "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone0/temp": "49000\n",
        }
    )
    found = conditions.conditions("before", None, root)
    assert found["load_1m"] == 1.25
    assert found["frequency_mhz"] == 2500
    assert found["temperature_c"] == 51.5
    assert found["memory_available_bytes"] == 4_096_000_000
    assert set(found["missing"]) == {"steal_percent"}


@pytest.mark.parametrize(
    ("files", "backend", "why"),
    [
        ({}, "cpu", "no RAPL domain under /sys/class/powercap"),
        ({"sys/class/powercap/intel-rapl:0/energy_uj": "1\n"}, "cpu", "RAPL"),
        ({}, "cuda", "no power meter of cuda"),
    ],
)
def test_energy_that_is_not_measured_says_why(tree: Tree, files: dict[str, str], backend: str, why: str) -> None:
    energy = conditions.energy(backend, tree(files))
    Energy.model_validate(energy)
    assert all(why in reason for reason in energy["missing"].values())


def test_the_kernel_does_the_same_work_each_time() -> None:
    first, second = conditions.calibrate("before"), conditions.calibrate("after")
    assert set(first) == {"moment", "integer_ns", "sgemm_ns", "memcpy_ns"}
    assert all(value > 0 for name, value in second.items() if name != "moment")


@given(st.text(max_size=300))
def test_any_text_becomes_a_name(text: str) -> None:
    assert is_name(cleaned(text))


def test_a_good_name_stays_as_it_is() -> None:
    assert cleaned("Intel(R) Xeon(R) CPU @ 2.20GHz") == "Intel(R) Xeon(R) CPU @ 2.20GHz"
    assert cleaned("  <script>") == "script>"
