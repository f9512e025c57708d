"""ONNX Runtime's sessions that keep values on the device, on the one that is always here, and what a GPU is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from backends._providers import addressed
from backends.contract import Device, Plan, Session, Unsupported
from backends.engines import _onnxruntime
from backends.engines._onnxruntime import BoundSession, FixedSession, HostSession
from backends.engines.onnxruntime import OnnxRuntimeEngine, _told
from tests.conformance import tiny

ENGINE = OnnxRuntimeEngine()
CPU = Device("cpu", "CPU", {"onnxruntime": "CPUExecutionProvider"})
CUDA = addressed("CUDAExecutionProvider:1")
Arrays = Mapping[str, np.ndarray]
FAKED = pytest.mark.support(
    "cuda", "onnxruntime", level="fake", on="its sessions of fixed addresses and its provider's options on a processor"
)


def answer(session: Session, arrays: Arrays) -> Arrays:
    return session.get(session.run(session.put(arrays)))


def compiled(net: tiny.Tiny, batch: int = 1, goal: str = "latency", **options: str) -> Session:
    return ENGINE.compile(net.model, Plan("fp32", batch, goal, options=options), CPU)


def fixed(net: tiny.Tiny, batch: int = 1) -> FixedSession:
    """What a CUDA graph runs through, on the CPU."""
    import onnxruntime

    plain = compiled(net, batch)
    session = plain._session
    return FixedSession(onnxruntime.OrtValue, session, net.model, ("cpu", 0), batch, plain.facts)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", tiny.NAMES)
def test_bound_values_give_the_same_answers(name: str, batch: int, tmp_path: Path) -> None:
    net = tiny.make(name, tmp_path)
    plain, bound = compiled(net, batch), compiled(net, batch, io_binding="on")
    assert isinstance(plain, HostSession)
    assert isinstance(bound, BoundSession)
    assert (plain.facts.settings["io_binding"], bound.facts.settings["io_binding"]) == (False, True)
    for seed in range(4):
        arrays = net.inputs(batch, seed)
        ours, theirs = answer(plain, arrays), answer(bound, arrays)
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


@FAKED
@pytest.mark.parametrize("name", ["convolution", "pair", "walk"])
def test_fixed_addresses_give_the_same_answers(name: str, tmp_path: Path) -> None:
    net = tiny.make(name, tmp_path)
    plain, session = compiled(net, 2), fixed(net, 2)
    asked = [net.inputs(2, seed) for seed in range(4)]
    put = [session.put(arrays) for arrays in asked]
    kept = [session.run(values) for values in put]
    for arrays, values in zip(asked, kept, strict=True):
        right = answer(plain, arrays)
        assert all(np.array_equal(array, right[key]) for key, array in session.get(values).items())


@FAKED
def test_a_graph_needs_fixed_sizes(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cuda_graph=on needs fixed sizes, and axis 1 of x is free"):
        fixed(tiny.make("sequence", tmp_path))


@FAKED
def test_a_graph_runs_one_at_a_time(tmp_path: Path) -> None:
    import onnxruntime

    net = tiny.make("pair", tmp_path)
    plain = compiled(net, streams="2")
    with pytest.raises(Unsupported, match="streams=2"):
        FixedSession(onnxruntime.OrtValue, plain._session, net.model, ("cpu", 0), 1, plain.facts)


@pytest.mark.parametrize("make", [lambda net: compiled(net, 2, io_binding="on"), lambda net: fixed(net, 2)])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: {"scale": good["scale"]},
        lambda good: {**good, "nobody": good["scale"]},
        lambda good: {**good, "index": good["index"].astype(np.int32)},
        lambda good: {**good, "scale": good["scale"][:, :5]},
        lambda good: {**good, "scale": good["scale"].astype(np.float64)},
    ],
)
def test_bad_input_is_refused_and_the_session_lives_on(make, spoil, tmp_path: Path) -> None:
    net = tiny.make("pair", tmp_path)
    session, good = make(net), net.inputs(2, 1)
    with pytest.raises(ValueError, match="must be"):
        answer(session, spoil(good))
    assert np.allclose(answer(session, good)["total"], net.answer(good)["total"], rtol=1e-5, atol=1e-6)


@FAKED
def test_another_batch_than_the_captured_one_is_refused(tmp_path: Path) -> None:
    net = tiny.make("pair", tmp_path)
    session = fixed(net, 2)
    with pytest.raises(Exception, match=r"size|shape"):
        answer(session, net.inputs(3, 1))


def test_bound_outputs_outlive_the_next_runs_and_strided_inputs_are_taken(tmp_path: Path) -> None:
    net = tiny.make("convolution", tmp_path)
    session = compiled(net, 3, io_binding="on")
    first = net.inputs(3, 1)
    strided = {"image": np.repeat(first["image"], 2, axis=3)[..., ::2]}
    values = session.run(session.put(strided))
    for seed in range(2, 8):
        answer(session, net.inputs(3, seed))
    right = net.answer(first)["scores"]
    assert np.allclose(session.get(values)["scores"], right, rtol=1e-5, atol=1e-6)


@FAKED
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_host_threads_are_for_the_cpu(goal: str) -> None:
    from backends.engines.onnxruntime import _load

    asked = {"threads": "3", "streams": "2"}
    assert _load(Plan("fp32", 1, goal), CUDA) == _load(Plan("fp32", 1, goal, options={"threads": "1"}), CUDA)
    chosen = _load(Plan("fp32", 1, goal, options=asked), CUDA)
    assert (chosen.threads, chosen.streams) == (3, 2)


@FAKED
@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("tf32", "1"), ("fp16", "0"), ("bf16", "0")])
def test_a_gpu_computes_in_tf32_only_where_that_was_asked_for(precision: str, tf32: str) -> None:
    told = _told(Plan(precision, 1, "latency"), CUDA).options
    assert (told["use_tf32"], told["device_id"]) == (tf32, "1")
    assert (told["cudnn_conv_algo_search"], told["enable_cuda_graph"]) == ("EXHAUSTIVE", "0")


@FAKED
def test_options_of_a_gpu() -> None:
    asked = {"cudnn_conv_algo_search": "heuristic", "cuda_graph": "on"}
    told = _told(Plan("fp32", 1, "latency", options=asked), CUDA).options
    assert (told["cudnn_conv_algo_search"], told["enable_cuda_graph"]) == ("HEURISTIC", "1")
    with pytest.raises(Unsupported, match="cudnn_conv_algo_search=best"):
        _told(Plan("fp32", 1, "latency", options={"cudnn_conv_algo_search": "best"}), CUDA)


@pytest.mark.parametrize("option", ["cuda_graph", "cudnn_conv_algo_search"])
def test_options_of_a_gpu_are_none_of_the_cpu(option: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=f"no option {option}"):
        compiled(tiny.make("pair", tmp_path), **{option: "on"})


@FAKED
def test_a_build_without_cuda_says_so_before_it_computes_elsewhere(tmp_path: Path) -> None:
    device = Device("cuda", "GPU", {"onnxruntime": "CUDAExecutionProvider:0"})
    with pytest.raises(Unsupported, match="no CUDAExecutionProvider"):
        ENGINE.compile(tiny.make("pair", tmp_path).model, Plan("fp32", 1, "latency"), device)


@FAKED
def test_a_provider_that_does_not_load_is_a_failure_and_no_run_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a GPU build whose cuDNN is missing: listed as available, then left out of the session."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    device = Device("cuda", "GPU", {"onnxruntime": "CUDAExecutionProvider:0"})
    with pytest.warns(UserWarning, match="not in available"), pytest.raises(RuntimeError, match="did not load"):
        ENGINE.compile(tiny.make("pair", tmp_path).model, Plan("fp32", 1, "latency"), device)


def test_a_run_that_fails_on_its_provider_is_not_done_again_on_the_cpu(tmp_path: Path) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    net = tiny.make("pair", tmp_path)
    session = compiled(net)
    real = session._session._sess

    class Broken:
        def run(self, *given: object) -> None:
            raise EPFail("the device is gone")

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    session._session._sess = Broken()
    with pytest.raises(EPFail, match="the device is gone"):
        answer(session, net.inputs(1, 1))


@FAKED
def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    device = Device("cuda", "GPU", {"onnxruntime": "CUDAExecutionProvider:0"})
    plan = Plan("fp32", 1, "latency", options={"cuda_graph": "on", "io_binding": "off"})
    with pytest.raises(Unsupported, match="io_binding=off"):
        ENGINE.compile(tiny.make("pair", tmp_path).model, plan, device)


def half_graph(path: Path, kind: int) -> Path:
    """x in fp32, cast to `kind`, times a matrix of that type, and back."""
    from onnx import TensorProto, helper, save

    matrix = np.random.default_rng(0).normal(size=(64, 64))
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=kind),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in "xy"]
    graph = helper.make_graph(
        nodes, "half", ends[:1], ends[1:], [helper.make_tensor("w", kind, (64, 64), matrix.ravel())]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_why_the_cpu_provider_has_no_fp16(tmp_path: Path) -> None:
    """It computes such a graph in fp32 on x86: without any rounding of the inputs, even. Remove the refusal if not."""
    import platform

    import onnxruntime
    from onnx import TensorProto, load, numpy_helper

    if platform.machine() != "x86_64":
        pytest.skip("other processors have kernels for fp16")
    path = half_graph(tmp_path / "half.onnx", TensorProto.FLOAT16)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    matrix = numpy_helper.to_array(load(path).graph.initializer[0]).astype(np.float64)
    assert abs(session.run(None, {"x": x})[0] - x @ matrix).max() < 1e-4


def test_owners_are_those_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime": "1.31.1", "onnxruntime-qnn": "2.7.0", "onnxruntime-rocm": "1.22.0"}
    monkeypatch.setattr(_onnxruntime, "installed", there.get)
    assert _onnxruntime.owners() == {"onnxruntime": "1.31.1", "onnxruntime-rocm": "1.22.0"}
    presence = _onnxruntime.usable("onnxruntime", "cpu")
    assert presence.state == "broken"
    assert "pip uninstall -y onnxruntime onnxruntime-rocm" in presence.remedy
