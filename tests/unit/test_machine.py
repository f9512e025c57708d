from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._host import Host
from bench.surroundings import machine as module
from bench.surroundings.machine import machine
from results.names import cleaned, is_name
from results.record import Machine

Tree = Callable[[dict[str, str]], Host]

XEON = """processor : 0
model name : Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz
bogomips : {bogomips}

processor : 1
model name : Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz
"""
CGROUP_2 = {"proc/self/cgroup": "0::/\n"}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def write(files: dict[str, str]) -> Host:
        shutil.rmtree(tmp_path)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tmp_path.mkdir(exist_ok=True)
        return Host(tmp_path)

    return write


def host(bogomips: str = "5999.9", total: int = 8_000_000, **more: str) -> dict[str, str]:
    files = {"proc/cpuinfo": XEON.format(bogomips=bogomips), "proc/meminfo": f"MemTotal:  {total} kB\nMemFree: 1 kB\n"}
    return {**files, **{key.replace("__", "/"): text for key, text in more.items()}}


def ec2(product: str = "c5.large", vendor: str = "Amazon EC2") -> dict[str, str]:
    return {"sys/class/dmi/id/sys_vendor": vendor + "\n", "sys/class/dmi/id/product_name": product + "\n"}


def cache(cpu: int, index: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    values = {"level": str(level), "type": kind, "size": size, "shared_cpu_list": shared}
    return {f"{folder}/{name}": text + "\n" for name, text in values.items()}


def fingerprint(tree: Tree, files: dict[str, str]) -> str:
    return str(machine(tree(files))["fingerprint"])


def test_what_this_host_says_fits_a_record() -> None:
    Machine.model_validate_json(json.dumps(machine()))


def test_an_empty_host_has_a_reason_for_everything(tree: Tree) -> None:
    found = Machine.model_validate_json(json.dumps(machine(tree({}))))
    assert set(found.missing) == {"instance_type", "cpu_limit_cores", "memory_limit_bytes", "llc_bytes"}
    assert all(found.missing.values())


def test_the_fingerprint_survives_a_reboot(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(tree, host())
    monkeypatch.setattr(module.platform, "node", lambda: "renamed")
    monkeypatch.setattr(module.platform, "release", lambda: "9.9.9-updated")
    assert fingerprint(tree, host(bogomips="6001.2", total=7_996_000, proc__loadavg="9 9 9 1/2 3")) == first


def test_the_fingerprint_is_the_one_of_earlier_versions(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a machine's history would end with an update of accelmark."""
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert fingerprint(tree, {**host(), **ec2()}) == "ee27b6dddc17ab12"


def test_limits_and_caches_do_not_enter_the_fingerprint(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    first = fingerprint(tree, host())
    wide = {**CGROUP_2, "sys/fs/cgroup/cpu.max": "400000 100000", "sys/fs/cgroup/memory.max": str(1 << 50)}
    assert fingerprint(tree, {**host(), **wide, **cache(0, 3, 3, "Unified", "32768K", "0-1")}) == first


def test_the_fingerprint_tells_machines_apart(tree: Tree) -> None:
    other_cpu = {**host(), "proc/cpuinfo": "model name : AMD EPYC\n"}
    small, large = {**host(), **ec2("c5.large")}, {**host(), **ec2("c5.xlarge")}
    one_core = {**host(), **CGROUP_2, "sys/fs/cgroup/cpu.max": "100000 100000"}
    every = (host(), other_cpu, small, large, host(total=4_000_000), one_core)
    assert len({fingerprint(tree, files) for files in every}) == len(every)


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
    found = machine(tree(files))
    assert found["instance_type"] == expected
    assert (reason is None) or reason in found["missing"]["instance_type"]


OLD = {"proc/self/cgroup": "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n"}
V1, V1_MEMORY = "sys/fs/cgroup/cpu/box", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "cores", "limit_cores", "limit_bytes"),
    [
        ({**CGROUP_2, "sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/memory.max": "4096000"}, 1, 0.5, 4096000),
        ({**CGROUP_2, "sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"}, 4, None, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "250000 100000"}, 3, 2.5, None),
        ({**OLD, f"{V1}/cpu.cfs_quota_us": "150000", f"{V1}/cpu.cfs_period_us": "100000"}, 2, 1.5, None),
        ({**OLD, f"{V1}/cpu.cfs_quota_us": "-1", f"{V1}/cpu.cfs_period_us": "100000"}, 4, None, None),
        ({**OLD, f"{V1_MEMORY}/box/memory.limit_in_bytes": "1073741824"}, 4, None, 1 << 30),
        ({**OLD, f"{V1_MEMORY}/memory.limit_in_bytes": "9223372036854771712"}, 4, None, None),
        ({}, 4, None, None),
    ],
)  # fmt: skip
def test_limits_of_a_container_of_both_versions(
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    cores: int,
    limit_cores: float | None,
    limit_bytes: int | None,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    found = machine(tree({**host(), **files}))
    assert (found["cores"], found["cpu_limit_cores"], found["memory_limit_bytes"]) == (cores, limit_cores, limit_bytes)
    assert found["memory_bytes"] == (limit_bytes or 8_000_000 * 1024)
    for name in ("cpu_limit_cores", "memory_limit_bytes"):
        assert (found[name] is None) == (name in found["missing"])


def core(cpu: int, l3: str, shared: str) -> dict[str, str]:
    small = cache(cpu, 0, 1, "Data", "48K", str(cpu)) | cache(cpu, 1, 1, "Instruction", "32K", str(cpu))
    return small | cache(cpu, 2, 2, "Unified", "2M", str(cpu)) | cache(cpu, 3, 3, "Unified", l3, shared)


@pytest.mark.parametrize(
    ("files", "size_bytes"),
    [
        (core(0, "32768K", "0-1") | core(1, "32768K", "0-1"), 32 << 20),
        (core(0, "32768K", "0") | core(1, "32768K", "1"), 64 << 20),
        (core(0, "32768K", "0-1") | core(1, "32768K", "0-1") | core(2, "32768K", "2-3"), 32 << 20),
        (cache(0, 0, 1, "Data", "32K", "0") | cache(0, 1, 1, "Instruction", "64K", "0"), 32 << 10),
        (cache(0, 0, 2, "Unified", "1M", "0-1") | cache(1, 0, 2, "Unified", "1M", "0-1"), 1 << 20),
    ],
)
def test_the_last_level_cache_is_that_of_all_usable_processors(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], size_bytes: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert machine(tree(files))["llc_bytes"] == size_bytes


def test_an_arm_board_is_named_by_its_device_tree(tree: Tree) -> None:
    board = {"proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n", "proc/device-tree/model": "Raspberry Pi 4 B\0"}
    assert machine(tree(board))["cpu"] == "Raspberry Pi 4 B"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"proc/1/cgroup": "0::/kubepods/x\n"}, "kubepods"),
        ({}, "none"),
    ],
)
def test_a_container_is_told_by_its_files(tree: Tree, files: dict[str, str], kind: str) -> None:
    assert machine(tree(files))["container"] == kind


@given(st.text(max_size=300))
def test_any_text_becomes_a_name(text: str) -> None:
    assert is_name(cleaned(text))


def test_a_good_name_stays_as_it_is() -> None:
    assert cleaned("Intel(R) Xeon(R) CPU @ 2.20GHz") == "Intel(R) Xeon(R) CPU @ 2.20GHz"
    assert cleaned("  <script>") == "script>"
