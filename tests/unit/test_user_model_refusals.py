"""What cannot be measured of users' own models is one line each, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import usermodel
from bench.selection import SelectionError
from bench.usermodel import Brought, reference
from tests.unit import user_models as models
from tests.unit.user_models import given, prepared
from workloads.onnxfile import ModelFileError


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros((3, 4), np.float32)}, "--inputs has y, and the model takes x"),
        ({"x": np.zeros((3, 4))}, "--inputs: x is float64(3, 4), and the model takes float32(samples, 4)"),
        ({"x": np.zeros((3, 5), np.float32)}, "--inputs: x is float32(3, 5), and the model takes float32(samples, 4)"),
        ({"x": np.full((3, 4), np.nan, np.float32)}, "--inputs given.npz: x has NaN or infinity in it"),
        ({"x": np.float32(3)}, "--inputs given.npz: every array needs the same number of samples on axis 0"),
        ({}, "--inputs given.npz: every array needs the same number of samples on axis 0"),
        ({"x": np.array(["a"], object)}, "--inputs given.npz is no file of arrays: write it with numpy.savez("),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        prepared(models.saved(models.one("Tanh"), tmp_path), inputs=given(tmp_path, **arrays))
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x = 1", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given.npz").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"--inputs given.npz is no file of arrays"):
        prepared(models.saved(models.one("Tanh"), tmp_path), inputs=str(tmp_path / "given.npz"))


def test_a_reference_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    path = models.saved(models.one("Tanh"), tmp_path)
    inputs = given(tmp_path, x=np.zeros((3, 4), np.float32))
    for arrays, message in [
        ({"z": np.zeros((3, 4))}, "--reference has z, and the model gives y"),
        ({"y": np.zeros((2, 4))}, "--reference has 2 samples, and --inputs has 3"),
    ]:
        np.savez(tmp_path / "right.npz", **arrays)
        with pytest.raises(ModelFileError, match=message):
            prepared(path, inputs=inputs, reference=str(tmp_path / "right.npz"))


@pytest.mark.parametrize(("shape", "told"), [((3, 5), r"\(3, 5\)"), ((3,), r"\(3,\)"), ((3, 4, 1), r"\(3, 4, 1\)")])
def test_a_reference_of_another_shape_is_one_line(tmp_path: Path, shape: tuple[int, ...], told: str) -> None:
    graph = models.model(
        [models.node("Tanh", ["x"], ["y"])], [("x", "float32", ["n", 4])], [("y", "float32", ["n", 4])]
    )
    inputs = given(tmp_path, x=np.zeros((3, 4), np.float32))
    np.savez(tmp_path / "right.npz", y=np.zeros(shape, np.float32))
    with pytest.raises(ModelFileError, match=rf"--reference: y is {told}, and the model gives \(samples, 4\)"):
        prepared(models.saved(graph, tmp_path), inputs=inputs, reference=str(tmp_path / "right.npz"))


def random_normal() -> Any:
    nodes = [models.node("RandomNormalLike", ["x"], ["r"], seed=1.0), models.node("Add", ["x", "r"], ["y"])]
    return models.model(nodes, [("x", "float32", ["n", 4])], [("y", "float32", ["n", 4])])


def mixing() -> Any:
    """Subtracts the mean over the samples of a query."""
    nodes = [
        models.node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        models.node("Sub", ["x", "m"], ["s"]),
        models.node("Add", ["s", "one"], ["y"]),
    ]
    return models.model(
        nodes, [("x", "float32", ["n", 4])], [("y", "float32", ["n", 4])], [models.weights("one", 4, scale=3)]
    )


def alike() -> Any:
    """Answers that differ by far less than their rounding."""
    nodes = [models.node("Mul", ["x", "tiny"], ["m"]), models.node("Add", ["m", "one"], ["y"])]
    stored = [models.weights("tiny", 4, scale=1e-9), models.weights("one", 4, scale=1)]
    return models.model(nodes, [("x", "float32", ["n", 4])], [("y", "float32", ["n", 4])], stored)


def constant_inputs() -> Any:
    nodes = [models.node("Cast", ["attention_mask"], ["y"], to=1)]
    return models.model(nodes, [("attention_mask", "int64", ["n", 4])], [("y", "float32", ["n", 4])])


def sequence_output() -> Any:
    from onnx import TensorProto, helper

    proto = models.model([models.node("SplitToSequence", ["x"], ["y"])], [("x", "float32", ["n", 4])], [])
    proto.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    return proto


def half_precision() -> Any:
    proto = models.two_inputs()
    values = np.frombuffer(proto.graph.initializer[0].raw_data, np.float32).astype(np.float16)
    proto.graph.initializer[0].raw_data = values.tobytes()
    proto.graph.initializer[0].data_type = models.TYPES["float16"]
    return proto


def no_inputs() -> Any:
    return models.model([models.node("Identity", ["w"], ["y"])], [], [("y", "float32", [1])], [models.weights("w", 1)])


def shared_constant() -> Any:
    nodes = [models.node("Add", ["x", "bias"], ["y"])]
    inputs = [("x", "float32", ["n", 4]), ("bias", "float32", [1, 4])]
    return models.model(nodes, inputs, [("y", "float32", ["n", 4])])


def a_scalar() -> Any:
    nodes = [models.node("Mul", ["x", "scale"], ["y"])]
    return models.model(nodes, [("x", "float32", ["n", 4]), ("scale", "float32", [])], [("y", "float32", ["n", 4])])


def transposed() -> Any:
    return models.model(
        [models.node("Transpose", ["x"], ["y"], perm=[1, 0])],
        [("x", "float32", ["n", 4])],
        [("y", "float32", [4, "n"])],
    )


def too_new() -> Any:
    proto = models.two_inputs()
    proto.opset_import[0].version = 99
    return proto


def too_new_ir() -> Any:
    proto = models.two_inputs()
    proto.ir_version = 99
    return proto


def free_and_nameless() -> Any:
    return models.model(
        [models.node("Relu", ["x"], ["y"])], [("x", "float32", ["n", None])], [("y", "float32", ["n", None])]
    )


FREE = "dimension seq (axis 1 of input ids) is free: say how large it is, --dim seq=NUMBER, or give --inputs"
CANNOT = [
    (models.tokens, FREE),
    (free_and_nameless, "dimension x:1 (axis 1 of input x) is free: say how large it is, --dim x:1=NUMBER"),
    (no_inputs, "it has no inputs: there is nothing to measure"),
    (a_scalar, "input scale is a scalar: axis 0 of every input has to be the sample axis"),
    (shared_constant, "axis 0 of its inputs differs (x n, bias 1), so it is not the sample axis of all"),
    (transposed, "its output y has the shape (4, 3) for 3 samples: axis 0 has to be the sample axis"),
    (lambda: models.one("Identity", dtype="string"), "its input x holds string values: only numbers can be measured"),
    (lambda: models.one("Relu", dtype="float64"), "its tensor x is float64, and only fp32 graphs can be measured yet"),
    (half_precision, "its tensor dense is float16, and only fp32 graphs can be measured yet"),
    (lambda: models.one("DynamicQuantizeLinear"), "it is quantised (DynamicQuantizeLinear), and only fp32 graphs"),
    (sequence_output, "its output y is a sequence: only tensors can be measured"),
    (lambda: models.one("Relu", shape=None), "its input x has no shape, not even a free one: export it with shapes"),
    (lambda: models.one("Bar", domain="com.foo"), "onnxruntime cannot load it: com.foo:Bar(-1) is not a registered"),
    (lambda: models.one("Baz"), "onnxruntime cannot load it: This is an invalid model. In Node"),
    (too_new, "onnxruntime cannot load it: ONNX Runtime only *guarantees* support for models stamped with official"),
    (too_new_ir, "onnxruntime cannot load it: Unsupported model IR version: 99"),
    (lambda: models.one("Log"), "its output y has NaN or infinity in it: give inputs that it can take, --inputs"),
    (random_normal, "it draws random numbers; export it for inference"),
    (mixing, "with the other samples of the query: axis 0 is not the sample axis"),
    (alike, "its answers to different inputs differ by less than fp32 rounding, so none could be checked"),
    (constant_inputs, "its inputs can only be made up the same for every sample (attention_mask: ones, as a mask"),
]


@pytest.mark.parametrize(("make", "message"), CANNOT)
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        prepared(models.saved(make(), tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.glob("*.p*")) == [], "nothing half made is left"


def test_answers_nearer_to_each_other_than_rounding_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounding:
        """Rows differ by 1e-9 of their size, and by twice that from one way of computing them to the other."""

        def __init__(self, _path: Path, optimise: bool) -> None:
            self.sign = -1 if optimise else 1

        def ask(self, _inputs: Any, rows: Sequence[int]) -> dict[str, Any]:
            return {"y": 1 + self.sign * 1e-9 * np.array(rows)[:, None]}

        def answers(self, inputs: Any, order: Sequence[int], _size: int, _names: Sequence[str]) -> dict[str, Any]:
            return self.ask(inputs, order)

    monkeypatch.setattr(reference, "_Session", Rounding)
    with pytest.raises(ModelFileError, match="differ by less than fp32 rounding"):
        reference.compute(Path("any.onnx"), {"x": np.zeros((12, 1))}, None, None)


def test_inputs_outside_a_graphs_range_are_one_line(tmp_path: Path) -> None:
    path = given(tmp_path, ids=np.full((12, 4), 50), attention_mask=np.ones((12, 4), np.int64))
    with pytest.raises(ModelFileError, match=r"onnxruntime cannot run it on such inputs: .*indices element out of"):
        prepared(models.saved(models.tokens(), tmp_path), inputs=path)


@pytest.mark.parametrize(
    ("sources", "dims", "brought", "message"),
    [
        ((), {"seq": "16"}, {}, "--dim is for a model of your own: name it too, --model FILE.onnx"),
        ((), {}, {"inputs": "x.npz"}, "--inputs is for a model of your own"),
        ((), {}, {"metric": "m:f"}, "--eval is for a model of your own"),
        (("a.onnx", "b.onnx"), {}, {"inputs": "x.npz"}, "--inputs is for one model"),
        (("a.onnx", "b.onnx"), {}, {"metric": "m:f"}, "--eval is for one model"),
        (("a.onnx",), {}, {"reference": "x.npz"}, "--reference has the outputs for inputs that you give too"),
        (("a.onnx",), {}, {"inputs": "x.npz"}, "--inputs x.npz: there is no such file"),
        (("a.onnx",), {}, {"calibration": "x.npz"}, "--calibration x.npz: there is no such file"),
        (("a.onnx",), {}, {"metric": "nothing"}, "--eval nothing: write --eval MODULE:FUNCTION"),
        (("a.onnx",), {}, {"metric": "x.py:f"}, "--eval x.py:f: there is no file x.py"),
        (("a.onnx",), {"seq": "0"}, {}, "--dim seq=0: a size is a whole number, at least 1"),
        (("a.onnx",), {"seq": "1.5"}, {}, "--dim seq=1.5: a size is"),
        (("a.onnx",), {"seq": "\u0663"}, {}, "--dim seq=\u0663: a size is"),
        (("x/a.onnx", "y/a.onnx"), {}, {}, "two models are called a: rename one of the files"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(
    tmp_path: Path, sources: tuple[str, ...], dims: dict[str, str], brought: dict[str, str], message: str
) -> None:
    with pytest.raises(SelectionError) as caught:
        usermodel.asked(sources, dims, Brought(**brought), taken=(), here=tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("net.onnx", "net"),
        ("deep/er/net v1.2.onnx", "net v1.2"),
        ("kws.onnx", "kws.onnx"),
        ("<b> \u00e4.onnx", "b> _"),
        ("hf:google/vit-base", "vit-base"),
        ("hf:kws", "my kws"),
        ("folder/tiny.bert", "tiny.bert"),
    ],
)
def test_a_model_is_called_like_its_file_unless_a_workload_is(tmp_path: Path, source: str, name: str) -> None:
    (one,) = usermodel.asked([source], {}, Brought(), taken=("kws",), here=tmp_path)
    assert one.name == name
    assert one.source == (source if source.startswith("hf:") else str(tmp_path / source))
