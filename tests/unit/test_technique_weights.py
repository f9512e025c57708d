"""Compressed weights: what is written, by known answers; that fewer bits are worse; what is refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ROOT, parts, recipes
from workloads.contract import Model, TensorSpec, Unsupported, Workload
from workloads.forms import _matrices, _nbits, _rounded

onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELMARK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def treated(workload: str, technique: str) -> Workload:
    return recipes.parse(technique).of(parts.find(Workload, workload))


def graph_of(*nodes: Any, **constants: np.ndarray) -> Any:
    """x (n, K) to y, through `nodes`."""
    floats = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, floats, ["n", None]) for name in "xy"]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(list(nodes), "g", ends[:1], ends[1:], tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def answers(proto: Any, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def seeded(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


node = onnx.helper.make_node
WRITTEN = {
    "a MatMul": [node("MatMul", ["x", "w"], ["y"])],
    "a MatMul of what is turned": [node("Transpose", ["t"], ["u"], perm=[1, 0]), node("MatMul", ["x", "u"], ["y"])],
    "a Gemm": [node("Gemm", ["x", "w", "b"], ["y"])],
    "a Gemm that turns": [node("Gemm", ["x", "t", "b"], ["y"], transB=1)],
    "a Gemm without bias": [node("Gemm", ["x", "t"], ["y"], transB=1)],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_product_is_found_however_it_is_written(how: str) -> None:
    w, x = seeded(64, 48), seeded(5, 64)
    proto = graph_of(*WRITTEN[how], w=w, t=w.T.copy(), b=seeded(48))
    expected = answers(proto, x)
    (matrix,) = _matrices.matrices(proto.graph, "try")
    assert np.array_equal(matrix.value, w)
    assert np.allclose(answers(proto, x), expected, atol=1e-5)
    kinds = Counter(one.op_type for one in proto.graph.node)
    assert kinds["MatMul"] == 1
    assert not kinds.keys() - {"MatMul", "Add"}


@pytest.mark.parametrize(("bits", "error_max"), [(8, 0.02), (4, 0.3)])
def test_onnxruntime_reads_what_is_written(bits: int, error_max: float) -> None:
    """K is no multiple of the block. Products are of int8 activations, so they are near and not equal."""
    w, x = seeded(80, 48), seeded(7, 80)
    proto = graph_of(node("MatMul", ["x", "w"], ["y"]), w=w)
    _nbits.compress(proto, bits)
    assert [(one.op_type, one.domain) for one in proto.graph.node] == [("MatMulNBits", "com.microsoft")]
    assert np.abs(answers(proto, x) - x @ w).max() < error_max * np.abs(x @ w).max()


def test_numbers_of_a_block_by_hand() -> None:
    """The largest by magnitude is -8 scale: here scale is 1, and 7.4 rounds to 7, which is stored as 15."""
    value = np.zeros((32, 1), np.float32)
    value[:4, 0] = -8, 7.4, 0.6, -3
    packed, scales = _nbits.blockwise(value, 4)
    assert scales.tolist() == [[1.0]]
    assert packed[0, 0, :2].tolist() == [0 | 15 << 4, 9 | 5 << 4]
    assert set(packed[0, 0, 2:].tolist()) == {8 | 8 << 4}
    packed, scales = _nbits.blockwise(value, 8)
    assert scales.tolist() == [[1 / 16]]
    assert packed[0, 0, :4].tolist() == [0, 128 + 118, 128 + 10, 128 - 48]
    assert _nbits.blockwise(np.zeros((32, 2), np.float32), 4)[1].tolist() == [[0], [0]]


def test_no_number_is_further_off_than_its_step() -> None:
    value = seeded(96, 10)
    for bits in (4, 8):
        packed, scales = _nbits.blockwise(value, bits)
        numbers = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).reshape(10, 3, 32)
        back = ((numbers.astype(np.float32) - (1 << bits - 1)) * scales[..., None]).reshape(10, 96).T
        step = np.repeat(np.abs(scales), 32, axis=1).T
        assert (np.abs(back - value) <= step * 1.0001).all()  # a whole one where the range has no opposite end
        assert (np.abs(back - value) <= step * 0.5001).mean() > 0.97


def test_three_bits_are_seven_values_by_channel() -> None:
    value = np.array([[3.0, 0.0, -6.0], [-1.4, 0.0, 2.0], [0.6, 0.0, 3.1]], np.float32)
    assert _rounded.rounded(value, 3).tolist() == [[3, 0, -6], [-1, 0, 2], [1, 0, 4]]
    assert max(len(np.unique(column)) for column in _rounded.rounded(seeded(500, 4), 3).T) == 7


def perplexity(workload: Workload, engine: str, form: str = "onnx") -> float:
    """Of bytelm-small on all evaluation windows."""
    samples = workload.samples("evaluation", 240, 0)
    path = str(workload.model().form(form))
    if engine == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], dict(samples.inputs))[0]
    else:
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        logits = compiled(dict(samples.inputs))["logits"]
    return workload.quality_value(workload.score({"logits": logits}, samples))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_fewer_bits_are_worse_and_smaller(engine: str) -> None:
    techniques = ("int8-weights", "int4-weights", "int3-rounded")
    eight, four, three = (perplexity(treated("bytelm-small", name), engine) for name in techniques)
    assert eight < four < three
    whole, *sizes = (treated("bytelm-small", name).model().form("onnx").stat().st_size for name in techniques[::-1])
    assert whole > sizes[0] * 1.2
    assert sizes[1] > sizes[0]


def test_nncf_takes_more_than_matrices_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    eight, four = (treated("bytelm-small", f"int{bits}-weights-nncf") for bits in (8, 4))
    assert perplexity(eight, "openvino", "openvino") < perplexity(four, "openvino", "openvino")
    assert capfd.readouterr() == ("", "")
    path = eight.model().form("openvino")
    nbits = treated("bytelm-small", "int8-weights").model().form("onnx")
    assert path.with_suffix(".bin").stat().st_size < 0.75 * nbits.stat().st_size
    with pytest.raises(Unsupported, match=r"int8-weights-nncf makes OpenVINO's IR, .* use int8-weights$"):
        eight.model().form("onnx")


def test_nncf_reports_to_nobody(tmp_path: Path) -> None:
    """In a process of its own: beside pytest it never does."""
    code = (
        "from workloads.forms._nncf import quiet\nwith quiet(): from nncf.telemetry import wrapper\n"
        "import sys; print(type(wrapper.telemetry).__name__, 'openvino_telemetry' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout.split() == ["MagicMock", "False"], done.stderr
    assert not list(tmp_path.iterdir())


def test_the_control_is_its_own_function_as_large_as_before() -> None:
    workload, base = treated("bytelm-small", "int3-rounded"), parts.find(Workload, "bytelm-small")
    assert (workload.model().precision, recipes.parse("int3-rounded").precision) == ("fp32", "")
    before, after = (_total(one.model().form("onnx")) for one in (base, workload))
    assert after == before
    golden = [next(iter(one.golden().outputs.values())) for one in (base, workload)]
    assert np.abs(golden[0] - golden[1]).max() > 0.1


def _total(path: Path) -> int:
    """Bytes of all constants."""
    return sum(onnx.numpy_helper.to_array(one).nbytes for one in onnx.load(path).graph.initializer)


def user_model(path: Path, proto: Any) -> Model:
    path.write_bytes(proto.SerializeToString())
    ends = (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 4)),)
    return Model("mine", path.parent.name, *ends, origin=str(path))


TECHNIQUES = ("int8-weights", "int4-weights", "int3-rounded", "int8-weights-nncf")


@pytest.mark.parametrize("name", TECHNIQUES)
def test_what_cannot_be_compressed_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    form = "openvino" if "nncf" in name else "onnx"
    (technique,) = recipes.parse(name).techniques
    bare = user_model(tmp_path / "bare.onnx", graph_of(node("Relu", ["x"], ["y"])))
    with pytest.raises(Unsupported, match=r"^there is nothing to (compress|round)[^\n]*$"):
        technique.treat(bare).form(form)
    (folder := tmp_path / "nan").mkdir()
    spoilt = graph_of(node("MatMul", ["x", "w"], ["y"]), w=np.full((4, 4), np.nan, np.float32))
    with pytest.raises(Unsupported, match=r"^weight w has values that are no finite numbers[^\n]*$"):
        technique.treat(user_model(folder / "nan.onnx", spoilt)).form(form)


def test_a_network_of_convolutions_is_not_called_int4_for_its_last_layer() -> None:
    with pytest.raises(Unsupported, match=r"^there is nothing worth compressing: matrices hold 15% of the w[^\n]*$"):
        treated("digits-small", "int4-weights").model().form("onnx")


def test_two_ways_to_store_the_weights_exclude_each_other() -> None:
    with pytest.raises(recipes.RecipeError, match=r"int8-weights and int4-weights each decide the precision; choose"):
        recipes.parse("int8-weights+int4-weights")
    with pytest.raises(recipes.RecipeError, match="fuse-off and fuse-basic each ask the engine for the same"):
        recipes.parse("fuse-off+fuse-basic")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_halves_the_file(precision: str) -> None:
    base, mixed = (
        one.model() for one in (parts.find(Workload, "digits-small"), treated("digits-small", f"mixed-{precision}"))
    )
    size, half = (_total(model.form("onnx")) for model in (base, mixed))
    assert half == pytest.approx(size / 2, rel=0.01)
    assert mixed.form(f"onnx_{precision}") == mixed.form("onnx")
