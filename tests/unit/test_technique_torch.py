"""Techniques on torch: layers that torchao quantises for real, and what torch's own profile says they execute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backends.contract import Device, Plan, Session, Unsupported
from backends.engines._torch_profile import executed, held_bytes, told
from backends.engines.torch import TorchEngine
from tests.fakes.fake_torch_cuda import Gpu, semi_structured
from workloads.contract import Model, TensorSpec
from workloads.forms import _semistructured, _torchao
from workloads.models.digits import DigitsSmall
from workloads.techniques.fp8 import Fp8
from workloads.techniques.prune_2to4 import PruneTwoOfFour

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]
CPU = Device("cpu", "CPU", {"torch": "cpu"})
WIDTH, TALL = 64, 128
FP32_BYTES = 4 * (2 * WIDTH * TALL + TALL + WIDTH)
Opened = Callable[..., Session]


def mlp():
    import torch

    torch.manual_seed(1)
    layers = torch.nn.Linear(WIDTH, TALL), torch.nn.ReLU(), torch.nn.Linear(TALL, WIDTH)
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


def model(kind: str = "", net: Callable = mlp) -> Model:
    ends = (TensorSpec("x", "float32", (None, WIDTH)),), (TensorSpec("y", "float32", (None, WIDTH)),)
    plain = Model("mlp", "0", *ends, origin="mlp", made={"torch": net})
    if not kind:
        return plain
    made = {"torch": lambda: _torchao.converted(plain, kind)}
    return plain.treated(kind, precision=kind.partition("-")[0], made=made)


@pytest.fixture
def opened() -> Opened:
    sessions = []

    def open_one(kind: str = "", precision: str = "", **options: str) -> Session:
        made = model(kind)
        plan = Plan(precision or made.precision, 8, "latency", options=options)
        sessions.append(TorchEngine().compile(made, plan, CPU))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


def error(session: Session) -> float:
    """Of 8 samples against float64, by the largest value."""
    import torch

    x = np.random.default_rng(1).standard_normal((8, WIDTH)).astype(np.float32)
    right = mlp().double()(torch.from_numpy(x).double()).numpy()
    found = session.get(session.run(session.put({"x": x})))["y"]
    assert found.dtype == np.float32
    return float(abs(found - right).max() / abs(right).max())


def zeros(session: Session):
    return session.put({"x": np.zeros((8, WIDTH), np.float32)})


@pytest.mark.parametrize(
    ("kind", "precision", "least", "most", "kernels"),
    [
        ("", "fp32", 0, 1e-6, {"fp32": 2}),
        ("", "bf16", 1e-4, 2e-2, {"bf16": 2}),
        ("int8-dynamic", "int8", 1e-4, 4e-2, {"int8": 2}),
        ("int8-weights", "int8", 1e-4, 2e-2, {"fp32": 2}),
    ],
)
def test_a_precision_is_in_the_answers_and_in_the_profile(
    opened: Opened, kind, precision, least, most, kernels
) -> None:
    """torchao's int8 weights are widened before they are multiplied: that saves memory, and no arithmetic."""
    session = opened(kind, precision)
    assert least <= error(session) <= most
    ran = session.executed(zeros(session))
    assert (ran.source, ran.kernels) == ("torch.profiler", kernels)
    assert ran.names.keys() <= {"aten::addmm", "aten::mm", "aten::_int_mm"}
    assert 0 < sum(ran.share.values()) <= 1
    assert session.facts.settings["dtype"] == ("bfloat16" if precision == "bf16" else "float32")


@pytest.mark.parametrize("kind", ["int8-dynamic", "int8-weights"])
def test_quantised_weights_take_a_byte_each_and_their_scales(opened: Opened, kind: str) -> None:
    rows = TALL + WIDTH
    assert opened().weights_bytes == FP32_BYTES
    assert opened(precision="bf16").weights_bytes == FP32_BYTES // 2
    assert opened(kind).weights_bytes == 2 * WIDTH * TALL + rows * (4 + 1) + 4 * rows


def test_tied_weights_are_held_once() -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    net.register_buffer("count", torch.zeros(3, dtype=torch.int64))
    assert held_bytes(net) == 4 * 16 + 8 * 3


def test_quantising_leaves_the_fp32_network_as_it_was() -> None:
    import torch

    plain = model()
    _torchao.converted(plain, "int8-weights").place(torch.device("cpu"), torch.float32)
    assert held_bytes(plain.form("torch")) == FP32_BYTES


def test_compiled_it_is_int8_still(opened: Opened) -> None:
    session = opened("int8-dynamic", mode="compile", compile_cache="on")
    assert 1e-4 <= error(session) <= 4e-2
    assert session.executed(zeros(session)).kernels == {"int8": 2}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("int4-weights", "no int4 kernel for a CPU: use --engine onnxruntime or openvino"),
        ("fp8", "no fp8 kernel for a CPU: use int8-dynamic"),
    ],
)
def test_what_a_processor_has_no_kernel_for_is_refused(opened: Opened, kind: str, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        opened(kind)


@pytest.mark.support("cuda", "torch", level="fake", on="torch.cuda played on a processor")
@pytest.mark.parametrize(
    ("kind", "capability", "config"),
    [
        ("fp8", (8, 0), "needs a GPU of compute capability 8.9, and this one has 8.0"),
        ("fp8", (8, 9), "Float8DynamicActivationFloat8WeightConfig"),
        ("int4-weights", (7, 5), "needs a GPU of compute capability 8.0, and this one has 7.5"),
        ("int4-weights", (8, 0), "Int4WeightOnlyConfig"),
    ],
)
def test_a_gpu_is_asked_what_it_can(monkeypatch: pytest.MonkeyPatch, kind: str, capability, config: str) -> None:
    import torch

    gpu = Gpu(torch)
    gpu.capability = capability
    gpu.install(monkeypatch)
    if "needs" in config:
        with pytest.raises(Unsupported, match=config):
            _torchao.CONFIGS[kind](torch.device("cuda"))
    else:
        assert type(_torchao.CONFIGS[kind](torch.device("cuda"))).__name__ == config


def test_without_linear_layers_there_is_nothing_to_quantise() -> None:
    digits = DigitsSmall().model()
    treated = digits.treated(
        "int8", precision="int8", made={"torch": lambda: _torchao.converted(digits, "int8-dynamic")}
    )
    with pytest.raises(Unsupported, match=r"nothing worth quantising in digits-small.*use int8-static"):
        TorchEngine().compile(treated, Plan("int8", 1, "latency"), CPU)


def test_a_precision_that_no_technique_made_is_refused() -> None:
    with pytest.raises(Unsupported, match="only in fp32 or bf16: others need a quantised network: --technique"):
        TorchEngine().compile(model(), Plan("int8", 1, "latency"), CPU)


def test_a_technique_that_makes_a_graph_has_no_module() -> None:
    graph = DigitsSmall().model().treated("int8-static", precision="int8", net=None, made={"onnx": Path})
    with pytest.raises(Unsupported, match="int8-static makes a graph, which torch cannot run: use int8-dynamic"):
        graph.form("torch")


def test_fp8_comes_in_no_graph() -> None:
    with pytest.raises(Unsupported, match="no graph is written in fp8: use --engine torch"):
        Fp8().treat(DigitsSmall().model()).form("onnx")


def test_fusion_is_a_mode() -> None:
    assert TorchEngine().options_for("fusion=off") == {"mode": "eager"}
    assert TorchEngine().options_for("fusion=compile") == {"mode": "compile"}
    with pytest.raises(Unsupported, match="torch has no setting for cores=few"):
        TorchEngine().options_for("cores=few")


def test_a_pruned_graph_and_its_module_are_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    pruned = PruneTwoOfFour().treat(DigitsSmall().model())
    inputs = DigitsSmall().samples("perf", 4, 0).inputs
    (right,) = onnxruntime.InferenceSession(str(pruned.form("onnx"))).run(None, dict(inputs))
    session = TorchEngine().compile(pruned, Plan("fp32", 4, "latency"), CPU)
    found = session.get(session.run(session.put(inputs)))["logits"]
    session.close()
    assert np.allclose(found, right, atol=1e-4)
    again = replace(pruned, origin="digits-small", made={})
    assert not np.allclose(again.form("torch")(*map(_tensor, inputs.values())).numpy(), right, atol=1e-2)


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


@pytest.mark.support("cuda", "torch", level="fake", on="torch.cuda played on a processor")
def test_only_layers_with_the_pattern_and_of_the_right_shape_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from workloads.techniques._sparsity import two_of_four

    packed = []
    monkeypatch.setattr(
        torch.sparse, "to_sparse_semi_structured", lambda weight: packed.append(made := semi_structured(weight)) or made
    )
    layers = [torch.nn.Linear(64, 32), torch.nn.Linear(32, 32), torch.nn.Linear(64, 32)]
    for layer in layers[:2]:
        layer.weight = torch.nn.Parameter(torch.from_numpy(two_of_four(layer.weight.detach().numpy())))
    net = torch.nn.Sequential(*layers).half().requires_grad_(False)
    before = copy.deepcopy(net)
    _semistructured.pack(net)
    assert len(packed) == 1  # the second is too narrow, and the third would lose weights
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


def test_a_module_without_a_product_has_no_precision_to_tell() -> None:
    import torch

    with pytest.raises(Unsupported, match="shows no matrix product"):
        executed(lambda: torch.nn.ReLU()(torch.ones(2)))


def event(name: str, *types: str, device_us: float = 0.0, on: str = "CPU", children=()) -> SimpleNamespace:
    """As torch.profiler's events are: https://docs.pytorch.org/docs/stable/profiler.html."""
    times = {"cpu_time_total": 10.0, "self_cpu_time_total": 10.0, "device_time_total": device_us}
    device = {"self_device_time_total": device_us, "device_type": SimpleNamespace(name=on)}
    return SimpleNamespace(name=name, input_dtypes=list(types), cpu_children=list(children), **times, **device)


def test_on_a_gpu_time_is_the_kernels_and_counted_once() -> None:
    inner = event("aten::mm", "c10::Half", "c10::Half", device_us=60)
    outer = event("aten::linear", "c10::Half", "c10::Half", device_us=0, children=[inner])
    packed = event("aten::_weight_int4pack_mm", "c10::BFloat16", "int", device_us=20)
    other = [event("aten::gelu", "c10::Half", device_us=20), event("at::native::gemm", device_us=60, on="CUDA")]
    found = told([outer, inner, packed, *other])
    assert found.kernels == {"fp16": 1, "int4 weights": 1}
    assert found.share == {"fp16": 0.6, "int4 weights": 0.2}
    assert found.names == {"aten::mm": 1, "aten::_weight_int4pack_mm": 1}
