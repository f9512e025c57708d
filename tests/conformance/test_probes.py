"""The probes of this repository's backends, on machines that are described by a tree of files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from backends._cores import Cores, usable
from backends._host import Host
from backends.contract import Backend, Device
from backends.cpu import CpuBackend, model_name
from backends.cuda import CudaBackend
from backends.edgetpu import EdgeTpuBackend
from backends.ethos_u import EthosUBackend
from backends.gaudi import GaudiBackend
from backends.inferentia import InferentiaBackend
from backends.intel_npu import IntelNpuBackend
from backends.qualcomm import QualcommBackend
from backends.tpu import TpuBackend

Files = Mapping[str, str]


def machine(root: Path, files: Files, denied: str = "") -> Host:
    """A tree of files; a content that begins with "-> " makes a link. Nodes that contain `denied` may not be opened."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)

    def access(path: Path, mode: int) -> bool:
        return Path(path).exists() and not (denied and denied in str(path))

    return Host(root, access)


def pci(address: str, vendor: str, device: str, class_code: str = "0x120000", driver: str = "", **more: str) -> Files:
    folder = f"sys/bus/pci/devices/{address}"
    files = {f"{folder}/vendor": f"0x{vendor}\n", f"{folder}/device": f"0x{device}\n", f"{folder}/class": class_code}
    if driver:
        files[f"{folder}/driver"] = f"-> ../../../drivers/{driver}"
    return {**files, **{f"{folder}/{name}": content for name, content in more.items()}}


def accel(number: int, driver: str) -> Files:
    return {
        f"sys/class/accel/accel{number}/device/driver": f"-> ../../../bus/pci/drivers/{driver}",
        f"dev/accel/accel{number}": "",
    }


def nvidia(number: int, model: str, node: bool = True) -> Files:
    information = (
        f"Model: \t\t {model}\nIRQ:   \t\t 42\nGPU UUID: \t GPU-0\nBus Type: \t PCIe\nDevice Minor: \t {number}\n"
    )
    files = {f"proc/driver/nvidia/gpus/0000:0{number}:00.0/information": information}
    return {**files, f"dev/nvidia{number}": ""} if node else files


DRIVER = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15\n"}
H200 = {**DRIVER, **nvidia(0, "NVIDIA H200"), "dev/nvidiactl": ""}
STICK = {
    "sys/bus/usb/devices/2-1/idVendor": "18d1\n",
    "sys/bus/usb/devices/2-1/idProduct": "9302\n",
    "sys/bus/usb/devices/2-1/speed": "5000\n",
    "sys/bus/usb/devices/2-1/busnum": "2\n",
    "sys/bus/usb/devices/2-1/devnum": "3\n",
}
NEURON = {"sys/devices/virtual/neuron_device/neuron0/info/architecture/device_name": "Inferentia2\n"}
NETWORK_CARD = pci("0000:00:04.0", "1ae0", "0042", "0x020000")

CASES = [
    # backend, files, denied, state, device names or words of the reason
    (CudaBackend, {}, "", "absent", "no NVIDIA GPU"),
    (CudaBackend, pci("0000:01:00.0", "10de", "22ba", "0x040300"), "", "absent", "no NVIDIA GPU"),
    (CudaBackend, pci("0000:01:00.0", "10de", "2335", "0x030200"), "", "broken", "without a driver"),
    (CudaBackend, pci("0000:01:00.0", "10de", "2335", "0x030200", "nouveau"), "", "broken", "driven by nouveau"),
    (CudaBackend, pci("0000:01:00.0", "10de", "2335", "0x030200", "vfio-pci"), "", "absent", "virtual machines"),
    (CudaBackend, DRIVER, "", "broken", "lists no GPU"),
    (CudaBackend, {**DRIVER, **nvidia(0, "NVIDIA H200", node=False)}, "", "broken", "/dev/nvidia0"),
    (CudaBackend, {**DRIVER, **nvidia(0, "NVIDIA H200")}, "", "broken", "/dev/nvidiactl"),
    (CudaBackend, H200, "dev/nvidia0", "no_permission", "/dev/nvidia0"),
    (CudaBackend, H200, "nvidiactl", "no_permission", "/dev/nvidiactl"),
    (CudaBackend, H200, "", "present", ["NVIDIA H200"]),
    (CudaBackend, {**H200, **nvidia(1, "NVIDIA H200")}, "", "present", ["NVIDIA H200"]),
    (CudaBackend, {**H200, **nvidia(1, "NVIDIA T4")}, "", "broken", "CUDA numbers them by speed"),
    (TpuBackend, {}, "", "absent", "no Google TPU"),
    (TpuBackend, {**NETWORK_CARD, "dev/vfio/7": ""}, "", "absent", "no Google TPU"),
    (TpuBackend, pci("0000:00:05.0", "1ae0", "0063"), "", "broken", "0000:00:05.0"),
    (TpuBackend, {**pci("0000:00:05.0", "1ae0", "0063"), "dev/vfio/0": ""}, "vfio/0", "no_permission", "/dev/vfio/0"),
    (TpuBackend, {**pci("0000:00:05.0", "1ae0", "0063"), "dev/vfio/0": ""}, "", "present", ["Google TPU v5e"]),
    (
        TpuBackend,
        {**pci("0000:00:05.0", "1ae0", "0027", subsystem_device="0x004f"), "dev/accel0": ""},
        "",
        "present",
        ["Google TPU v3 (1 of 2 cores)"],
    ),
    (EdgeTpuBackend, {}, "", "absent", "no Edge TPU"),
    (EdgeTpuBackend, STICK, "", "broken", "2-1"),
    (EdgeTpuBackend, {**STICK, "dev/bus/usb/002/003": ""}, "usb/002", "no_permission", "/dev/bus/usb/002/003"),
    (EdgeTpuBackend, {**STICK, "dev/bus/usb/002/003": ""}, "", "present", ["Coral Edge TPU (USB 5000 Mb/s)"]),
    (EdgeTpuBackend, pci("0000:03:00.0", "1ac1", "089a"), "", "broken", "0000:03:00.0"),
    (
        EdgeTpuBackend,
        {**pci("0000:03:00.0", "1ac1", "089a"), "dev/apex_0": ""},
        "",
        "present",
        ["Coral Edge TPU (PCIe)"],
    ),
    (InferentiaBackend, {}, "", "absent", "no AWS Neuron device"),
    (InferentiaBackend, pci("0000:00:1f.0", "1d0f", "ec20"), "", "absent", "no AWS Neuron device"),
    (InferentiaBackend, pci("0000:00:1f.0", "1d0f", "7264"), "", "broken", "0000:00:1f.0"),
    (InferentiaBackend, {"dev/neuron0": "", **NEURON}, "neuron0", "no_permission", "/dev/neuron0"),
    (InferentiaBackend, {"dev/neuron0": "", **NEURON}, "", "present", ["AWS Inferentia2 @ 2 cores"]),
    (
        InferentiaBackend,
        {"dev/neuron0": "", **pci("0000:00:1f.0", "1d0f", "7064")},
        "",
        "present",
        ["AWS Inferentia1 @ 4 cores"],
    ),
    (IntelNpuBackend, {}, "", "absent", "no Intel NPU"),
    (IntelNpuBackend, accel(0, "habanalabs"), "", "absent", "no Intel NPU"),
    (IntelNpuBackend, pci("0000:00:0b.0", "8086", "643e"), "", "broken", "0000:00:0b.0"),
    (
        IntelNpuBackend,
        {**pci("0000:00:0b.0", "8086", "643e"), **accel(0, "intel_vpu")},
        "accel0",
        "no_permission",
        "/dev/accel/accel0",
    ),
    (
        IntelNpuBackend,
        {**pci("0000:00:0b.0", "8086", "643e"), **accel(0, "intel_vpu")},
        "",
        "present",
        ["Intel NPU (Lunar Lake)"],
    ),
    (GaudiBackend, {}, "", "absent", "no Gaudi card"),
    (GaudiBackend, pci("0000:33:00.0", "1da3", "1020"), "", "broken", "0000:33:00.0"),
    (GaudiBackend, {**pci("0000:33:00.0", "1da3", "1020"), "dev/hl0": ""}, "hl0", "no_permission", "/dev/hl0"),
    (GaudiBackend, {**pci("0000:33:00.0", "1da3", "1020"), **accel(0, "habanalabs")}, "", "present", ["Intel Gaudi 2"]),
    (QualcommBackend, {}, "", "absent", "no Qualcomm Cloud AI card"),
    (QualcommBackend, pci("0000:44:00.0", "17cb", "a100"), "", "broken", "0000:44:00.0"),
    (
        QualcommBackend,
        {**pci("0000:44:00.0", "17cb", "a100"), **accel(2, "qaic")},
        "accel2",
        "no_permission",
        "/dev/accel/accel2",
    ),
    (
        QualcommBackend,
        {**pci("0000:44:00.0", "17cb", "a100"), **accel(2, "qaic")},
        "",
        "present",
        ["Qualcomm Cloud AI 100"],
    ),
    (
        QualcommBackend,
        {**pci("0000:44:00.0", "17cb", "a080"), **accel(0, "qaic")},
        "",
        "present",
        ["Qualcomm Cloud AI 80"],
    ),
    (
        QualcommBackend,
        {**pci("0000:44:00.0", "17cb", "a110"), **accel(0, "qaic")},
        "",
        "present",
        ["Qualcomm Cloud AI 200"],
    ),
    (QualcommBackend, {"dev/qaic_aic100_0": ""}, "", "present", ["Qualcomm Cloud AI"]),
    (QualcommBackend, {"dev/qaic_aic100_0": ""}, "qaic_aic100_0", "no_permission", "/dev/qaic_aic100_0"),
    (QualcommBackend, pci("0000:44:00.0", "17cb", "0306"), "", "absent", "no Qualcomm Cloud AI card"),
    (
        QualcommBackend,
        {**pci("0000:44:00.0", "17cb", "a100"), **accel(0, "habanalabs")},
        "",
        "broken",
        "0000:44:00.0",
    ),
    (EthosUBackend, {}, "", "absent", "no Ethos-U"),
    (EthosUBackend, {"dev/ethosu0": ""}, "ethosu0", "no_permission", "/dev/ethosu0"),
    (EthosUBackend, {"dev/ethosu0": ""}, "", "present", ["Arm Ethos-U"]),
    (EthosUBackend, accel(0, "ethosu"), "", "present", ["Arm Ethos-U"]),
]


@pytest.mark.parametrize(
    ("kind", "files", "denied", "state", "says"),
    CASES,
    ids=[f"{kind.name}-{state}-{number}" for number, (kind, _, _, state, _) in enumerate(CASES)],
)
def test_probe(
    kind: type,
    files: Files,
    denied: str,
    state: str,
    says: str | list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    backend: Backend = kind(machine(tmp_path, files, denied))
    presence = backend.probe()
    assert presence.state == state
    if state == "present":
        assert [device.name for device in presence.devices] == says
        return
    assert says in presence.reason
    assert str(tmp_path) not in presence.reason
    assert presence.remedy
    assert not any(device.runs for device in presence.devices)


def test_every_backend_has_every_answer_tried() -> None:
    tried = {kind: {state for other, _, _, state, _ in CASES if other is kind} for kind, *_ in CASES}
    bus = {"present", "absent", "no_permission", "broken"}
    assert {kind.name: states for kind, states in tried.items()} == {
        **dict.fromkeys(("cuda", "tpu", "edgetpu", "inferentia", "intel_npu", "gaudi", "qualcomm"), bus),
        "ethos_u": bus - {"broken"},  # it hangs on no bus, so a missing driver cannot be told from a missing device
    }


@pytest.mark.parametrize("text", ["48550", "-5000"])
def test_edge_tpu_temperature(tmp_path: Path, text: str) -> None:
    backend = EdgeTpuBackend(machine(tmp_path, {"sys/class/apex/apex_0/temp": text + "\n"}))
    assert backend.state(Device("edgetpu", "Coral Edge TPU (PCIe)", {})).temperature_c == int(text) / 1000
    assert backend.state(Device("edgetpu", "Coral Edge TPU (USB 480 Mb/s)", {})).temperature_c is None


@pytest.mark.parametrize(
    ("heat", "reached"),
    [
        ("84999", ()),
        ("85000", ("thermal_trip_point0",)),
        ("96000", ("thermal_trip_point0", "thermal_trip_point1", "thermal_trip_point2")),
    ],
)
def test_an_edge_tpu_throttles_at_its_trip_points(tmp_path: Path, heat: str, reached: tuple[str, ...]) -> None:
    points = {f"sys/class/apex/apex_0/trip_point{n}_temp": f"{85000 + 5000 * n}\n" for n in range(3)}
    backend = EdgeTpuBackend(machine(tmp_path, {"sys/class/apex/apex_0/temp": heat + "\n", **points}))
    state = backend.state(Device("edgetpu", "Coral Edge TPU (PCIe)", {}))
    assert state.throttle_reasons == reached
    assert "throttle_reasons" not in state.missing


def test_garbage_in_the_files_never_raises(tmp_path: Path) -> None:
    for path in ("sys/bus/pci/devices/x/vendor", "sys/bus/usb/devices/1-1/idVendor", "proc/driver/nvidia/version"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"\xff\xfe\0\n")
    (tmp_path / "sys/bus/usb/devices/1-1/idVendor").write_text("18d1")
    (tmp_path / "sys/bus/usb/devices/1-1/idProduct").write_text("9302")
    (tmp_path / "sys/bus/usb/devices/1-1/busnum").write_bytes(b"\xff")
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_bytes(b"\xff\xfe: \0\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("no colons\n0::/../..\n1:cpu:/x\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("many few\n")
    for kind in {kind for kind, *_ in CASES} | {CpuBackend}:
        assert kind(Host(tmp_path)).probe().state in ("present", "absent", "broken")


INTEL = "processor : 0\nvendor_id : GenuineIntel\ncpu family : 6\nmodel : 167\nmodel name : {}\n\nprocessor : 1\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (INTEL.format("Intel(R) Xeon(R) Platinum 8488C"), "Intel Xeon Platinum 8488C"),
        (INTEL.format("Intel(R) Xeon(R) CPU @ 2.60GHz"), "Intel Xeon (family 6 model 167)"),
        (INTEL.format("Intel(R) Xeon(R) Processor"), "Intel Xeon (family 6 model 167)"),
        (INTEL.format("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz"), "Intel Core i7-8550U"),
        (INTEL.format("AMD EPYC 9R14 96-Core Processor"), "AMD EPYC 9R14"),
        (INTEL.format("AMD Ryzen 7 5800H with Radeon Graphics"), "AMD Ryzen 7 5800H"),
        (INTEL.format("Evil <script>alert('x')</script> \u00b5P 9000"), "Evil scriptalert(x)/script P 9000"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40\n", "Arm Neoverse-V1"),
        ("processor : 0\nCPU implementer : 0x61\nCPU part : 0x022\n", "Arm part 0x022"),
    ],
)
def test_cpu_name(tmp_path: Path, cpuinfo: str, name: str) -> None:
    assert model_name(machine(tmp_path, {"proc/cpuinfo": cpuinfo})) == name


def siblings(*pairs: str) -> Files:
    return {f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{pair}\n" for i, pair in enumerate(pairs)}


V2 = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "5:memory:/m\n3:cpu,cpuacct:/a\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "cpus", "cores", "threads"),
    [
        (siblings("0", "1", "2", "3"), range(4), 4, 4),
        (siblings("0-1", "0-1", "2-3", "2-3"), range(4), 2, 4),
        (siblings("0-1", "0-1", "2-3", "2-3"), [1, 2], 2, 2),
        (siblings("0-1", "0-1"), [0], 1, 1),
        ({}, range(3), 3, 3),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, range(4), 4, 4),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, range(4), 2, 2),
        (
            {**V2, "sys/fs/cgroup/a/b/cpu.max": "350000 100000", "sys/fs/cgroup/a/cpu.max": "150000 100000"},
            range(8),
            1,
            1,
        ),
        ({**V2, "sys/fs/cgroup/cpu.max": "50000 100000"}, range(8), 1, 1),
        (
            {**V1, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"},
            [0],
            1,
            1,
        ),
        (
            {**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            range(8),
            3,
            3,
        ),
    ],
)
def test_usable_cores(tmp_path: Path, files: Files, cpus: list[int], cores: int, threads: int) -> None:
    assert usable(machine(tmp_path, files), cpus) == Cores(cores, threads, tuple(cpus))


def test_cpu_here_is_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert usable(Host(Path("/nowhere"))) == Cores(1, 1, (3,))
    (device,) = CpuBackend(Host(Path("/nowhere"))).probe().devices
    assert device.name.endswith(", 1 core")


def test_the_state_of_the_processor_is_the_hosts(tmp_path: Path) -> None:
    backend = CpuBackend(machine(tmp_path, {}))
    state = backend.state(backend.probe().devices[0])
    assert set(state.missing.values()) == {"the processor is the host"}
