"""torch that trains: for real on this processor, and on a GPU that is played by torch's own operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import Device, Plan, Session, Unsupported
from backends.cpu import CpuBackend
from backends.engines import torch as engine_module
from backends.engines.torch import TorchEngine
from bench import training, worker
from bench.audit import kernels
from bench.protocol import Effort, Job
from tests.fakes.fake_torch_cuda import Gpu
from workloads.contract import Model, Workload
from workloads.models.bytelm import ByteLMSmall
from workloads.models.digits import DigitsSmall
from workloads.models.resnet8 import ResNet8

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]
CPU = Device("cpu", "CPU", {"torch": "cpu"})
CUDA = Device("cuda", "NVIDIA Fake", {"torch": "cuda:0"})
FAKED = pytest.mark.support("cuda", "torch", level="fake", on="torch.cuda played on a processor")
ONE = {"threads": "1"}
Opened = Callable[..., Session]


@pytest.fixture(autouse=True)
def brief_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PROOF_S", 0.0)


def taught(workload: Workload) -> Model:
    return replace(workload.model(), objective=workload.objective())


@pytest.fixture
def opened() -> Any:
    sessions: list[Session] = []

    def open_one(workload: Workload, precision: str = "fp32", device: Device = CPU, **options: str) -> Session:
        plan = Plan(precision, 4, "throughput", "train", {**(ONE if device is CPU else {}), **options})
        sessions.append(TorchEngine().compile(taught(workload), plan, device))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    import torch

    played = Gpu(torch)
    played.install(monkeypatch)
    for name, fake in {
        "is_bf16_supported": lambda *_, **__: True,
        "reset_peak_memory_stats": lambda where: played.log.append("peak forgotten"),
        "max_memory_allocated": lambda where: 123_456,
    }.items():
        assert hasattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(engine_module, "_where", lambda torch, address: torch.device("cpu"))
    return played


def proved(session: Session, workload: Workload) -> dict[str, Any]:
    told: dict[str, Any] = training.proof(session, training.batches_of(workload, 4)[0])["training"]
    return told


@pytest.mark.parametrize("workload", [DigitsSmall(), ByteLMSmall(), ResNet8()], ids=lambda one: one.card.name)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_parameter_learns_from_its_own_gradient(opened: Opened, workload: Workload, precision: str) -> None:
    told = proved(opened(workload, precision), workload)
    assert told["loss_after"] < 0.995 * told["loss_before"]
    assert told["parameters"] == told["reached"] == told["changed"] == workload.card.parameters


def test_a_new_network_knows_nothing_and_is_the_same_in_every_session(opened: Opened) -> None:
    batch = training.batches_of(DigitsSmall(), 4)[0]
    first, second = (training.proof(opened(DigitsSmall()), batch)["training"] for _ in range(2))
    assert first == second
    assert first["loss_before"] == pytest.approx(np.log(10), rel=0.1)


def test_the_first_loss_is_the_cross_entropy_of_the_untrained_network(opened: Opened) -> None:
    import torch

    batch = training.batches_of(ByteLMSmall(), 4)[0]
    torch.manual_seed(0)
    logits = ByteLMSmall().net()(torch.from_numpy(batch["text"].copy()), 256).detach().double().numpy()
    chosen = np.take_along_axis(logits, batch["next"][..., None], axis=2)[..., 0]
    right = float((np.log(np.exp(logits).sum(axis=2)) - chosen).mean())
    session = opened(ByteLMSmall())
    loss = session.get(session.run(session.put(batch)))["loss"]
    assert loss.shape == (1,)
    assert float(loss[0]) == pytest.approx(right, rel=1e-5)


def test_a_frozen_layer_and_one_that_nothing_leads_to_are_told(opened: Opened) -> None:
    session: Any = opened(DigitsSmall())
    module = session._forward._module
    module[0].weight.requires_grad_(False)
    told = proved(session, DigitsSmall())
    assert told["parameters"] - told["reached"] == module[0].weight.numel()
    assert told["parameters"] - told["changed"] == module[0].weight.numel()


def test_autocast_is_seen_in_what_runs(opened: Opened) -> None:
    session = opened(DigitsSmall(), "bf16")
    ran = kernels.of(session, training.batches_of(DigitsSmall(), 4)[0])["kernels"]
    assert ran.get("bf16", 0) > 4
    assert ran["bf16"] > sum(ran.values()) / 2


def test_settings_say_what_makes_a_step(opened: Opened) -> None:
    settings = opened(DigitsSmall(), "bf16").facts.settings
    assert settings["optimiser"] == "AdamW fused"
    assert settings["loss"] == "cross_entropy"
    assert (settings["autocast"], settings["train_batch"], settings["threads"]) == ("bfloat16", 4, 1)
    assert settings["mode"] == "eager, train"


def test_a_batch_without_its_targets_is_refused(opened: Opened) -> None:
    session = opened(DigitsSmall())
    batch = training.batches_of(DigitsSmall(), 4)[0]
    with pytest.raises(ValueError, match="must be x, label"):
        session.put({"x": batch["x"]})
    with pytest.raises(ValueError, match="label is float32"):
        session.put({**batch, "label": batch["label"].astype(np.float32)})


@pytest.mark.parametrize(
    ("precision", "options", "why"),
    [
        ("fp16", {}, "does not compute in fp16 here"),
        ("fp32", {"mode": "graphs"}, "option mode=graphs is none of eager, compile"),
        ("fp32", {"streams": "2"}, "torch has no option streams"),
    ],
)
def test_what_it_cannot_do_in_training_it_refuses(
    opened: Opened, precision: str, options: dict[str, str], why: str
) -> None:
    with pytest.raises(Unsupported, match=why):
        opened(DigitsSmall(), precision, **options)


def test_a_network_that_comes_as_a_graph_alone_is_not_trained() -> None:
    model = replace(taught(DigitsSmall()), net=None)
    with pytest.raises(Unsupported, match="comes as an ONNX file, which torch cannot train"):
        TorchEngine().compile(model, Plan("fp32", 4, "throughput", "train", ONE), CPU)


@FAKED
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_gpu_is_waited_for_in_each_stage(opened: Opened, gpu: Gpu, precision: str) -> None:
    session = opened(DigitsSmall(), precision, CUDA)
    assert gpu.log.count("peak forgotten") == 1
    batch = training.batches_of(DigitsSmall(), 4)[0]
    gpu.log.clear()
    values = session.run(session.put(batch))
    assert gpu.log == ["synchronized", "recorded", "recorded", "synchronized"]
    assert gpu.pinned == len(batch)
    assert session.device_ns() is not None
    assert session.enqueue_ns() is not None
    assert np.isfinite(session.get(values)["loss"]).all()
    assert session.device_peak_bytes() == 123_456
    told = proved(session, DigitsSmall())
    assert told["loss_after"] < 0.999 * told["loss_before"]
    assert told["changed"] == DigitsSmall.card.parameters
    assert session.facts.settings["gradient_scaler"] == (precision == "fp16")


def test_a_whole_item_is_proved_and_timed(tmp_path: Path) -> None:
    import torch

    device = CpuBackend().probe().devices[0]
    job = Job(
        workload="digits-small", technique="none", precision="fp32", batch="32", scenario="train_steps", goal="",
        backend="cpu", device=device.name, engine="torch", effort=Effort(0.1, 0.1, 10, 0.5), seed=1, mode="train",
        samples_path=str(tmp_path / "samples.i64"), options=ONE,
    )  # fmt: skip
    result = list(worker.events(job))[-1]
    assert result["event"] == "result", result
    assert result["window"]["query_samples"] == 32
    assert result["evidence"]["training"]["changed"] == 4218
    kernels = result["evidence"]["kernels"]["kernels"]
    assert list(kernels) == ["fp32"]
    assert kernels["fp32"] > 4, "three convolutions and a product forward, and more backward"
    assert [path.name for path in tmp_path.iterdir()] == ["samples.i64"], "nothing of the weights is kept"
    assert torch.is_grad_enabled()
