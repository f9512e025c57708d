"""torch compiled by Inductor for real, and on a GPU that is played by torch's own operators on the processor."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from queue import Queue

import numpy as np
import pytest

from backends import _cuda
from backends.contract import Device, Plan, Presence, Session, Unsupported
from backends.engines import torch as engine_module
from backends.engines._torch_modes import compiled
from backends.engines.torch import TorchEngine
from tests.conformance import tiny
from tests.fakes.fake_torch_cuda import Gpu

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),  # Inductor's own, as it is imported
]
FAKED = pytest.mark.support("cuda", "torch", level="fake", on="torch.cuda played on a processor")
CPU = Device("cpu", "CPU", {"torch": "cpu"})
CUDA = Device("cuda", "NVIDIA Fake", {"torch": "cuda:0"})
Opened = Callable[..., Session]


@pytest.fixture
def opened() -> Opened:
    sessions = []

    def open_one(name: str, precision: str = "fp32", batch: int = 1, goal: str = "latency", device=CPU, **options: str):
        plan = Plan(precision, batch, goal, options=options)
        sessions.append(TorchEngine().compile(tiny.make(name, tiny.folder()).model, plan, device))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    import torch

    played = Gpu(torch)
    played.install(monkeypatch)
    monkeypatch.setattr(engine_module, "_where", lambda torch, address: torch.device("cpu"))
    yield played
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


def net(name: str) -> tiny.Tiny:
    return tiny.make(name, tiny.folder())


def answer(session: Session, arrays):
    return session.get(session.run(session.put(arrays)))


def check(session: Session, name: str, batch: int, error_max: float = 1e-5, seeds: range = range(3)) -> None:
    for seed in seeds:
        arrays = net(name).inputs(batch, seed)
        outputs, golden = answer(session, arrays), net(name).answer(arrays)
        assert list(outputs) == list(golden)
        for key, right in golden.items():
            assert outputs[key].shape == right.shape
            assert float(abs(outputs[key] - right).max()) <= error_max * float(abs(right).max())


def overlap(session: Session, name: str) -> None:
    replies: Queue = Queue()
    for seed in range(16):
        session.submit(
            session.put(net(name).inputs(1, seed)), lambda values, error, seed=seed: replies.put((seed, values, error))
        )
    for seed, values, error in [replies.get(timeout=30) for _ in range(16)]:
        assert error is None
        golden = net(name).answer(net(name).inputs(1, seed))
        assert all(np.allclose(value, golden[key], atol=1e-5) for key, value in session.get(values).items())


def graphs_compiled() -> int:
    import torch

    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_compiled_once_for_the_batch_and_never_in_a_run(opened: Opened) -> None:
    before = graphs_compiled()
    session = opened("pair", batch=3, mode="compile")
    assert graphs_compiled() == before + 1
    check(session, "pair", 3)
    overlap(opened("walk", mode="compile", streams="2", threads="1"), "walk")
    assert graphs_compiled() == before + 2
    settings = session.facts.settings
    assert (settings["mode"], settings["tune"], settings["compile_cache"]) == (
        "compile, inference_mode",
        "default",
        False,
    )
    with pytest.raises(ValueError, match="must be float32"):
        session.put(net("pair").inputs(2, 1))
    eager = opened("pair", batch=3)
    assert session.facts.compile_ns > 10 * eager.facts.compile_ns


def test_compiled_in_bf16(opened: Opened) -> None:
    session = opened("walk", "bf16", mode="compile", compile_cache="on")
    check(session, "walk", 1, error_max=6e-2)
    assert session.facts.settings["compile_cache"] is True


def test_nothing_of_an_uncached_compilation_stays(opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {name: os.environ.get(name) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    opened("walk", mode="compile")
    assert not list(tmp_path.glob("accelmark-*"))
    assert {name: os.environ.get(name) for name in before} == before


def test_sessions_share_no_limit_of_recompilation() -> None:
    import torch

    with torch._dynamo.config.patch(recompile_limit=1):
        for size in (2, 3, 4):
            module = torch.nn.Linear(size, 1).requires_grad_(False)
            ones = torch.ones(1, size)
            fast = compiled(torch, module, [ones], "default", keep=True)
            with torch.inference_mode():
                assert torch.allclose(fast(ones), module(ones))


def test_a_run_that_compiles_again_fails() -> None:
    import torch

    fast = compiled(torch, torch.nn.ReLU(), [torch.ones(1, 2)], "default", keep=True)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="compiled the network again in a run"):
        fast(torch.ones(5, 2))


def test_a_network_that_cannot_be_traced_is_unsupported() -> None:
    import torch

    class Broken(torch.nn.Module):
        def forward(self, x):
            torch._dynamo.graph_break()
            return x + 1

    with pytest.raises(Unsupported, match="torch cannot compile the network as a whole"):
        compiled(torch, Broken(), [torch.ones(1)], "default", keep=True)


def test_without_a_compiler_it_says_so(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unsupported, match=r"mode=compile needs a compiler, and there is no no-such-compiler"):
        opened("pair", mode="compile")


@FAKED
def test_without_triton_a_gpu_is_not_compiled_for(gpu: Gpu, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.engines._torch_modes.find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="needs the package triton"):
        opened("pair", device=CUDA, mode="compile")


def test_a_network_that_makes_its_own_weights_is_asked_to(opened: Opened) -> None:
    """Large ones come as what places them: their weights are never in the host's memory."""
    import torch

    source, asked = net("pair").model, []

    class Recipe:
        def place(self, device, dtype):
            asked.append((device, dtype))
            return copy.deepcopy(source.form("torch")).to(dtype)

    recipe = replace(source, makers={"torch": Recipe})
    session = TorchEngine().compile(recipe, Plan("bf16", 1, "latency"), CPU)
    check(session, "pair", 1, error_max=6e-2)
    session.close()
    assert asked == [(torch.device("cpu"), torch.bfloat16)]


@FAKED
@pytest.mark.parametrize("mode", ["compile", "graphs"])
def test_a_free_size_needs_eager(gpu: Gpu, opened: Opened, monkeypatch, mode: str) -> None:
    monkeypatch.setattr(engine_module, "refuse_without_compiler", lambda kind: None)
    with pytest.raises(Unsupported, match=f"mode={mode} is made for one shape, and x has a size that is free"):
        opened("sequence", device=CUDA, mode=mode)


@FAKED
@pytest.mark.parametrize(
    ("device", "option", "says"),
    [
        (CPU, {"mode": "graphs"}, "mode=graphs is none of eager, compile"),
        (CPU, {"pinned": "on"}, "no option pinned"),
        (CUDA, {"threads": "2"}, "no option threads"),
        (CPU, {"mode": "compile", "tune": "hard"}, "tune=hard is none of default, max-autotune"),
        (CUDA, {"pinned": "maybe"}, "pinned=maybe is none of on, off"),
    ],
)
def test_options_belong_to_a_device(gpu: Gpu, opened: Opened, device, option, says) -> None:
    with pytest.raises(Unsupported, match=says):
        opened("pair", device=device, **option)


@FAKED
@pytest.mark.parametrize("pinned", ["on", "off"])
@pytest.mark.parametrize("mode", ["eager", "graphs"])
@pytest.mark.parametrize("name", ["convolution", "pair", "walk"])
def test_a_gpu_answers_in_every_mode(gpu: Gpu, opened: Opened, name: str, mode: str, pinned: str) -> None:
    session = opened(name, batch=3, device=CUDA, mode=mode, pinned=pinned)
    check(session, name, 3)
    assert (gpu.pinned > 0) is (pinned == "on")
    assert gpu.log.count("captured") == (mode == "graphs")


@FAKED
def test_outputs_of_a_graph_outlive_the_next_replay(gpu: Gpu, opened: Opened) -> None:
    session = opened("pair", batch=2, device=CUDA, mode="graphs")
    first, second = (net("pair").inputs(2, seed) for seed in (1, 2))
    values = session.run(session.put(first))
    session.run(session.put(second))
    assert np.allclose(session.get(values)["total"], net("pair").answer(first)["total"], atol=1e-5)


@FAKED
def test_a_stage_leaves_nothing_under_way(gpu: Gpu, opened: Opened) -> None:
    session = opened("pair", device=CUDA)
    values = session.put(net("pair").inputs(1, 1))
    outputs = session.run(values)
    session.get(outputs)
    weights, put, run, get = (
        ["device synchronized"],
        ["synchronized"],
        ["recorded"] * 2 + ["synchronized"],
        ["synchronized"],
    )
    assert gpu.log == weights + put + run + get


@FAKED
def test_a_gpu_tells_its_own_time_and_that_of_handing_over(gpu: Gpu, opened: Opened) -> None:
    session = opened("convolution", device=CUDA)
    assert session.device_ns() is session.enqueue_ns() is None
    answer(session, net("convolution").inputs(1, 1))
    assert 0 < session.device_ns() <= session.enqueue_ns() + 1_000_000


@FAKED
@pytest.mark.parametrize(("goal", "streams"), [("latency", 1), ("throughput", 2)])
@pytest.mark.parametrize("mode", ["eager", "graphs"])
def test_throughput_overlaps_two_runs(gpu: Gpu, opened: Opened, goal: str, streams: int, mode: str) -> None:
    session = opened("pair", goal=goal, device=CUDA, mode=mode)
    assert session.inflight == session.facts.settings["streams"] == streams
    assert gpu.log.count("captured") == (streams if mode == "graphs" else 0)
    overlap(session, "pair")


@FAKED
@pytest.mark.parametrize(
    ("precision", "matmul", "cudnn"), [("fp32", "highest", False), ("tf32", "high", True), ("bf16", "highest", False)]
)
def test_tf32_is_a_precision_of_its_own(gpu: Gpu, opened: Opened, precision: str, matmul: str, cudnn: bool) -> None:
    settings = opened("pair", precision, device=CUDA).facts.settings
    assert (settings["float32_matmul_precision"], settings["cudnn_tf32"]) == (matmul, cudnn)
    assert settings["precision"] == precision


@FAKED
@pytest.mark.parametrize(("precision", "refused"), [("tf32", True), ("bf16", True), ("fp16", False), ("fp32", False)])
def test_an_older_gpu_refuses_what_it_lacks(gpu: Gpu, opened: Opened, precision: str, refused: bool) -> None:
    gpu.capability = (7, 5)
    if refused:
        with pytest.raises(Unsupported, match=rf"compute capability 7\.5 has no {precision}"):
            opened("pair", precision, device=CUDA)
    else:
        opened("pair", precision, device=CUDA)


@pytest.mark.parametrize(
    ("version", "device", "state"),
    [("2.13.0+cpu", CUDA, "broken"), ("2.13.0", CUDA, "present"), ("2.13.0+cpu", CPU, "present")],
)
def test_a_build_for_processors_drives_no_gpu(monkeypatch, version: str, device: Device, state: str) -> None:
    monkeypatch.setattr(engine_module, "installed", lambda name: version)
    assert TorchEngine().available(device).state == state


def test_a_driver_too_old_for_torch_is_broken(monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "installed", lambda name: "2.13.0")
    old = Presence("broken", "too old", "update")
    monkeypatch.setattr(_cuda, "too_old", lambda package, cuda: old)
    assert TorchEngine().available(CUDA) is old
    assert TorchEngine().available(CPU).state == "present"
