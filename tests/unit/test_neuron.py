"""AWS Neuron devices and packages as they are found, whole and half installed, on machines made of files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import _neuron
from backends.contract import Device, Model, Plan, Presence, Unsupported
from backends.engines import _neuron as shared
from backends.engines import neuron as engine
from backends.engines.neuron import NeuronEngine
from backends.inferentia import CHIPS, InferentiaBackend
from tests.conformance.test_probes import machine, pci
from workloads.contract import TensorSpec

ARCHITECTURE = "sys/devices/virtual/neuron_device/neuron0/info/architecture/device_name"
INF2 = {"dev/neuron0": "", ARCHITECTURE: "Inferentia2\n"}
ONE_CHIP = {
    "neuron_device": 0,
    "bdf": "00:1f.0",
    "connected_to": None,
    "nc_count": 2,
    "memory_size": 34359738368,
    "neuron_processes": [],
}
WHOLE = Device("inferentia", "AWS Inferentia2 @ 2 cores", {"neuron": "2"})


def says(root: Path, text: str, status: int = 0) -> None:
    """A neuron-ls that prints `text`, where AWS' package puts it."""
    tool = root / _neuron.TOOL
    tool.parent.mkdir(parents=True, exist_ok=True)
    (tool.parent / "answer").write_text(text)
    tool.write_text(f'#!/bin/sh\n[ "$1" = --json-output ] || exit 2\ncat {tool.parent}/answer\nexit {status}\n')
    tool.chmod(0o755)


def found(root: Path, files: dict[str, str], *targets: str) -> Presence:
    return InferentiaBackend(machine(root, files)).probe(targets)


def names(presence: Presence) -> list[str]:
    assert presence.state == "present", presence
    return [device.name for device in presence.devices]


@pytest.mark.parametrize(("number", "chip"), CHIPS.items())
def test_every_chip_is_known_by_its_number(tmp_path: Path, number: str, chip: str) -> None:
    card = pci("0000:00:1f.0", "1d0f", number)
    assert found(tmp_path / "bare", card).state == "broken"
    (device,) = found(tmp_path / "driven", {**card, "dev/neuron0": ""}).devices
    assert device.name.startswith(f"AWS {chip} @ ")
    assert ("neuron" in device.address) == (chip != "Inferentia1"), "the first generation has another compiler"


def test_all_cores_of_a_chip_are_used_unless_fewer_are_asked_for(tmp_path: Path) -> None:
    assert names(found(tmp_path, INF2)) == ["AWS Inferentia2 @ 2 cores"]
    assert names(found(tmp_path, INF2, "inferentia:cores=1")) == ["AWS Inferentia2 @ 1 of 2 cores"]
    both = found(tmp_path, INF2, "inferentia:cores=1", "inferentia:cores=2")
    assert [device.address["neuron"] for device in both.devices] == ["1", "2"]


@pytest.mark.parametrize(
    ("target", "says_why"),
    [
        ("inferentia:cores=3", "has 2 cores"),
        ("inferentia:cores=0", "knows no target inferentia:cores=0"),
        ("inferentia:inf2", "knows no target inferentia:inf2"),
    ],
)
def test_other_targets_are_refused(tmp_path: Path, target: str, says_why: str) -> None:
    presence = found(tmp_path, INF2, target)
    assert (presence.state, presence.devices) == ("no_such_target", ())
    assert says_why in presence.reason
    assert "inferentia:cores=1" in presence.remedy


def test_a_mistyped_target_is_told_without_a_device_too(tmp_path: Path) -> None:
    assert "cores=x" in found(tmp_path, {}, "inferentia:cores=x").reason
    assert "no AWS Neuron device" in found(tmp_path, {}, "inferentia:cores=1").reason


def test_equal_chips_are_one_device(tmp_path: Path) -> None:
    other = ARCHITECTURE.replace("neuron0", "neuron1")
    assert names(found(tmp_path, {**INF2, "dev/neuron1": "", other: "Inferentia2\n"})) == ["AWS Inferentia2 @ 2 cores"]


def test_the_driver_calls_old_chips_without_a_number(tmp_path: Path) -> None:
    assert names(found(tmp_path, {"dev/neuron0": "", ARCHITECTURE: "Trainium\n"})) == ["AWS Trainium1 @ 2 cores"]


@pytest.mark.parametrize(
    ("listing", "cores"),
    [
        ([ONE_CHIP], 2),
        ([{**ONE_CHIP, "nc_count": 8, "logical_neuroncore_config": 2, "neuroncore_ids": [0, 1, 2, 3]}], 4),
        ([{**ONE_CHIP, "nc_count": None, "neuroncore_ids": None, "neuron_processes": None}], 2),
        ([{"neuron_device": 7, "nc_count": 8}], 2),
        ([], 2),
    ],
    ids=["documented", "logical cores", "fields are null", "another device", "empty"],
)
def test_neuron_ls_says_how_many_cores(tmp_path: Path, listing: list[dict[str, Any]], cores: int) -> None:
    says(tmp_path, json.dumps(listing))
    (device,) = found(tmp_path, INF2).devices
    assert device.address["neuron"] == str(cores)


def test_other_users_are_those_that_do_not_descend_from_this_process(tmp_path: Path) -> None:
    processes = [{"pid": os.getpid(), "command": "us"}, {"pid": 99_999_999, "command": "neuron-bench exec"}]
    says(tmp_path, json.dumps([{**ONE_CHIP, "neuron_processes": processes}, {"neuron_device": 1}]))
    used = "sys/devices/virtual/neuron_device/neuron0/neuron_core{}/stats/memory_usage/device_mem/total"
    host = machine(tmp_path, {**INF2, used.format(0): "1000\n", used.format(1): "24\n"})
    (tmp_path / f"proc/{os.getpid()}").mkdir(parents=True)
    (tmp_path / f"proc/{os.getpid()}/stat").write_text(f"{os.getpid()} (python) R 1 1\n")
    state = InferentiaBackend(host).state(WHOLE)
    assert (state.other_users, state.memory_used_bytes) == (1, 1024)
    assert set(state.missing) == {"clock_mhz", "temperature_c", "throttle_reasons"}


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (None, 0, "install aws-neuronx-tools"),
        ("neuron-ls: no devices", 0, "no JSON"),
        ('{"neuron_device": 0}', 0, "no list"),
        ("error: driver version too old", 1, "status 1 and said: error: driver version too old"),
    ],
)
def test_without_an_answer_of_neuron_ls_the_reason_is_told(
    tmp_path: Path, answer: str | None, status: int, reason: str
) -> None:
    if answer is not None:
        says(tmp_path, answer, status)
    backend = InferentiaBackend(machine(tmp_path, INF2))
    assert names(backend.probe()) == ["AWS Inferentia2 @ 2 cores"]
    state = backend.state(WHOLE)
    assert state.other_users is None
    assert reason in state.missing["other_users"]
    assert state.memory_used_bytes is None
    assert "aws-neuronx-dkms" in state.missing["memory_used_bytes"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ONE_CHIP, "pid"]), inner, max_size=6),
    max_leaves=20,
)


@given(json_values)
def test_any_json_of_neuron_ls_is_read_or_refused(value: Any) -> None:
    try:
        devices = _neuron.parsed(json.dumps(value))
    except _neuron.NeuronError:
        return
    assert all(one.number >= 0 and (one.cores is None or one.cores > 0) for one in devices)


FITTING = {"torch-neuronx": "2.9.0.2.15.32035", "neuronx-cc": "2.26.6360.0", "torch": "2.9.1"}


def install(site: Path, versions: dict[str, str], *files: str) -> None:
    for name, version in versions.items():
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).touch()


@pytest.mark.parametrize(
    ("versions", "files", "runtime", "state", "reason", "remedy"),
    [
        ({"torch": "2.9.1"}, [], True, "absent", "needs torch-neuronx, neuronx-cc", "pip.repos.neuron.amazonaws.com"),
        ({**FITTING, "torch-neuronx": "1.0"}, True, True, "broken", "torch-neuronx 1.0 is a placeholder", "uninstall"),
        ({**FITTING, "neuronx-cc": "1.0.post1"}, True, True, "broken", "neuronx-cc 1.0.post1 is a", "uninstall"),
        (FITTING, [], True, "broken", "is a placeholder", "pip uninstall -y torch-neuronx neuronx-cc"),
        (FITTING, True, False, "broken", "no Neuron runtime", "aws-neuronx-runtime-lib"),
        ({**FITTING, "torch": "2.13.0"}, True, True, "broken", "made for torch 2.9, and torch is 2.13", "<2.10"),
        (
            {**FITTING, "torch-neuronx": "2.10.0.2.20", "torch": "2.10.0"},
            True,
            True,
            "broken",
            "2.10 has no torch_neuronx.trace",
            "<2.10",
        ),
        (FITTING, True, True, "present", "", ""),
    ],
)
def test_each_half_installation_has_its_own_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    files: bool | list[str],
    runtime: bool,
    state: str,
    reason: str,
    remedy: str,
) -> None:
    install(tmp_path / "site", versions, *(engine.PACKAGES.values() if files else ()))
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    host = machine(tmp_path, {"opt/aws/neuron/lib/libnrt.so.1": ""} if runtime else {})
    presence = NeuronEngine(host).available(WHOLE)
    assert presence.state == state
    assert reason in presence.reason
    assert remedy in presence.remedy


@pytest.mark.parametrize(
    ("versions", "state", "reason"),
    [
        ({"jax": "0.10.0"}, "absent", "jax needs libneuronxla, jax-neuronx"),
        ({"jax": "0.10.0", "libneuronxla": "3.0.1", "jax-neuronx": "0.0.0"}, "broken", "jax-neuronx 0.0.0 is a placeh"),
        ({"jax": "0.10.0", "libneuronxla": "1.0", "jax-neuronx": "0.1.3"}, "broken", "libneuronxla 1.0 is a placeho"),
        ({"jax": "0.11.0", "libneuronxla": "3.0.1", "jax-neuronx": "0.1.3"}, "broken", "jax 0.11.0 is none of those"),
        ({"jax": "0.10.0", "libneuronxla": "3.0.1", "jax-neuronx": "0.1.3"}, "present", ""),
    ],
)
def test_jax_has_packages_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], state: str, reason: str
) -> None:
    install(tmp_path / "site", versions, *shared.JAX.values())
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    presence = shared.available_to_jax(machine(tmp_path, {"opt/aws/neuron/lib/libnrt.so.1": ""}))
    assert presence.state == state
    assert reason in presence.reason
    assert state == "present" or "jax-neuronx>=0.1" in presence.remedy


def test_jax_computes_on_one_core_and_casts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, one = (found(tmp_path / name, INF2, f"inferentia:cores={name}").devices[0] for name in "21")
    assert ("jax" in whole.address, one.address["jax"]) == (False, "neuron:0")
    for name in (shared.COUNT, shared.VISIBLE, shared.COMPILER_FLAGS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    shared.prepare_for_jax()
    assert os.environ[shared.COUNT] == "1"
    assert os.environ[shared.COMPILER_FLAGS] == "--auto-cast=none"
    monkeypatch.setenv(shared.COMPILER_FLAGS, "-O1 --auto-cast=all")
    with pytest.raises(Unsupported, match="casts whatever the precision says"):
        shared.prepare_for_jax()


def test_what_the_engine_cannot_drive_is_told_apart() -> None:
    old = NeuronEngine().available(Device("inferentia", "AWS Inferentia1 @ 4 cores", {}))
    assert "does not compile for AWS Inferentia1" in old.reason
    assert NeuronEngine().available(Device("cpu", "a processor", {})).state == "absent"


def plan(precision: str = "fp32", **options: str) -> Plan:
    return Plan(precision, 1, "latency", options=options)


@pytest.mark.parametrize(
    ("chosen", "flags"),
    [
        (plan(), ["--auto-cast=none"]),
        (plan("bf16"), ["--auto-cast=all", "--auto-cast-type=bf16"]),
        (plan("fp16", autocast="matmult"), ["--auto-cast=matmult", "--auto-cast-type=fp16"]),
        (plan("tf32"), ["--auto-cast=matmult", "--auto-cast-type=tf32"]),
    ],
)
def test_the_compiler_is_told_what_to_cast(chosen: Plan, flags: list[str]) -> None:
    assert engine._flags(chosen) == flags


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (plan(autocast="all"), "fp32 casts nothing"),
        (plan("bf16", autocast="some"), "autocast=some"),
        (plan("int8"), "does not compute in int8"),
        (plan(cache="1"), "no option cache"),
    ],
)
def test_what_cannot_be_compiled_is_unsupported(chosen: Plan, reason: str) -> None:
    model = Model("m", "d", (TensorSpec("x", "float32", (None, 4)),), (), "m")
    with pytest.raises(Unsupported, match=reason):
        NeuronEngine().compile(model, chosen, WHOLE)


def test_a_free_size_is_unsupported() -> None:
    model = Model("m", "d", (TensorSpec("x", "float32", (None, None)),), (), "m")
    with pytest.raises(Unsupported, match="x of m has a free size"):
        NeuronEngine().compile(model, plan(), WHOLE)


@pytest.mark.parametrize(("visible", "count"), [("3", 1), ("0-3", 4), ("0,2", 2), ("0-1,4", 3), ("all", 0), ("", 0)])
def test_visible_cores_are_counted(visible: str, count: int) -> None:
    assert shared._count(visible) == count


def test_cores_that_the_user_chose_have_to_be_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shared.COUNT, "")
    monkeypatch.delenv(shared.VISIBLE, raising=False)
    shared.reserve(2)
    assert os.environ[shared.COUNT] == "2"
    monkeypatch.setenv(shared.VISIBLE, "4-7")
    shared.reserve(4)
    with pytest.raises(Unsupported, match="4-7 is not 2 cores"):
        shared.reserve(2)
