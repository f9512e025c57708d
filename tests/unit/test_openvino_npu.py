"""OpenVINO on an Intel NPU, with the real library on a machine without one: every half installation has its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from backends.contract import Device, Plan, Unsupported
from backends.engines import _openvino_npu as npu
from backends.engines.openvino import OpenVinoEngine
from bench import parts
from workloads.contract import Model, Workload

NPU = Device("intel_npu", "Intel NPU (Lunar Lake)", {"openvino": "NPU"})
FP16 = Plan("fp16", 1, "latency")


@pytest.fixture(scope="module")
def model() -> Model:
    return parts.find(Workload, "kws", ()).model()


def libraries(monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
    monkeypatch.setattr(npu, "_loads", lambda library: library in there)


@pytest.mark.parametrize(
    ("there", "remedy"),
    [
        ((), "libze_loader.so.1 is not installed: install libze1"),
        ((npu.LOADER,), "libze_intel_npu.so.1 is not installed: install intel-level-zero-npu"),
        ((npu.LOADER, npu.USER_DRIVERS[1]), "see dmesg | grep intel_vpu"),
        ((npu.LOADER, *npu.USER_DRIVERS), "see dmesg | grep intel_vpu"),
    ],
)
def test_openvino_that_lists_no_npu_says_what_is_missing(
    model: Model, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], remedy: str
) -> None:
    libraries(monkeypatch, *there)
    with pytest.raises(Unsupported) as caught:
        OpenVinoEngine().compile(model, FP16, NPU)
    assert str(caught.value).startswith("openvino lists no NPU: ")
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan("fp32", 1, "latency"), "only in fp16"),
        (Plan("fp16", 1, "latency", options={"threads": "1"}), "no option threads; it knows: compiler"),
    ],
)
def test_what_the_npu_has_not_is_refused_before_looking_for_it(model: Model, plan: Plan, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        OpenVinoEngine().compile(model, plan, NPU)


def test_an_unknown_compiler_is_refused() -> None:
    with pytest.raises(Unsupported, match="compiler=best is none of driver, plugin"):
        npu.properties(Plan("fp16", 1, "latency", options={"compiler": "best"}))


def compiling(path: Any, compiler: str) -> Exception:
    """What the library itself says of compiling for an NPU here."""
    import openvino

    core = openvino.Core()
    with pytest.raises(RuntimeError) as caught:
        core.compile_model(
            core.read_model(path), "NPU", npu.properties(Plan("fp16", 1, "latency", options={"compiler": compiler}))
        )
    return caught.value


def test_the_missing_compiler_of_the_wheel_has_its_own_remedy(model: Model) -> None:
    with pytest.raises(Unsupported, match=r"NPU compiler is not installed .* --option compiler=driver"):
        npu.explain(compiling(model.form("onnx"), "plugin"))


def test_a_driver_without_a_device_has_its_own_remedy(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries(monkeypatch)
    with pytest.raises(Unsupported, match="finds no NPU to compile with its driver: Level Zero"):
        npu.explain(compiling(model.form("onnx"), "driver"))


def test_an_unknown_error_stays_an_error() -> None:
    npu.explain(RuntimeError("the NPU hung"))


class Posing:
    """The library with an NPU that it does not have: it compiles for the processor, and says so when asked."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.read_model = core.read_model
        self.properties: dict[str, Any] = {}

    def get_property(self, device: str, name: str) -> Any:
        told = {
            "AVAILABLE_DEVICES": ["4000"],
            "SUPPORTED_PROPERTIES": ["NPU_DRIVER_VERSION"],
            "NPU_DRIVER_VERSION": 1738,
        }
        return told[name]

    def compile_model(self, graph: Any, device: str, properties: dict[str, Any]) -> Any:
        self.properties = {"device": device, **properties}
        return self.core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": properties["PERFORMANCE_HINT"]})


@pytest.mark.support("intel_npu", "openvino", level="fake", on="OpenVINO 2026.4 that poses as one with an NPU")
def test_a_network_that_ran_elsewhere_is_found_out(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    posing = Posing(openvino.Core())
    monkeypatch.setattr(openvino, "Core", lambda: posing)
    session = OpenVinoEngine().compile(model, FP16, NPU)
    assert posing.properties == {
        "device": "NPU",
        "INFERENCE_PRECISION_HINT": "f16",
        "PERFORMANCE_HINT": "LATENCY",
        "NPU_COMPILER_TYPE": "DRIVER",
    }
    assert (session.facts.settings["compiler"], session.facts.settings["NPU_DRIVER_VERSION"]) == ("driver", "1738")
    assert session.inflight == session.facts.settings["streams"] >= 1
    assert session.facts.placement.share == 0.0
    assert "CPU" in session.facts.placement.proof
    session.close()
