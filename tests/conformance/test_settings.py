"""The settings that this repository's engines choose on a CPU, and what they say when they cannot be used."""

from __future__ import annotations

from importlib import metadata

import pytest

from backends._cores import Cores
from backends.contract import Device, Plan, Unsupported
from backends.engines import _tuning
from backends.engines._tuning import Spread, spread
from backends.engines.onnxruntime import OnnxRuntimeEngine
from backends.engines.openvino import OpenVinoEngine
from backends.engines.reference import ReferenceEngine
from backends.engines.torch import TorchEngine
from tests.conformance.conftest import Adapter

CPU = Device(
    "cpu", "CPU", {"onnxruntime": "CPUExecutionProvider", "openvino": "CPU", "torch": "cpu", "reference": "numpy"}
)
CUDA = Device("cuda", "GPU", {"onnxruntime": "CUDAExecutionProvider:0", "torch": "cuda:0"})


@pytest.mark.parametrize(
    ("goal", "options", "expected"),
    [
        ("latency", {}, Spread(8, 1)),
        ("throughput", {}, Spread(1, 8)),
        ("latency", {"threads": "2"}, Spread(2, 1)),
        ("latency", {"streams": "2"}, Spread(4, 2)),
        ("throughput", {"threads": "4"}, Spread(4, 2)),
        ("throughput", {"threads": "16"}, Spread(16, 1)),
        ("throughput", {"streams": "3"}, Spread(2, 3)),
        ("throughput", {"threads": "1", "streams": "2"}, Spread(1, 2)),
        ("latency", {"streams": "16"}, Spread(1, 16)),
    ],
)
def test_spread(monkeypatch: pytest.MonkeyPatch, goal: str, options: dict[str, str], expected: Spread) -> None:
    monkeypatch.setattr(_tuning, "usable", lambda: Cores(8, 16, tuple(range(16))))
    assert spread(Plan("fp32", 1, goal, options=options)) == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", " 2", "²", "99999999"])
@pytest.mark.parametrize("option", ["threads", "streams"])
def test_bad_count_is_unsupported(option: str, value: str) -> None:
    with pytest.raises(Unsupported, match=option):
        spread(Plan("fp32", 1, "latency", options={option: value}))


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine(), OpenVinoEngine(), ReferenceEngine(), TorchEngine()])
def test_unknown_option_names_the_known_ones(engine) -> None:
    known = {"reference": "none", "torch": "streams, threads"}.get(engine.name, "threads")
    with pytest.raises(Unsupported, match=known):
        engine.compile(None, Plan("fp32", 1, "latency", options={"thread": "1"}), CPU)


def versions(monkeypatch: pytest.MonkeyPatch, **known: str) -> None:
    def version(name: str) -> str:
        if name.replace("-", "_") not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name.replace("-", "_")]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("known", "device", "state", "says"),
    [
        ({}, CPU, "absent", ".[cpu]"),
        ({}, CUDA, "absent", ".[cuda]"),
        ({"onnxruntime": "1.31.1"}, CPU, "present", ""),
        ({"onnxruntime_gpu": "1.31.1"}, CPU, "present", ""),
        ({"onnxruntime_gpu": "1.31.1"}, CUDA, "present", ""),
        ({"onnxruntime": "1.31.1"}, CUDA, "absent", "onnxruntime-gpu"),
        ({"onnxruntime": "1.31.1", "onnxruntime_gpu": "1.31.1"}, CPU, "broken", "pip uninstall"),
        ({"onnxruntime_gpu": "1.31.1", "onnxruntime_openvino": "1.24.1"}, CPU, "broken", "pip uninstall"),
        (
            {"onnxruntime": "1.31.1", "onnxruntime_qnn": "1.24.0"},
            CPU,
            "broken",
            "onnxruntime and onnxruntime-qnn are installed together",
        ),
        ({"onnxruntime": "1.31.1", "onnxruntime_qnn": "2.7.0"}, CPU, "present", ""),
        ({"onnxruntime_qnn": "2.7.0"}, CPU, "absent", ".[cpu]"),
        ({"onnxruntime_directml": "1.24.4"}, CPU, "present", ""),
        ({"onnxruntime": "1.20.0"}, CPU, "broken", "1.24"),
        ({"onnxruntime": "1.31.1"}, Device("tpu", "TPU", {}), "absent", "TPU"),
    ],
)
def test_onnxruntime_available(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, str], device: Device, state: str, says: str
) -> None:
    versions(monkeypatch, **known)
    monkeypatch.setattr(_tuning, "find_spec", lambda name: object())
    presence = OnnxRuntimeEngine().available(device)
    assert presence.state == state
    assert says in f"{presence.reason} {presence.remedy}"


@pytest.mark.parametrize("engine", [OpenVinoEngine(), ReferenceEngine(), TorchEngine()])
def test_missing_package_has_a_remedy(monkeypatch: pytest.MonkeyPatch, engine) -> None:
    monkeypatch.setattr(_tuning, "find_spec", lambda name: None)
    presence = engine.available(CPU)
    assert presence.state == "absent"
    assert "pip install -e" in presence.remedy


@pytest.mark.engines("onnxruntime", "openvino", "torch")
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_goal_chooses_threads_and_streams(adapter: Adapter, network, goal: str) -> None:
    chosen = spread(Plan("fp32", 1, goal))
    session = adapter.compile(network("pair").model, goal=goal)
    settings = session.facts.settings
    assert (settings["threads"], settings["streams"], session.inflight) == (
        chosen.threads,
        chosen.streams,
        chosen.streams,
    )


@pytest.mark.engines("onnxruntime", "openvino", "torch")
def test_options_override(adapter: Adapter, network) -> None:
    session = adapter.compile(network("pair").model, threads="1", streams="3")
    settings = session.facts.settings
    assert (settings["threads"], settings["streams"], session.inflight) == (1, 3, 3)


@pytest.mark.engines("openvino")
@pytest.mark.parametrize(("precision", "hint"), [("fp32", "f32"), ("bf16", "bf16"), ("fp16", "f16")])
def test_openvino_reads_its_precision_back(adapter: Adapter, network, precision: str, hint: str) -> None:
    try:
        settings = adapter.compile(network("convolution").model, precision).facts.settings
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert settings["INFERENCE_PRECISION_HINT"] == hint
    assert settings["PERFORMANCE_HINT"] == "LATENCY"
    reduced = {"bf16", "f16"} & {part.partition(":")[0] for part in str(settings["layer_types"]).split()}
    assert reduced == {hint} - {"f32"}


@pytest.mark.engines("openvino")
def test_openvino_shapes(adapter: Adapter, network) -> None:
    net = network("pair")
    session = adapter.compile(net.model, batch=2)
    assert session.facts.settings["static_shapes"] is True
    with pytest.raises(RuntimeError):
        session.run(session.put(net.inputs(3, 1)))
    free = adapter.compile(net.model, batch=2, dynamic_shapes="on")
    assert free.facts.settings["static_shapes"] is False
    assert len(free.get(free.run(free.put(net.inputs(3, 1))))["total"]) == 3


@pytest.mark.engines("onnxruntime")
@pytest.mark.parametrize("spinning", ["on", "off"])
@pytest.mark.parametrize("level", ["off", "basic", "extended", "all"])
def test_onnxruntime_options(adapter: Adapter, network, spinning: str, level: str) -> None:
    settings = adapter.compile(network("pair").model, spinning=spinning, graph_optimization=level).facts.settings
    assert settings["spinning"] is (spinning == "on")
    assert settings["graph_optimization"] == level
    assert settings["arm64_bf16_gemm"] is False
    assert settings["providers"] == "CPUExecutionProvider"


@pytest.mark.engines("onnxruntime")
@pytest.mark.parametrize("option", ["spinning", "graph_optimization"])
def test_onnxruntime_bad_choice(adapter: Adapter, network, option: str) -> None:
    with pytest.raises(Unsupported, match=option):
        adapter.compile(network("pair").model, **{option: "maybe"})


@pytest.mark.engines("onnxruntime")
def test_onnxruntime_placement_counts_nodes(adapter: Adapter, network) -> None:
    proof = adapter.compile(network("convolution").model).facts.placement.proof
    name, count = proof.rpartition(": ")[2].split()
    assert name == "CPUExecutionProvider"
    assert 1 <= int(count) <= 4


@pytest.mark.engines("torch")
def test_torch_gives_the_process_its_threads_back(adapter: Adapter, network) -> None:
    import torch

    before = torch.get_num_threads()
    adapter.close(adapter.compile(network("pair").model, threads=str(before + 1)))
    assert torch.get_num_threads() == before
    assert torch.get_float32_matmul_precision() == "highest"
