"""What engines say that they executed: parsed from made-up profiles, then asked of real ones on small networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import Device, Engine, Facts, Placement, Plan, Session, Unsupported
from backends.engines import _executed, _ort_profile
from backends.engines._executed import Kernel, check_again, told
from backends.engines._onnxruntime import FixedSession
from backends.engines.onnxruntime import OnnxRuntimeEngine
from backends.engines.openvino import OpenVinoEngine
from bench import audit, parts, queries, recipes
from bench.audit import kernels
from results.executed import share_at
from results.record import Kernels
from tests.fakes.fake_workloads import FakeProject
from workloads.contract import Model, TensorSpec, Workload

CPU = Device("cpu", "CPU", {"onnxruntime": "CPUExecutionProvider", "openvino": "CPU"})
BOTH = pytest.mark.parametrize("engine", [OnnxRuntimeEngine(), OpenVinoEngine()], ids=lambda one: str(one.name))


def event(op: str, ts: int, dur: int, *types: str, name: str = "") -> dict[str, Any]:
    args = {"op_name": op, "input_type_shape": [{kind: [1]} for kind in types]}
    return {"cat": "Node", "name": f"{name or op}_kernel_time", "ts": ts, "dur": dur, "args": args}


@pytest.mark.parametrize(
    ("op", "types", "precision"),
    [
        ("QLinearConv", ("uint8", "float", "uint8"), "int8"),
        ("QGemm", ("int8",), "int8"),
        ("DynamicQuantizeMatMul", ("float", "float"), "int8"),
        ("MatMulIntegerToFloat", ("uint8", "int8"), "int8"),
        ("Conv", ("float", "float"), "fp32"),
        ("FusedMatMul", ("float16", "float16"), "fp16"),
        ("Gemm", ("bfloat16",), "bf16"),
        ("Softmax", ("float",), ""),
        ("QLinearAdd", ("uint8",), ""),
        ("MatMul", ("int32",), ""),
        ("MatMul", (), ""),
    ],
)
def test_a_kernel_computes_in_what_its_operator_or_its_first_input_says(
    op: str, types: tuple[str, ...], precision: str
) -> None:
    assert _ort_profile.precision_of(event(op, 0, 1, *types)["args"]) == precision


@given(st.sampled_from([2, 4, 8]), st.sampled_from([16, 32, 64, 128]), st.integers(1, 40), st.integers(0, 7))
def test_the_width_of_packed_weights_is_that_of_their_blocks(width: int, block: int, blocks: int, short: int) -> None:
    """The last block of a row may have too few."""
    rows = block * blocks - short
    shapes = [{"float": [1, 5, rows]}, {"uint8": [3, blocks, block * width // 8]}, {"float": [3, blocks]}]
    assert _ort_profile.weights_of({"op_name": "MatMulNBits", "input_type_shape": shapes}) == f"int{width} weights"


def test_weights_that_a_kernel_has_packed_for_itself_are_not_guessed_at() -> None:
    hidden = {"op_name": "MatMulNBits", "input_type_shape": [{"float": [1, 128]}, {"float": [128, 4]}]}
    assert _ort_profile.weights_of(hidden) == ""


def test_kernels_are_those_of_the_last_run_and_times_the_least_of_all() -> None:
    runs = [
        [{"cat": "Session", "name": "model_run", "ts": start, "dur": 90}, event("Conv", start + 1, dur, "float")]
        for start, dur in ((0, 50), (100, 7), (200, 9))
    ]
    load = {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 1}
    last = _ort_profile.last_run([load, *(one for run in runs for one in run)])
    assert [(one["ts"], one["dur"]) for one in last] == [(201, 7)]


def test_shares_are_of_the_time_of_all_kernels_and_counts_of_products_only() -> None:
    found = told("a profile", [Kernel("Conv", "int8", 60), Kernel("Conv", "fp32", 20), Kernel("Softmax", "", 20)])
    assert found.kernels == {"int8": 1, "fp32": 1}
    assert found.names == {"Conv": 2, "Softmax": 1}
    assert found.share == pytest.approx({"int8": 0.6, "fp32": 0.2})


def test_one_kernel_without_a_time_leaves_no_shares() -> None:
    assert told("a profile", [Kernel("Conv", "int8", 60), Kernel("Conv", "int8")]).share is None


def test_a_profile_without_products_proves_nothing() -> None:
    with pytest.raises(Unsupported, match="a profile names no matrix product and no convolution"):
        told("a profile", [Kernel("TRTKernel_graph_0", "", 100)])


@pytest.mark.parametrize(
    ("counts", "share", "precision", "expected"),
    [
        ({"int8": 3, "fp32": 1}, None, "int8", 0.75),
        ({"int8": 3, "fp32": 1}, {"int8": 0.2, "fp32": 0.6}, "int8", 0.75),
        ({"int8": 1, "fp32": 3}, {"int8": 0.6, "fp32": 0.2}, "int8", 0.75),
        ({"int4 weights": 19, "fp32": 7}, {"int4 weights": 0.4, "fp32": 0.1}, "int4", 0.8),
        ({"int8": 1, "uint8": 1}, None, "int8", 1.0),
        ({"bf16": 2}, None, "fp32", 0.0),
        ({}, None, "fp32", None),
    ],
)
def test_the_share_at_a_precision_is_of_products_by_time_or_by_number_whichever_is_more(
    counts: dict[str, int], share: dict[str, float] | None, precision: str, expected: float | None
) -> None:
    missing = {} if share else {"time_share": "no times"}
    found = Kernels(source="a profile", kernels=counts, names=counts, time_share=share, missing=missing)
    assert share_at(found, precision) == (None if expected is None else pytest.approx(expected))


@pytest.fixture
def session() -> Iterator[Callable[..., tuple[Workload, Session]]]:
    opened: list[Session] = []

    def compiled(engine: Engine, technique: str = "none", **options: str) -> tuple[Workload, Session]:
        recipe = recipes.parse(technique)
        workload = recipe.of(parts.find(Workload, "digits-small"))
        plan = Plan(recipe.precision or "fp32", 4, "latency", options={"threads": "1", **options})
        opened.append(engine.compile(workload.calibrated(), plan, CPU))
        return workload, opened[-1]

    yield compiled
    for one in opened:
        one.close()


@BOTH
@pytest.mark.parametrize(("technique", "precision"), [("none", "fp32"), ("int8-static", "int8")])
def test_engines_prove_what_they_compute_in(session: Any, engine: Engine, technique: str, precision: str) -> None:
    workload, compiled = session(engine, technique)
    found = kernels.executed(workload, compiled, 4)
    assert set(found["kernels"]) == {precision}
    assert 3 <= found["kernels"][precision] <= 4, "convolutions and the last layer"
    assert 0 < found["time_share"][precision] <= 1
    assert found["missing"] == {}
    Kernels.model_validate(found)


def test_a_quantised_file_whose_operators_are_not_fused_computes_in_fp32(session: Any) -> None:
    """What the file holds proves nothing: without fusion int8 is widened before each kernel."""
    found = kernels.executed(*session(OnnxRuntimeEngine(), "int8-static", graph_optimization="off"), 4)
    assert set(found["kernels"]) == {"fp32"}


def test_values_on_a_device_are_profiled_too(session: Any) -> None:
    workload, bound = session(OnnxRuntimeEngine(), "int8-static", io_binding="on")
    assert set(kernels.executed(workload, bound, 4)["kernels"]) == {"int8"}


def test_a_session_of_fixed_addresses_is_profiled_too(session: Any) -> None:
    import onnxruntime

    workload, plain = session(OnnxRuntimeEngine())
    fixed = FixedSession(
        onnxruntime.OrtValue, plain._session, workload.model(), ("cpu", 0), 4, plain.facts, plain._profiler
    )
    assert set(kernels.executed(workload, fixed, 4)["kernels"]) == {"fp32"}


@BOTH
def test_the_timed_session_answers_as_before_and_no_trace_is_left(
    session: Any, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    workload, compiled = session(engine)
    (query,) = queries.rotation(workload, 4)[:1]
    before = compiled.get(compiled.run(compiled.put(query)))
    kernels.executed(workload, compiled, 4)
    after = compiled.get(compiled.run(compiled.put(query)))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not list(tmp_path.iterdir())


@BOTH
@pytest.mark.parametrize("width", [4, 8])
def test_weights_that_stay_packed_are_told_by_their_width(engine: Engine, width: int, tmp_path: Path) -> None:
    compiled = engine.compile(packed(tmp_path, width), Plan("fp32", 1, "latency", options={"threads": "1"}), CPU)
    found = compiled.executed(compiled.put({"x": np.ones((1, 64), np.float32)}))
    compiled.close()
    assert found.kernels == {f"int{width} weights": 1}


def packed(folder: Path, width: int) -> Model:
    """One product with 64 x 32 weights in blocks of 32, as ONNX Runtime's MatMulNBits keeps them."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(0).integers(0, 256, (32, 2, 32 * width // 8), np.uint8)
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.full((32, 2), 0.01, np.float32), "s")]
    sizes = {"K": 64, "N": 32, "bits": width, "block_size": 32}
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **sizes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])
    asked = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "packed", [given], [asked], tensors)
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path := folder / "packed.onnx")
    specs = (TensorSpec("x", "float32", (None, 64)),), (TensorSpec("y", "float32", (None, 32)),)
    return Model("packed", "0", *specs, origin=str(path), given={"onnx": path})


def facts(compile_ns: int) -> Facts:
    return Facts({}, Placement("cpu", 1.0, "it says so"), import_ns=0, load_ns=None, compile_ns=compile_ns)


def test_what_took_long_to_compile_is_not_compiled_again(tmp_path: Path) -> None:
    (path := tmp_path / "m.onnx").write_bytes(b"0")
    check_again(facts(9_000_000_000), path, 10.0)
    with pytest.raises(Unsupported, match="compiling took 11 s: too long to do it again for a profile"):
        check_again(facts(11_000_000_000), path, 10.0)


def test_what_does_not_fit_twice_is_not_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8000 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(_executed, "MEMINFO", tmp_path / "meminfo")
    (path := tmp_path / "m.onnx").write_bytes(bytes(1 << 19))
    check_again(facts(0), path, 10.0)
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    with pytest.raises(Unsupported, match="2 MiB of memory are left: too few for a second session"):
        check_again(facts(0), path, 10.0)


def test_counts_come_without_a_second_compilation_where_that_is_dear(session: Any) -> None:
    workload, compiled = session(OpenVinoEngine())
    compiled.facts = replace(compiled.facts, compile_ns=60_000_000_000)
    found = kernels.executed(workload, compiled, 4)
    assert set(found["kernels"]) == {"fp32"}
    assert (found["time_share"], found["missing"]) == (None, {"time_share": "the profile has no times"})


def test_an_engine_that_does_not_tell_is_evidence_that_is_missing() -> None:
    class Silent(Session):
        def run(self, values: Any) -> Any:
            return values

    workload = FakeProject()
    witness = queries.Witness(workload, 1, "fp32", 0)
    found = audit.asked(audit.after(workload, Silent(), 1, witness, 0.0))
    assert found["kernels"] is None
    assert found["missing"]["kernels"] == "the engine does not tell what it executed"
