"""Which GPUs CUDA shows and what it calls them, on machines that are trees of files; the driver that they need."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import _cuda
from backends._host import Host
from backends.contract import Presence, Unsupported
from backends.cuda import CudaBackend, _slices

A100, T4 = "NVIDIA A100-SXM4-40GB", "Tesla T4"
ONE, TWO, THREE = "GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333"
LISTING = f"""GPU 0: {A100} (UUID: {ONE})
  MIG 3g.20gb     Device  0: (UUID: MIG-1111-a)
  MIG 1c.2g.10gb  Device  1: (UUID: MIG-2222-b)
  MIG 1g.5gb+me   Device  2: (UUID: MIG-3333-c)
GPU 1: {A100} (UUID: {TWO})
"""


def machine(root: Path, *gpus: tuple[str, str], sliced: bool = False) -> Host:
    """GPUs in the order of the bus, whose numbers are hexadecimal."""
    files = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu\n"}
    files["dev/nvidiactl"] = ""
    for minor, (model, uuid) in enumerate(gpus):
        folder = f"proc/driver/nvidia/gpus/0000:{9 + 7 * minor:02x}:00.0"
        files[f"{folder}/information"] = f"Model: \t {model}\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        files[f"dev/nvidia{minor}"] = ""
    if sliced:
        files["proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access"] = "DeviceFileMinor: 1\n"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return Host(root, lambda path, mode: True)


def probe(host: Host, *targets: str, listing: str = "", **environ: str) -> Presence:
    return CudaBackend(host, lambda: listing, environ).probe(targets)


def found(presence: Presence) -> list[tuple[str, str, str]]:
    assert presence.state == "present", presence.reason
    return [(device.name, device.address["torch"], device.address["nvml"]) for device in presence.devices]


FIRST, SECOND, THIRD = "0000:09:00.0", "0000:10:00.0", "0000:17:00.0"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, [(A100, "cuda:0", FIRST)]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [(A100, "cuda:0", SECOND)]),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, [(A100, "cuda:0", SECOND)]),
        ({"CUDA_VISIBLE_DEVICES": TWO}, [(A100, "cuda:0", SECOND)]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b,0"}, [(A100, "cuda:0", SECOND)]),
        ({"CUDA_VISIBLE_DEVICES": "0,7,1"}, [(A100, "cuda:0", FIRST)]),
    ],
)
def test_equal_gpus_are_one_device_and_the_first_that_cuda_shows(tmp_path, environ, expected) -> None:
    assert found(probe(machine(tmp_path, (A100, ONE), (A100, TWO)), **environ)) == expected


def test_every_engine_has_an_address(tmp_path) -> None:
    (device,) = probe(machine(tmp_path, (A100, ONE))).devices
    assert device.address == {
        "onnxruntime": "CUDAExecutionProvider:0",
        "torch": "cuda:0",
        "tensorrt": "cuda:0",
        "nvml": FIRST,
        "uuid": ONE,
    }


@pytest.mark.parametrize("visible", ["", "-1", "9", "GPU-zz", "MIG-1", "no such"])
def test_what_shows_no_gpu_is_absent(tmp_path, visible: str) -> None:
    presence = probe(machine(tmp_path, (A100, ONE)), CUDA_VISIBLE_DEVICES=visible)
    assert (presence.state, presence.reason) == ("absent", f"CUDA_VISIBLE_DEVICES={visible} hides every GPU")


def test_several_models_have_numbers_in_the_order_of_the_bus_only(tmp_path) -> None:
    host = machine(tmp_path, (T4, ONE), (A100, TWO), (T4, THREE))
    presence = probe(host)
    assert (presence.state, presence.remedy) == ("broken", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    by_bus = [(T4, "cuda:0", FIRST), (A100, "cuda:1", SECOND)]
    assert sorted(found(probe(host, CUDA_DEVICE_ORDER="PCI_BUS_ID"))) == sorted(by_bus)
    by_name = [(A100, "cuda:0", SECOND), (T4, "cuda:1", THIRD)]
    assert found(probe(host, CUDA_VISIBLE_DEVICES=f"{TWO},{THREE}")) == by_name


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("cuda:1",), [(A100, "cuda:1", SECOND)]),
        (("cuda:GPU-bbbb",), [(A100, "cuda:1", SECOND)]),
        (("cuda:1", "cuda:0"), [(A100, "cuda:1", SECOND)]),
    ],
)
def test_a_target_chooses_one_of_equal_gpus(tmp_path, targets, expected) -> None:
    assert found(probe(machine(tmp_path, (A100, ONE), (A100, TWO)), *targets)) == expected


@pytest.mark.parametrize("target", ["cuda:2", "cuda:GPU-zz", "cuda:", "cuda", "cuda:01", "tpu:v5e", "1", ""])
def test_an_unknown_target_names_the_known_ones(tmp_path, target: str) -> None:
    presence = probe(machine(tmp_path, (A100, ONE)), target)
    assert presence.state == "absent"
    assert presence.remedy == f"name one of: cuda:0 ({A100})"


def test_slices_are_devices_that_cuda_shows_by_their_uuid(tmp_path) -> None:
    host = machine(tmp_path, (A100, ONE), (A100, TWO), sliced=True)
    assert found(probe(host, listing=LISTING)) == [
        (f"{A100} MIG 3g.20gb", "cuda:MIG-1111-a", FIRST),
        (f"{A100} MIG 1c.2g.10gb", "cuda:MIG-2222-b", FIRST),
        (f"{A100} MIG 1g.5gb+me", "cuda:MIG-3333-c", FIRST),
        (A100, f"cuda:{TWO}", SECOND),
    ]
    assert found(probe(host, "cuda:MIG-2222", listing=LISTING)) == [
        (f"{A100} MIG 1c.2g.10gb", "cuda:MIG-2222-b", FIRST)
    ]


def test_onnxruntime_reaches_a_slice_that_the_process_is_shown_alone(tmp_path) -> None:
    host = machine(tmp_path, (A100, ONE), sliced=True)
    (shown,) = probe(host, listing=LISTING, CUDA_VISIBLE_DEVICES="MIG-3333-c").devices
    assert (shown.name, shown.address["onnxruntime"]) == (f"{A100} MIG 1g.5gb+me", "CUDAExecutionProvider:0")
    assert all("onnxruntime" not in device.address for device in probe(host, listing=LISTING).devices)


def test_slices_that_nobody_names_are_broken(tmp_path) -> None:
    presence = probe(machine(tmp_path, (A100, ONE), sliced=True), listing="")
    assert presence.state == "broken"
    assert "nvidia-smi -L" in presence.reason


def test_without_slices_nvidia_smi_is_not_started(tmp_path) -> None:
    def started() -> str:
        raise AssertionError

    assert CudaBackend(machine(tmp_path, (A100, ONE)), started, {}).probe().state == "present"


PROFILE = st.from_regex(r"(?:[1-7]c\.)?[1-7]g\.[1-9][0-9]?gb(?:\+me)?", fullmatch=True)


@given(st.lists(st.lists(PROFILE, max_size=7), max_size=4))
def test_the_listing_is_read_as_it_is_printed(cards: list[list[str]]) -> None:
    lines = []
    for number, profiles in enumerate(cards):
        lines.append(f"GPU {number}: NVIDIA (R) A100 (PCIe) (UUID: GPU-{number})")
        for index, name in enumerate(profiles):
            lines.append(f"  MIG {name:<15} Device {index:>2}: (UUID: MIG-{number}-{index})")
    expected = {
        f"GPU-{n}": tuple((name, f"MIG-{n}-{i}") for i, name in enumerate(profiles))
        for n, profiles in enumerate(cards)
        if profiles
    }
    assert _slices("\n".join(lines)) == expected


@given(st.text())
def test_any_other_listing_names_nothing_and_raises_nothing(text: str) -> None:
    assert all(name.startswith("MIG-") for several in _slices(text).values() for _, name in several)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021", "470.82.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build", "580.95.05"),
        ("garbage", None),
        ("", None),
    ],
)
def test_version_of_the_driver(tmp_path, text: str, version: str | None) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / _cuda.VERSION).write_text(text)
    assert _cuda.driver(Host(tmp_path)) == version


@pytest.mark.parametrize(
    ("needed", "major"),
    [
        (["filelock", "nvidia-cuda-runtime-cu12==12.8.90; platform_system == 'Linux'"], 12),
        (['cuda-toolkit[cublas,cudart,cufft]==13.0.3; platform_system == "Linux"', "cuda-bindings<14,>=13.0.3"], 13),
        (["nvidia-cuda-runtime==13.0.96 ; sys_platform == 'linux'"], 13),
        (["nvidia-cuda-nvrtc-cu12==12.8.93"], None),
        (None, None),
    ],
)
def test_the_cuda_that_a_package_is_built_for(monkeypatch, needed, major) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    assert _cuda.runtime_of("torch") == major


def test_a_package_that_is_not_there_is_built_for_nothing() -> None:
    assert _cuda.runtime_of("no-such-package-here") is None


@pytest.mark.parametrize(
    ("version", "cuda", "enough"),
    [
        ("470.82.01", 12, False),
        ("525.60.13", 12, True),
        ("570.86.15", 13, False),
        ("580.65.06", 13, True),
        ("450.80.02", 11, True),
        ("418.39", 11, False),
        ("570.86.15", None, True),
        ("570.86.15", 99, True),
    ],
)
def test_a_driver_too_old_for_the_package_is_said(tmp_path, version, cuda, enough) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / _cuda.VERSION).write_text(f"NVRM version: Module  {version}  Thu")
    presence = _cuda.too_old("torch", cuda, Host(tmp_path))
    assert (presence is None) is enough
    if presence:
        assert presence.state == "broken"
        assert version in presence.reason
        assert presence.remedy.startswith("update the driver")


def test_what_cuda_calls_a_device() -> None:
    environ: dict[str, str] = {}
    assert _cuda.ordinal("cuda:3", False, environ) == 3
    assert environ == {}
    assert _cuda.ordinal("cuda:MIG-1", False, environ) == 0
    assert environ == {"CUDA_VISIBLE_DEVICES": "MIG-1"}
    assert _cuda.ordinal("cuda:MIG-1", True, environ) == 0
    with pytest.raises(Unsupported, match="began with another device"):
        _cuda.ordinal("cuda:MIG-2", True, environ)
