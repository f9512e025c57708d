"""NVIDIA's meters and the state of a GPU, through the real binding and a library with known answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import _nvml
from backends._host import Host
from backends._nvml import NvmlError, configuration, gpu
from backends.contract import Device, Meter
from backends.cuda import CudaBackend
from backends.meters.nvml import NvmlInstantMeter, NvmlMeter, NvmlUsageMeter
from tests.fakes.fake_meters import GPU, compile_nvml, installed_nvml

Set = Callable[[str, int], None]
ENERGY, INSTANT, USAGE, REASONS, INIT = 1, 2, 4, 8, 16
OTHER = Device("cuda", "NVIDIA Fake", {"torch": "cuda:0", "nvml": "0000:03:00.0"})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(library: Path, tmp_path: Path) -> Iterator[Set]:
    with installed_nvml(library, tmp_path) as told:
        yield told


@pytest.mark.parametrize(
    ("meter", "value"), [(NvmlMeter(), 1005.0), (NvmlInstantMeter(), 70.0), (NvmlUsageMeter(), 65.0)]
)
def test_each_meter_reads_its_own_quantity(nvml: Set, meter: Meter, value: float) -> None:
    assert meter.available(GPU).state == "present"
    meter.open(GPU)
    (reading,) = meter.read()
    assert (reading.value, meter.scope, meter.shared) == (value, "board", False)


def test_the_counter_is_trusted_more_than_power_of_the_moment_and_that_more_than_an_average() -> None:
    assert NvmlMeter.trust > NvmlInstantMeter.trust > NvmlUsageMeter.trust
    assert NvmlUsageMeter.update_s == 1.0


@pytest.mark.parametrize(
    ("meter", "hidden"), [(NvmlMeter(), ENERGY), (NvmlInstantMeter(), INSTANT), (NvmlUsageMeter(), USAGE)]
)
def test_what_a_gpu_does_not_have_is_absent(nvml: Set, meter: Meter, hidden: int) -> None:
    meter.open(GPU)
    nvml("hide", hidden)
    presence = meter.available(GPU)
    assert presence.state == "absent"
    assert presence.reason.endswith("NVML says Not Supported")
    (reading,) = meter.read()
    assert (reading.value, reading.reason) == (None, presence.reason)


def test_a_sliced_gpu_has_a_shared_meter(nvml: Set) -> None:
    nvml("mig", 1)
    meter = NvmlMeter()
    meter.open(GPU)
    assert meter.shared


def test_a_driver_that_is_not_loaded_is_broken(nvml: Set) -> None:
    nvml("hide", INIT)
    presence = NvmlMeter().available(GPU)
    assert (presence.state, presence.reason) == ("broken", "starting NVML: NVML says Driver Not Loaded")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _nvml._gpu.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    presence = NvmlMeter().available(GPU)
    assert (presence.state, presence.remedy) == ("absent", "pip install nvidia-ml-py")
    assert set(CudaBackend().state(GPU).missing.values()) == {"the package nvidia-ml-py is not installed"}


def test_other_hardware_is_not_its_business() -> None:
    presence = NvmlMeter().available(Device("cpu", "a processor", {}))
    assert (presence.state, presence.remedy) == ("absent", "")


def test_the_meter_is_of_the_gpu_at_its_place_on_the_bus(nvml: Set) -> None:
    """CUDA calls both 0, each in a process that is shown no other."""
    nvml("gpus", 3)
    assert (gpu(GPU).energy_j(), gpu(OTHER).energy_j()) == (1005.0, 3005.0)


@pytest.mark.parametrize("address", [{"nvml": "0000:04:00.0"}, {"torch": "cuda:0"}])
def test_a_gpu_that_nvml_does_not_find_is_not_guessed(nvml: Set, address: dict[str, str]) -> None:
    with pytest.raises(NvmlError) as caught:
        gpu(Device("cuda", "NVIDIA Fake", address))
    assert caught.value.presence.reason == "starting NVML: NVML says Not Found"


def test_what_was_set_on_a_gpu_is_told_and_what_it_does_not_tell_is_left_out(nvml: Set) -> None:
    assert configuration(GPU) == {
        "gpu_driver": "570.86.15",
        "gpu_power_limit_w": 350.0,
        "gpu_ecc": True,
        "gpu_persistence_mode": False,
        "gpu_pcie": "generation 5 x16",
    }
    nvml("hide", INIT)
    _nvml._gpu.cache_clear()
    assert configuration(GPU) == {}


def test_the_state_of_a_gpu(nvml: Set) -> None:
    state = CudaBackend().state(GPU)
    assert (state.clock_mhz, state.temperature_c, state.memory_used_bytes) == (1980, 41, 42)
    assert (state.throttle_reasons, state.other_users, dict(state.missing)) == ((), 0, {})


@pytest.mark.parametrize("hidden", [0, REASONS])
def test_throttling_has_names_and_idling_is_none(nvml: Set, hidden: int) -> None:
    """Hidden: as with a driver that knows the reasons by their older name only."""
    nvml("hide", hidden)
    nvml("reasons", 0x01 | 0x02 | 0x04 | 0x40)
    assert CudaBackend().state(GPU).throttle_reasons == ("sw_power_cap", "hw_thermal_slowdown")


def process(root: Path, pid: int, parent: int) -> None:
    (root / f"proc/{pid}").mkdir(parents=True)
    (root / f"proc/{pid}/stat").write_text(f"{pid} (a (b) c) S {parent} 0 0 0\n")


def test_users_that_descend_from_us_are_no_others(nvml: Set, tmp_path: Path) -> None:
    for pid, parent in ((os.getpid(), 1), (500_001, os.getpid()), (500_002, 500_001), (500_003, 1)):
        process(tmp_path, pid, parent)
    for pid in (500_001, 500_002, 500_003):
        nvml("pid", pid)
    assert gpu(GPU).state(Host(tmp_path)).other_users == 1


def test_users_of_another_namespace_cannot_be_told_apart(nvml: Set, tmp_path: Path) -> None:
    nvml("pid", 500_009)
    state = gpu(GPU).state(Host(tmp_path))
    assert state.other_users is None
    assert state.missing == {"other_users": "NVML names processes that are not in this container's list"}


def test_the_binding_loads_the_library_by_its_own_name(library: Path) -> None:
    script = (
        "from tests.fakes.fake_meters import GPU; from backends.meters.nvml import NvmlMeter\n"
        "meter = NvmlMeter(); meter.open(GPU); print(meter.read()[0].value)"
    )
    environ = {"LD_LIBRARY_PATH": str(library.parent), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1005.0", done.stderr
