"""The protocol with TensorRT 11 and the CUDA runtime, played strictly; no GPU was ever here (docs/targets/cuda.md)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from queue import Queue

import numpy as np
import onnx
import pytest

from backends import _cache
from backends.contract import Device, Plan, Session, Unsupported
from backends.engines import tensorrt as engine_module
from backends.engines._cudart import CudaError
from backends.engines.tensorrt import TensorRtEngine
from bench import parts
from tests.conformance import tiny
from tests.fakes.fake_tensorrt import BuilderFlag, Machine
from workloads import weights
from workloads.contract import Model, TensorSpec, Workload

pytestmark = pytest.mark.support("cuda", "tensorrt", level="fake", on="TensorRT 11.1's calls as its binding has them")
GPU = Device("cuda", "NVIDIA Fake", {"tensorrt": "cuda:0"})
SECOND = Device("cuda", "NVIDIA Fake", {"tensorrt": "cuda:1"})
Opened = Callable[..., Session]


@cache
def _ort(path: str):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def computed(path: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return _ort(path).run(None, inputs)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine(computed)
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def opened(machine: Machine) -> Opened:
    sessions = []

    def open_one(
        model: Model,
        precision: str = "fp32",
        batch: int = 1,
        goal: str = "latency",
        device: Device = GPU,
        **options: str,
    ) -> Session:
        sessions.append(TensorRtEngine().compile(model, Plan(precision, batch, goal, options=options), device))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


def net(name: str) -> tiny.Tiny:
    return tiny.make(name, tiny.folder())


def answer(session: Session, arrays):
    return session.get(session.run(session.put(arrays)))


def close_to(outputs, golden, tolerance: float = 1e-5) -> bool:
    return list(outputs) == list(golden) and all(
        outputs[key].shape == right.shape and np.allclose(outputs[key], right, atol=tolerance * abs(right).max())
        for key, right in golden.items()
    )


@pytest.mark.parametrize("pinned", ["on", "off"])
@pytest.mark.parametrize("device", [GPU, SECOND])
@pytest.mark.parametrize("name", ["convolution", "pair", "walk"])
def test_answers_of_a_fixed_batch(opened: Opened, machine: Machine, name: str, device: Device, pinned: str) -> None:
    session = opened(net(name).model, batch=3, device=device, pinned=pinned)
    for seed in range(3):
        arrays = net(name).inputs(3, seed)
        assert close_to(answer(session, arrays), net(name).answer(arrays))
    assert set(machine.cuda.copies) == {"pinned" if pinned == "on" else "pageable"}


def test_free_sizes_are_taken_up_to_the_most(opened: Opened) -> None:
    session = opened(net("sequence").model, batch=2, free_max="9")
    for seed in (0, 1, 2):
        arrays = net("sequence").inputs(2, seed)
        assert close_to(answer(session, arrays), net("sequence").answer(arrays))
    small = opened(net("sequence").model, batch=2, free_max="8")
    with pytest.raises(ValueError, match=r"x may not be of shape \(2, 9, 8\)"):
        answer(small, net("sequence").inputs(2, 1))
    arrays = net("sequence").inputs(2, 0)
    assert close_to(answer(small, arrays), net("sequence").answer(arrays))


def test_outputs_and_inputs_outlive_the_next_run(opened: Opened) -> None:
    session = opened(net("pair").model, batch=2)
    first, second = (net("pair").inputs(2, seed) for seed in (1, 2))
    sent = session.put(first)
    outputs = session.run(sent)
    for _ in range(4):
        answer(session, second)
    assert close_to(session.get(outputs), net("pair").answer(first))
    assert close_to(session.get(session.run(sent)), net("pair").answer(first))


def test_inputs_of_one_size_do_not_share_their_way(opened: Opened, tmp_path: Path) -> None:
    """What is under way to the GPU is not written to, though the next input would fit there."""
    floats = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "abcdy"]
    nodes = [onnx.helper.make_node("Sum", list("abcd"), ["y"])]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "sum", floats[:4], floats[4:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(proto, tmp_path / "sum.onnx")
    specs = [TensorSpec(name, "float32", (None, 2)) for name in "abcdy"]
    session = opened(Model("sum", "sum", tuple(specs[:4]), tuple(specs[4:]), str(tmp_path / "sum.onnx")))
    arrays = {name: np.full((1, 2), 10.0**place, np.float32) for place, name in enumerate("abcd")}
    assert answer(session, arrays)["y"].tolist() == [[1111.0, 1111.0]]


def test_throughput_overlaps_two_runs_on_streams_of_their_own(opened: Opened, machine: Machine) -> None:
    session = opened(net("convolution").model, goal="throughput")
    assert session.inflight == len(machine.cuda.streams) == 2
    replies: Queue = Queue()
    queries = [net("convolution").inputs(1, seed) for seed in range(32)]
    for number, arrays in enumerate(queries):
        session.submit(session.put(arrays), lambda values, error, number=number: replies.put((number, values, error)))
    for number, values, error in [replies.get(timeout=30) for _ in queries]:
        assert error is None
        assert close_to(session.get(values), net("convolution").answer(queries[number]))


def test_everything_is_given_back(machine: Machine) -> None:
    session = TensorRtEngine().compile(net("pair").model, Plan("fp32", 2, "throughput"), GPU)
    kept = session.run(session.put(net("pair").inputs(2, 1)))
    session.get(kept)
    session.close()
    assert machine.cuda.memory, "what somebody still holds stays"
    del kept
    gc.collect()
    assert (machine.cuda.memory, machine.cuda.streams, machine.cuda.events) == ({}, {}, set())


def test_memory_is_asked_for_once(opened: Opened, machine: Machine) -> None:
    session = opened(net("pair").model, batch=2)
    answer(session, net("pair").inputs(2, 0))
    blocks = set(machine.cuda.memory)
    for seed in range(5):
        answer(session, net("pair").inputs(2, seed))
    assert set(machine.cuda.memory) == blocks


def test_a_full_gpu_says_so(opened: Opened, machine: Machine) -> None:
    session = opened(net("pair").model, batch=2)
    machine.cuda.limit = 8
    with pytest.raises(CudaError, match="cudaMalloc: out of memory"):
        session.put(net("pair").inputs(2, 1))


def test_the_gpu_tells_its_time(opened: Opened) -> None:
    session = opened(net("pair").model)
    assert session.device_ns() is session.enqueue_ns() is None
    answer(session, net("pair").inputs(1, 1))
    assert session.device_ns() == 2_000_000
    assert session.enqueue_ns() > 0


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True), ("fp16", False)])
def test_tf32_is_set_or_cleared_and_read_back(opened: Opened, machine: Machine, precision: str, tf32: bool) -> None:
    session = opened(parts.find(Workload, "kws").model(), precision)
    assert session.facts.settings["tf32"] is machine.config.get_flag(BuilderFlag.TF32) is tf32
    assert session.facts.settings["precision"] == precision


@pytest.mark.parametrize(
    ("precision", "form"),
    [("fp32", "onnx"), ("tf32", "onnx"), ("fp16", "onnx_fp16"), ("bf16", "onnx_bf16"), ("int8", "onnx_qdq_symmetric")],
)
def test_the_precision_lies_in_the_graph(precision: str, form: str) -> None:
    assert TensorRtEngine().form_for(precision) == form


def test_a_graph_in_fp16_takes_and_gives_fp32(opened: Opened) -> None:
    workload = parts.find(Workload, "kws")
    session = opened(workload.model(), "fp16", batch=2)
    samples, golden = workload.samples("perf", 2, 0).inputs, workload.golden().outputs
    outputs = answer(session, samples)
    assert close_to(outputs, {key: value[:2] for key, value in golden.items()}, 1e-2)
    assert {value.dtype.name for value in outputs.values()} == {"float32"}
    assert session.facts.settings["layer_types"] == "Half 1"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_an_older_gpu_refuses_what_it_lacks(opened: Opened, machine: Machine, precision: str) -> None:
    machine.cuda.capability = (7, 5)
    with pytest.raises(Unsupported, match=rf"7\.5 has no {precision}"):
        opened(parts.find(Workload, "kws").model(), precision)


def test_other_precisions_and_options_are_refused(opened: Opened) -> None:
    with pytest.raises(Unsupported, match="fp8"):
        opened(net("pair").model, "fp8")
    with pytest.raises(Unsupported, match="no option thread"):
        opened(net("pair").model, thread="1")
    with pytest.raises(Unsupported, match="optimization_level=6"):
        opened(net("pair").model, optimization_level="6")


def test_options_reach_the_builder(opened: Opened, machine: Machine) -> None:
    settings = opened(net("pair").model, optimization_level="5", workspace_mib="64").facts.settings
    assert (settings["optimization_level"], settings["workspace_bytes"]) == (5, 64 << 20)
    assert settings["engine_bytes"] == len(b"engine")


def test_timings_are_kept_for_this_gpu_and_release(opened: Opened, machine: Machine, tmp_path: Path) -> None:
    states = [opened(net("pair").model).facts.settings["timing_cache"] for _ in range(2)]
    (path,) = (tmp_path / "cache/tensorrt").iterdir()
    assert path.name == "NVIDIA_Fake_0-11.1.0.106.timings"
    machine.header = b"another driver:"
    states.append(opened(net("pair").model).facts.settings["timing_cache"])
    machine.header = b"NVIDIA Fake 1:"
    states.append(opened(net("pair").model, device=SECOND).facts.settings["timing_cache"])
    states.append(opened(net("pair").model, timing_cache="off").facts.settings["timing_cache"])
    assert states == ["new", "used", "new", "new", "off"]
    assert len(list(path.parent.iterdir())) == 2
    assert machine.config.get_flag(BuilderFlag.DISABLE_TIMING_CACHE)


def test_both_rooms_agree_on_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELMARK_CACHE", raising=False)
    assert _cache.cache_root({}) == weights.cache_root()
    monkeypatch.setenv("ACCELMARK_CACHE", "/elsewhere")
    assert _cache.cache_root({"ACCELMARK_CACHE": "/elsewhere"}) == weights.cache_root()


def test_an_operator_that_it_lacks_is_unsupported(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot run the graph: NobodyHasThis no importer"):
        opened(tiny.unknown_operator(tmp_path))


def test_a_file_that_is_no_graph_is_a_fault(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    broken = Model("broken", "broken", (), (), str(path))
    with pytest.raises(RuntimeError, match=r"cannot read broken\.onnx"):
        opened(broken)


def fixed(folder: Path, name: str, batch: int) -> Model:
    """`pair` made for one batch."""
    source = net("pair").model
    proto = onnx.load(source.form("onnx"))
    for one in (*proto.graph.input, *proto.graph.output):
        one.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(proto, folder / f"{name}.onnx")
    return Model(name, name, source.inputs, source.outputs, str(folder / f"{name}.onnx"))


def test_a_graph_of_one_batch_takes_that(opened: Opened, tmp_path: Path) -> None:
    model = fixed(tmp_path, "two", 2)
    arrays = net("pair").inputs(2, 1)
    assert close_to(answer(opened(model, batch=2), arrays), net("pair").answer(arrays))
    with pytest.raises(Unsupported, match="made for a batch of 2, not of 3"):
        opened(model, batch=3)


@pytest.mark.parametrize(("fails", "says"), [("build", "built no engine"), ("run", "did not start the run")])
def test_faults_of_tensorrt_are_said(opened: Opened, machine: Machine, fails: str, says: str) -> None:
    machine.fails = fails
    with pytest.raises(RuntimeError, match=says):
        answer(opened(net("pair").model), net("pair").inputs(1, 1))


def test_inputs_that_say_shapes_are_refused(opened: Opened, machine: Machine) -> None:
    machine.on_host = ("index",)
    with pytest.raises(Unsupported, match="index says a shape"):
        opened(net("pair").model)


def test_types_that_differ_are_refused(opened: Opened) -> None:
    source = net("pair").model
    other = replace(source, inputs=(source.inputs[0], TensorSpec("index", "int32", (None, 3))))
    with pytest.raises(Unsupported, match="TensorRT has index as int64, and the network as int32"):
        opened(other)


def test_bad_inputs_are_refused_and_the_session_goes_on(opened: Opened) -> None:
    session = opened(net("pair").model, batch=2)
    for wrong in (net("pair").inputs(3, 1), {"scale": net("pair").inputs(2, 1)["scale"]}):
        with pytest.raises(ValueError, match="must be"):
            session.put(wrong)
    arrays = net("pair").inputs(2, 1)
    assert close_to(answer(session, arrays), net("pair").answer(arrays))


def test_placement_is_the_engine_s(opened: Opened) -> None:
    placement = opened(net("pair").model).facts.placement
    assert (placement.share, placement.proof) == (
        1.0,
        "7 layers built for NVIDIA Fake 0; TensorRT runs none on the host",
    )


@pytest.mark.parametrize(
    ("known", "state", "says"),
    [
        ({}, "absent", "needs the package tensorrt"),
        ({"tensorrt": "11.4.0.106", "tensorrt-cu13": "11.4", "cuda-bindings": "13.0.3"}, "present", ""),
        ({"tensorrt": "10.16.1.11", "tensorrt-cu13": "10.16"}, "broken", "tensorrt 10.16.1.11 is not 11"),
        ({"tensorrt": "11.4.0.106"}, "absent", "cuda-bindings"),
        (
            {"tensorrt-cu13": "11.4", "tensorrt-cu13-bindings": "11.4"},
            "broken",
            "--extra-index-url https://pypi.nvidia.com",
        ),
    ],
)
def test_half_installed_states(monkeypatch, known: dict[str, str], state: str, says: str) -> None:
    monkeypatch.setattr(engine_module, "installed", known.get)
    monkeypatch.setattr("backends.engines._tuning.find_spec", lambda name: object() if known else None)
    presence = TensorRtEngine().available(GPU)
    assert presence.state == state
    assert says in f"{presence.reason} {presence.remedy}"


def test_other_devices_are_not_reached() -> None:
    assert TensorRtEngine().available(Device("cpu", "CPU", {})).state == "absent"
