"""The int8 graph: what is quantised how, that it is the same each time, and that nothing else changes the answers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import parts
from workloads.contract import Model, Samples, TensorSpec, Unsupported, Workload
from workloads.forms import onnx_qdq
from workloads.forms._prepared import fold_batch_normalization, prepared

onnx = pytest.importorskip("onnx")
Arrays = Mapping[str, np.ndarray]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(graph: Any, inputs: Arrays) -> list[np.ndarray]:
    import onnxruntime

    model = graph if isinstance(graph, str) else graph.SerializeToString()
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, dict(inputs))


def noise_db(workload: Workload, outputs: list[np.ndarray]) -> float:
    """Signal to noise against golden."""
    (golden,) = workload.golden().outputs.values()
    return float(10 * np.log10((golden**2).sum() / ((outputs[0] - golden) ** 2).sum()))


def golden_inputs(workload: Workload) -> Arrays:
    return workload.samples("perf", len(next(iter(workload.golden().outputs.values()))), 0).inputs


@pytest.mark.parametrize(
    ("name", "floor_db"), [("kws", 27), ("resnet8", 27), ("autoencoder", 19), ("digits-small", 35)]
)
def test_answers_stay_near_and_free_sizes_free(name: str, floor_db: float) -> None:
    workload = parts.find(Workload, name)
    path = str(workload.calibrated().form("onnx_qdq"))
    inputs = golden_inputs(workload)
    together = answers(path, inputs)
    assert noise_db(workload, together) > floor_db
    alone = answers(path, {key: array[:1] for key, array in inputs.items()})
    assert np.allclose(alone[0], together[0][:1], atol=1e-5)


def test_every_layer_is_int8_by_channel() -> None:
    graph = onnx.load(parts.find(Workload, "kws").calibrated().form("onnx_qdq")).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert not kinds.keys() - {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm", "ReduceMean"}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    for layer in (node for node in graph.node if node.op_type in ("Conv", "Gemm")):
        value, weight = makers[layer.input[0]], makers[layer.input[1]]
        assert constants[value.input[2]].dtype == np.uint8
        weights, scale, zero = (constants[name] for name in weight.input)
        assert (weights.dtype, weight.attribute[0].name) == (np.int8, "axis")
        assert scale.shape == (weights.shape[weight.attribute[0].i],)
        assert not zero.any()


def test_ranges_are_those_of_the_calibration_samples() -> None:
    workload = parts.find(Workload, "kws")
    graph = onnx.load(workload.calibrated().form("onnx_qdq")).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first = next(node for node in graph.node if node.input[0] == "mfcc")
    seen = workload.samples("calibration", onnx_qdq.SAMPLES, 0).inputs["mfcc"]
    assert constants[first.input[1]] == pytest.approx((seen.max() - seen.min()) / 255, rel=1e-6)


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    model = parts.find(Workload, "resnet8").calibrated()
    inputs = model.calibration(8).inputs
    for name in "ab":
        onnx_qdq.quantise(model.form("onnx"), tmp_path / name, inputs)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = parts.find(Workload, "digits-small")
    path = workload.calibrated().form("onnx_qdq")
    monkeypatch.setattr(onnx_qdq, "quantise", lambda *given: pytest.fail("made a second time"))
    assert workload.calibrated().form("onnx_qdq") == path
    monkeypatch.setattr(onnx_qdq, "quantise", lambda path, to, inputs, rows: to.write_text("anew"))
    other = replace(workload.calibrated(), digest="other").form("onnx_qdq")
    assert (other != path, other.read_text()) == (True, "anew")


def test_without_samples_it_says_so() -> None:
    with pytest.raises(Unsupported, match="kws cannot be quantised to int8: nobody gave samples"):
        parts.find(Workload, "kws").model().form("onnx_qdq")


def test_without_its_packages_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = parts.find(Workload, "kws").calibrated()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unsupported, match="needs the package onnxruntime: pip"):
        model.form("onnx_qdq")
    monkeypatch.setattr(metadata, "version", _raise_not_found)
    with pytest.raises(Unsupported, match=r"needs the package onnx: pip install -e '\.\[model\]'"):
        model.form("onnx_qdq")


def _raise_not_found(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_other_samples_make_another_file() -> None:
    workload = parts.find(Workload, "digits-small")
    model = workload.model()
    paths = [
        replace(model, calibration=lambda n, seed=seed: workload.samples("calibration", n, seed)).form("onnx_qdq")
        for seed in (0, 1)
    ]
    assert paths[0] != paths[1]


@pytest.mark.parametrize("name", ["autoencoder", "kws"])
def test_folding_changes_no_answer(name: str) -> None:
    workload = parts.find(Workload, name)
    path, inputs = workload.model().form("onnx"), golden_inputs(workload)
    folded = prepared(path, "onnx_qdq", onnx_qdq.LAYERS)
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    before, after = answers(str(path), inputs), answers(folded, inputs)
    assert abs(before[0] - after[0]).max() < 1e-5 * abs(before[0]).max()


def dense(reads_twice: bool, transposed: int, **attributes: float) -> Any:
    """A dense layer, a BatchNormalization behind it, and perhaps another reader of the layer."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(6, 4) if transposed else (4, 6)), "b": rng.normal(size=6)}
    arrays |= {name: rng.uniform(0.5, 2, 6) for name in ("scale", "shift", "mean", "variance")}
    make = onnx.helper.make_node
    nodes = [
        make("Gemm", ["x", "w", "b"], ["h"], transB=transposed, **attributes),
        make("BatchNormalization", ["h", "scale", "shift", "mean", "variance"], ["n"], epsilon=1e-3),
        make("Add", ["n", "h" if reads_twice else "n"], ["y"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["batch", size]) for name, size in (("x", 4), ("y", 6))]
    weights = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "dense", ends[:1], ends[1:], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("proto", "folded"),
    [
        (dense(False, 1), True),
        (dense(False, 0), True),
        (dense(True, 1), False),
        (dense(False, 1, alpha=2.0), False),
        (dense(False, 1, beta=0.5), False),
    ],
)
def test_only_what_may_be_folded_is(proto: Any, folded: bool) -> None:
    x = {"x": np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)}
    before = answers(proto, x)
    fold_batch_normalization(proto.graph)
    assert ("BatchNormalization" not in {node.op_type for node in proto.graph.node}) is folded
    assert np.allclose(answers(proto, x)[0], before[0], rtol=1e-5, atol=1e-5)


def test_a_graph_of_one_batch_is_calibrated_in_it(tmp_path: Path) -> None:
    proto = dense(False, 1)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(proto, tmp_path / "three.onnx")
    samples = Samples({"x": np.random.default_rng(2).normal(size=(64, 4)).astype(np.float32)})
    specs = (TensorSpec("x", "float32", (3, 4)),), (TensorSpec("y", "float32", (3, 6)),)
    model = Model("three", "three", *specs, str(tmp_path / "three.onnx"), calibration=lambda n: samples.take(slice(n)))
    x = {"x": samples.inputs["x"][:3]}
    right = answers(proto, x)[0]
    assert abs(answers(str(model.form("onnx_qdq")), x)[0] - right).max() < 0.05 * abs(right).max()
