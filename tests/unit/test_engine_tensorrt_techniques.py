"""Quantised networks on TensorRT: the graph that its parser takes, and what the engine says that it ran."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from backends.contract import Device, Plan, Session, Unsupported
from backends.engines.tensorrt import TensorRtEngine
from bench import parts
from tests.fakes.fake_tensorrt import Machine
from workloads.contract import Model, Workload
from workloads.forms import onnx_qdq_symmetric
from workloads.techniques.int8_static import Int8Static

pytestmark = pytest.mark.support("cuda", "tensorrt", level="fake", on="TensorRT 11.1's calls as its binding has them")
GPU = Device("cuda", "NVIDIA Fake", {"tensorrt": "cuda:0"})
Opened = Callable[..., Session]


@cache
def _ort(path: str) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine(lambda path, inputs: _ort(path).run(None, inputs))
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def opened(machine: Machine) -> Iterator[Opened]:
    sessions = []

    def open_one(model: Model, precision: str) -> Session:
        sessions.append(TensorRtEngine().compile(model, Plan(precision, 2, "latency"), GPU))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


def kws() -> Workload:
    return parts.find(Workload, "kws")


def error(found: np.ndarray, right: np.ndarray) -> float:
    return float(abs(found - right).max() / abs(right).max())


def test_int8_static_is_explicit_quantisation_with_zero_points_of_zero(opened: Opened) -> None:
    """The stand-in's parser refuses what TensorRT's does: the graph for onnxruntime has all three of it."""
    workload = kws()
    session = opened(Int8Static().treat(workload.calibrated()), "int8")
    inputs, golden = workload.samples("perf", 2, 0).inputs, next(iter(workload.golden().outputs.values()))
    (found,) = session.get(session.run(session.put(inputs))).values()
    assert error(found, golden[:2]) < 0.1
    assert session.facts.settings["precision"] == "int8"


def test_a_technique_and_the_precision_alone_start_from_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    plain, engine = kws().calibrated(), TensorRtEngine()
    treated = Int8Static().treat(plain)
    paths = [Path(one.form(engine.form_of(one, "int8"))) for one in (plain, treated)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_graph_as_onnxruntime_has_it_is_refused(opened: Opened) -> None:
    model = kws().calibrated()
    given = {"onnx_qdq_symmetric": Path(model.form("onnx_qdq"))}
    with pytest.raises(Unsupported, match="only supports symmetric quantization"):
        opened(replace(model, given=given), "int8")


def quantised(x: np.ndarray, zero: np.ndarray, scale: float) -> tuple[Any, list[np.ndarray]]:
    """A graph that quantises and dequantises, and what it gives before and after it was made symmetric."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    nodes += [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    stored = [numpy_helper.from_array(np.float32(scale) * np.ones((), np.float32), "s")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [*stored, numpy_helper.from_array(zero, "z")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    answers = []
    for change in (lambda: None, lambda: onnx_qdq_symmetric.symmetric(proto.graph)):
        change()
        onnx.checker.check_model(proto)
        answers.append(_ort_of(proto, x))
    return proto, answers


def _ort_of(proto: Any, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(128), np.uint8(255), np.int8(-128), np.int8(5), np.int8(0)])
def test_all_that_was_in_range_still_is(zero: Any) -> None:
    least, most = (0, 255) if zero.dtype == np.uint8 else (-128, 127)
    x = (np.arange(least, most + 1) - float(zero)).astype(np.float32) * np.float32(0.5)
    proto, (before, after) = quantised(x, np.array(zero), 0.5)
    widest = max(int(zero) - least, most - int(zero))
    assert np.array_equal(before, x)
    step = 0.5 * widest / 127 if zero.dtype != np.int8 or zero else 0.5
    assert abs(after - x).max() <= step / 2 + 1e-4
    kinds = {one.data_type for one in proto.graph.initializer if one.name in proto.graph.node[0].input[2:]}
    assert kinds == {onnx.TensorProto.INT8}


def layer(kind: str, came: str, weights: str = "", tactic: str = "") -> dict[str, Any]:
    """As the inspector has it: docs.nvidia.com, Engine Inspector, with the DataType of release 11."""
    told = {"LayerType": kind, "Inputs": [{"Name": "i", "DataType": came}], "Outputs": [], "TacticName": tactic}
    return {**told, "Weights": {"Type": weights, "Count": 9}} if weights else told


def numbered(*layers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Name": f"layer {number}", **one} for number, one in enumerate(layers)]


def ran(session: Session) -> Any:
    return session.executed(session.put(kws().samples("perf", 2, 0).inputs))


INT8_KERNEL = "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32"


def test_what_ran_is_told_by_the_inspector_and_timed_by_the_profiler(opened: Opened, machine: Machine) -> None:
    machine.layers = numbered(
        layer("Reformat", "Float"),
        layer("CaskConvolution", "Int8", "Int8", INT8_KERNEL),
        layer("kgen", "Int8"),
        layer("gemm", "Float", tactic="sm80_xmma_gemm_f32f32"),
    )
    session = opened(Int8Static().treat(kws().calibrated()), "int8")
    found = ran(session)
    assert dict(found.kernels) == {"int8": 1, "fp32": 1}
    assert found.share == pytest.approx({"int8": 0.2, "fp32": 0.4})  # 2 and 4 of 1 + 2 + 3 + 4 ms
    assert (found.names[INT8_KERNEL], found.names["Reformat"]) == (1, 1)
    assert "inspector" in found.source
    assert session.device_ns() is None, "a profiled run is nobody's time"


@pytest.mark.parametrize(
    ("one", "precision", "kind"),
    [
        (layer("CaskConvolution", "Half", "Half"), "fp16", "fp16"),
        (layer("CaskDeconvolution", "BFloat16"), "fp16", "bf16"),
        (layer("gemm", "FP8", "FP8"), "fp16", "fp8"),
        (layer("gemm", "Half", "Int4"), "fp16", "fp16 by int4 weights"),
        (layer("CaskConvolution", "Float", "Float", "sm80_xmma_fprop_tf32tf32_f32"), "tf32", "tf32"),
        (layer("CaskConvolution", "Float", "Float", "sm80_xmma_fprop_f32f32_f32"), "tf32", "fp32"),
        (layer("MatrixMultiply", "E8M0"), "fp32", "E8M0"),
    ],
)
def test_every_type_has_its_name(
    opened: Opened, machine: Machine, one: dict[str, Any], precision: str, kind: str
) -> None:
    machine.layers = numbered(one)
    assert dict(ran(opened(kws().calibrated(), precision)).kernels) == {kind: 1}


def test_an_inspector_without_details_is_no_proof(opened: Opened, machine: Machine) -> None:
    session = opened(kws().calibrated(), "fp32")
    machine.layers = []
    with pytest.raises(Unsupported, match="names of its layers only"):
        ran(session)


def test_the_profiled_run_leaves_nothing_behind(opened: Opened, machine: Machine) -> None:
    session = opened(kws().calibrated(), "fp32")
    streams, events = len(machine.cuda.streams), len(machine.cuda.events)
    ran(session)
    assert (len(machine.cuda.streams), len(machine.cuda.events)) == (streams, events)


@pytest.mark.parametrize(("capability", "taken"), [((8, 6), False), ((8, 9), True), ((9, 0), True)])
def test_fp8_needs_ada(opened: Opened, machine: Machine, capability: tuple[int, int], taken: bool) -> None:
    """A graph in fp8 comes from a technique of somebody's own: none of ours writes one."""
    machine.cuda.capability = capability
    model = kws().calibrated()
    treated = model.treated("theirs", precision="fp8", made={"onnx": lambda: model.form("onnx")})
    if taken:
        assert opened(treated, "fp8").facts.settings["precision"] == "fp8"
        return
    with pytest.raises(Unsupported, match=r"8\.6 has no fp8"):
        opened(treated, "fp8")


def test_weights_alone_are_refused_by_the_parser(opened: Opened) -> None:
    from workloads.techniques.weights_only import Int4Weights

    with pytest.raises(Unsupported, match="MatMulNBits no importer"):
        opened(Int4Weights().treat(parts.find(Workload, "bytelm-small").calibrated()), "int4")
