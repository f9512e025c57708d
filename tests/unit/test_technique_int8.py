"""The int8 techniques on ONNX: what becomes int8, how near the answers stay, what is refused, and what they may see."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import parts, recipes
from workloads.contract import Model, Samples, Split, Technique, TensorSpec, Unsupported, Workload
from workloads.forms import onnx_qdq
from workloads.forms._prepared import prepared
from workloads.treated import Treated

onnx = pytest.importorskip("onnx")
pytest.importorskip("nncf")
Arrays = Mapping[str, np.ndarray]
TECHNIQUES = ("int8-static", "int8-dynamic", "int8-nncf")
CALIBRATED = ("int8-static", "int8-nncf")
SPLITS: tuple[Split, ...] = ("perf", "calibration", "evaluation")
WEIGHTS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
NOTICED = Samples({"x": np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)})


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELMARK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def treated(technique: str, workload: Workload) -> Model:
    return recipes.parse(technique).of(workload).model()


def outputs(path: object, inputs: Arrays) -> list[np.ndarray]:
    import onnxruntime

    model = path.SerializeToString() if hasattr(path, "SerializeToString") else str(path)
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, dict(inputs))


def kernels(path: object, inputs: Arrays) -> Counter[tuple[str, str]]:
    """What OpenVINO runs, by kind of layer and what it computes in."""
    import openvino

    graph = openvino.Core().read_model(str(path))
    graph.reshape({name: list(array.shape) for name, array in inputs.items()})
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    return Counter((str(info["layerType"].value), str(info["runtimePrecision"].value)) for info in infos)


def quality(workload: Workload, path: object) -> float:
    samples = workload.samples("evaluation", 850 if workload.card.name.startswith("digits") else 80, 0)
    answers = dict(zip([spec.name for spec in workload.model().outputs], outputs(path, samples.inputs), strict=True))
    return workload.quality_value(workload.score(answers, samples))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_digits_lose_nothing_and_bytelm_little(technique: str) -> None:
    cases = (("digits-large", 1, 0.002), ("bytelm-small", -1, 0.02))
    for name, better, worst in cases if technique in CALIBRATED else cases[1:]:
        workload = parts.find(Workload, name)
        fp32 = quality(workload, workload.model().form("onnx"))
        int8 = quality(workload, treated(technique, workload).form("onnx"))
        assert better * (fp32 - int8) <= worst, name


@pytest.mark.parametrize("technique", CALIBRATED)
@pytest.mark.parametrize("name", ["digits-small", "bytelm-small"])
def test_openvino_multiplies_every_weight_in_int8(technique: str, name: str) -> None:
    workload = parts.find(Workload, name)
    found = kernels(treated(technique, workload).form("onnx"), workload.samples("perf", 1, 0).inputs)
    layers = {kind for kind in found if kind[0] in ("Convolution", "FullyConnected")}
    assert layers
    assert {precision for _, precision in layers} <= {"i8", "u8"}


def test_onnxruntime_multiplies_in_integers_what_is_quantised_as_it_comes() -> None:
    graph = onnx.load(treated("int8-dynamic", parts.find(Workload, "bytelm-small")).form("onnx")).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["MatMulInteger"] == 13
    assert kinds["MatMul"] == 4  # attention's own products, two in each of two blocks


def test_a_convolutional_network_would_stay_fp32_where_only_products_are_quantised() -> None:
    told = treated("int8-dynamic", parts.find(Workload, "digits-small"))
    with pytest.raises(Unsupported, match=r"digits-small has 15% of its weights in Gemm or MatMul.*use int8-static"):
        told.form("onnx")


def test_of_a_transformer_only_products_and_embeddings_are_quantised() -> None:
    graph = onnx.load(treated("int8-static", parts.find(Workload, "bytelm-small")).form("onnx")).graph
    makers = {node.output[0]: node.op_type for node in graph.node}
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        sources = [makers.get(name) for name in node.input]
        if node.op_type in ("LayerNormalization", "Softmax", "Gelu", "Mul"):
            assert "DequantizeLinear" not in sources, node.op_type
        if node.op_type == "MatMul":
            assert sources == ["DequantizeLinear", "DequantizeLinear"]
    assert constants["bytes.weight_quantized"] == onnx.TensorProto.UINT8


def test_a_mask_is_computed_by_the_engine_and_not_stored() -> None:
    workload = parts.find(Workload, "bytelm-small")
    path, inputs = workload.model().form("onnx"), workload.samples("perf", 2, 0).inputs
    ready = prepared(path, "onnx_qdq", onnx_qdq.LAYERS)
    assert "Trilu" in {node.op_type for node in ready.graph.node}
    assert ready.ByteSize() < 1.1 * workload.card.weight_bytes
    assert np.allclose(outputs(ready, inputs)[0], outputs(path, inputs)[0], atol=1e-4)


def test_resnet50_takes_at_most_27_percent(tmp_path: Path) -> None:
    workload = parts.find(Workload, "resnet50")
    one = workload.samples("calibration", 1, 0).inputs
    onnx_qdq.quantise(workload.model().form("onnx"), tmp_path / "int8.onnx", one)
    assert (tmp_path / "int8.onnx").stat().st_size <= 0.27 * workload.card.weight_bytes


class Watched(Workload):
    """Another workload that notes which of its splits is asked for."""

    def __init__(self, base: Workload) -> None:
        self._base, self.card, self.asked = base, base.card, set[str]()
        self.golden, self.tolerance = base.golden, base.tolerance

    def model(self) -> Model:
        return self._base.model()

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        self.asked.add(split)
        if split != "calibration":
            raise AssertionError(f"a technique asked for samples of {split}")
        return self._base.samples(split, n, seed)


Watched.__abstractmethods__ = frozenset()


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_technique_sees_no_sample_but_those_that_calibrate(technique: str) -> None:
    watched = Watched(parts.find(Workload, "digits-small" if technique in CALIBRATED else "bytelm-small"))
    model = replace(treated(technique, watched), digest=technique)
    model.form("onnx")
    assert watched.asked == ({"calibration"} if technique in CALIBRATED else set())


@pytest.mark.parametrize("found", parts.collect(Technique), ids=lambda found: found.name)
def test_nothing_on_the_shelf_reaches_for_other_samples(
    found: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor does any form that it makes, as nothing is found in a cache."""
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    watched = Watched(parts.find(Workload, "digits-small"))
    with contextlib.suppress(Unsupported):
        model = Treated(watched, [found.part]).model()
        for form in {"onnx", *model.made} - {"torch"}:
            with contextlib.suppress(Unsupported):
                model.form(form)
    assert watched.asked <= {"calibration"}


@pytest.mark.parametrize("found", parts.collect(Workload), ids=lambda found: found.name)
def test_no_sample_is_in_two_splits(found: Any) -> None:
    """Many small samples, or one for each seed where a sample is megabytes."""
    workload = found.part
    count = max(1, min(1024, (4 << 20) // workload.card.io_bytes))
    rows = {split: _rows(workload, split, count) for split in SPLITS}
    assert all(len(hashes) >= 2 for hashes in rows.values())
    for one, other in (("perf", "calibration"), ("perf", "evaluation"), ("calibration", "evaluation")):
        assert not rows[one] & rows[other], f"{one} and {other}"


def _rows(workload: Workload, split: Split, count: int) -> set[str]:
    found = set()
    for seed in range(3):
        samples = workload.samples(split, count, seed)
        for row in range(len(samples)):
            data = b"".join(np.ascontiguousarray(array[row]).tobytes() for array in samples.inputs.values())
            found.add(hashlib.sha256(data).hexdigest())
    return found


def graph(*nodes: Any) -> Any:
    """x (batch, 4) to y (batch, 6) by `nodes`, which may multiply by the constant w (4, 6)."""
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["batch", size]) for name, size in (("x", 4), ("y", 6))]
    weights = [onnx.numpy_helper.from_array(WEIGHTS, "w")]
    body = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def product() -> Any:
    return graph(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]))


def elementwise() -> Any:
    make = onnx.helper.make_node
    return graph(make("Concat", ["x", "x"], ["d"], axis=1), make("Relu", ["d"], ["r"]), *_halved(make))


def _halved(make: Any) -> list[Any]:
    from onnx import numpy_helper

    bounds = [("begin", 0), ("end", 6), ("axis", 1)]
    told = [
        make("Constant", [], [name], value=numpy_helper.from_array(np.array([value]), name)) for name, value in bounds
    ]
    return [*told, make("Slice", ["r", "begin", "end", "axis"], ["y"])]


def model(tmp_path: Path, proto: Any, samples: Samples | None = NOTICED) -> Model:
    path = tmp_path / "own.onnx"
    onnx.save(proto, path)
    specs = (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 6)),)
    calibration = None if samples is None else lambda n: samples.take(slice(n))
    return Model("own", str(tmp_path), *specs, str(path), calibration=calibration)


def spoilt(value: float) -> Samples:
    x = NOTICED.inputs["x"].copy()
    x[3, 2] = value
    return Samples({"x": x})


@pytest.mark.parametrize("technique", CALIBRATED)
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (spoilt(np.nan), "own cannot be calibrated: sample 3 of x is NaN or infinite; drop it"),
        (spoilt(np.inf), "own cannot be calibrated: sample 3 of x is NaN or infinite; drop it"),
        (NOTICED.take([]), "own has 0 calibration samples and needs at least 1: give more"),
        (Samples({"y": WEIGHTS}), "calibration samples of own have y, and must have x"),
        (Samples({}), "calibration samples of own have nothing, and must have x"),
        (None, "own cannot be quantised to int8: nobody gave samples to calibrate with"),
    ],
)
def test_calibration_samples_that_are_of_no_use(
    technique: str, samples: Samples | None, message: str, tmp_path: Path
) -> None:
    told = parts.find(Technique, technique).treat(model(tmp_path, product(), samples))
    with pytest.raises(Unsupported) as answer:
        told.form("onnx")
    assert str(answer.value) == message


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_with_nothing_to_quantise_it_says_so(technique: str, tmp_path: Path) -> None:
    told = parts.find(Technique, technique).treat(model(tmp_path, elementwise()))
    with pytest.raises(Unsupported, match=r"own has nothing to quantise: no .*Gemm or MatMul with weights"):
        told.form("onnx")


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_what_is_quantised_is_not_quantised_again(technique: str, tmp_path: Path) -> None:
    once = parts.find(Technique, technique).treat(model(tmp_path, product()))
    again = parts.find(Technique, technique).treat(replace(once, origin=str(once.form("onnx")), made={}))
    with pytest.raises(Unsupported, match=r"own is quantised already, it has [A-Z].*: start from the fp32 graph"):
        again.form("onnx")


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_missing_package_is_named(technique: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    told = parts.find(Technique, technique).treat(model(tmp_path, product()))
    with pytest.raises(Unsupported, match=r"needs the package (onnx|nncf): pip install -e '\.\["):
        told.form("onnx")


@pytest.mark.parametrize("technique", CALIBRATED)
def test_a_graph_of_one_batch_is_calibrated_in_it(technique: str, tmp_path: Path) -> None:
    proto = product()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    own = model(tmp_path, proto)
    own = replace(own, inputs=(TensorSpec("x", "float32", (3, 4)),))
    x = NOTICED.inputs["x"][:3]
    (found,) = outputs(parts.find(Technique, technique).treat(own).form("onnx"), {"x": x})
    assert abs(found - x @ WEIGHTS).max() < 0.05 * abs(x @ WEIGHTS).max()


NNCF_ALONE = """
import sys
from pathlib import Path
from workloads.forms import _int8_nncf
from bench import parts
from workloads.contract import Workload
workload = parts.find(Workload, "digits-small")
_int8_nncf.quantise(workload.model().form("onnx"), Path(sys.argv[1]), workload.samples("calibration", 4, 0).inputs)
sys.exit(bool({"openvino_telemetry"} & {name for name, module in sys.modules.items() if module}))
"""


def test_nncf_is_silent_and_tells_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", NNCF_ALONE, str(tmp_path / "int8.onnx")],
        env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (home / "intel").exists()  # where openvino_telemetry keeps who it is
