"""What every backend owes, whether its hardware is here or not."""

from __future__ import annotations

import subprocess
import sys

import pydantic
import pytest

from backends.contract import Backend, Device, Engine
from bench import parts
from results.strict import Name

NAME = pydantic.TypeAdapter(Name)
VENDORS = "onnx onnxruntime openvino torch tensorrt jax tensorflow ai_edge_litert pynvml libneuronxla habana_frameworks"


@pytest.fixture
def backend(found_backend: parts.Found[Backend]) -> Backend:
    assert found_backend.part is not None, f"{found_backend.file}: {found_backend.error}"
    return found_backend.part


@pytest.fixture
def engine(found_engine: parts.Found[Engine]) -> Engine:
    assert found_engine.part is not None, f"{found_engine.file}: {found_engine.error}"
    return found_engine.part


def test_backend_says_why(backend: Backend) -> None:
    presence = backend.probe()
    if presence.state == "present":
        assert presence.devices
    else:
        assert presence.reason
        assert presence.remedy
        assert not any(device.runs for device in presence.devices)


def test_backend_names_fit_a_record(backend: Backend) -> None:
    devices = backend.probe().devices
    assert all(device.backend == backend.name for device in devices)
    assert len({device.name for device in devices}) == len(devices), "two devices share a name, so their rows would too"
    for name in (backend.name, *(device.name for device in devices)):
        assert NAME.validate_python(name) == name


def test_probe_is_repeatable(backend: Backend) -> None:
    assert backend.probe() == backend.probe()


@pytest.mark.parametrize("target", ["", "no-such-thing", "a:b:c", "../../etc/passwd"])
def test_unknown_target_is_absent_with_a_reason(backend: Backend, target: str) -> None:
    presence = backend.probe((target,))
    assert presence.state != "present"
    assert presence.reason
    assert presence.remedy


def test_state_explains_every_gap(backend: Backend) -> None:
    for device in backend.probe().devices or (Device(backend.name, "not here", {}),):
        state = backend.state(device)
        for field in ("clock_mhz", "temperature_c", "throttle_reasons", "other_users"):
            assert (getattr(state, field) is None) == bool(state.missing.get(field)), field


def test_engine_says_why(engine: Engine) -> None:
    presence = engine.available(Device("nowhere", "a device that no engine has heard of", {}))
    assert presence.state != "present"
    assert presence.reason
    assert presence.remedy
    assert NAME.validate_python(engine.name) == engine.name


def test_asking_imports_no_vendor_library(pytestconfig: pytest.Config) -> None:
    script = f"""
import sys
from backends.contract import Backend, Engine
from bench import parts
extra = sys.argv[1:]
devices = [d for one in parts.collect(Backend, extra) if one.part for d in one.part.probe().devices]
for one in parts.collect(Engine, extra):
    for device in devices:
        one.part.available(device)
print(*sorted(set({VENDORS.split()}) & set(sys.modules)))
"""
    extra = pytestconfig.getoption("--parts")
    done = subprocess.run(
        [sys.executable, "-c", script, *extra], cwd=pytestconfig.rootpath, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
