"""What is read off an ONNX graph: its work, and valid inputs for it. No file whatever does worse than be refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bench import parts
from tests.unit import user_models as models
from workloads import madeup, onnxcount, onnxfile, weights
from workloads.contract import Workload
from workloads.onnxfile import ModelFileError, OnnxFile

node = models.node


def read(proto: Any, folder: Path, **sizes: int) -> OnnxFile:
    return onnxfile.read(models.saved(proto, folder)).fixed(sizes)


@pytest.mark.parametrize("name", ["resnet8", "kws", "mobilenetv2", "digits-small", "autoencoder", "bert-base"])
def test_operations_are_those_that_torch_counted(name: str) -> None:
    """The cards' numbers are of torch's own counter; the graphs have buffers and constants among their parameters."""
    card = parts.find(Workload, name).card
    folder = weights.materialise(weights.Manifest.read(name))
    counted = onnxcount.count(onnxfile.read(folder / f"{name}.onnx"))
    assert counted.flops == card.flops
    assert card.parameters <= counted.parameters <= 1.1 * card.parameters


def single(op: str, inputs: dict[str, list[Any]], *stored: Any, outputs: int = 1, **attributes: Any) -> Any:
    """One operator whose inputs beside the stored ones are float32 of these shapes."""
    names = [f"y{i}" for i in range(outputs)]
    operator = node(op, [*inputs, *(tensor.name for tensor in stored)], names, **attributes)
    values = [(name, "float32", shape) for name, shape in inputs.items()]
    return models.model([operator], values, [("y0", "float32", None)], stored)


COUNTED = [
    (single("Gemm", {"x": ["n", 6]}, models.weights("w", 6, 5)), 2 * 6 * 5),
    (single("Gemm", {"x": ["n", 6]}, models.weights("w", 5, 6), transB=1), 2 * 6 * 5),
    (single("MatMul", {"x": ["n", 7, 6]}, models.weights("w", 6, 5)), 2 * 7 * 6 * 5),
    (single("MatMul", {"x": ["n", 7, 6], "z": ["n", 6, 3]}), 2 * 7 * 6 * 3),
    (single("Conv", {"x": ["n", 4, 8, 8]}, models.weights("w", 6, 2, 3, 3), group=2), 2 * 6 * 36 * 2 * 9),
    (single("ConvTranspose", {"x": ["n", 4, 8, 8]}, models.weights("w", 4, 6, 3, 3)), 2 * 4 * 64 * 6 * 9),
    (single("Einsum", {"x": ["n", 4, 6], "z": ["n", 6, 3]}, equation="bij,bjk->bik"), 2 * 4 * 6 * 3),
    (single("Einsum", {"x": ["n", 4]}, equation="bi->ib"), 0),
    (single("Relu", {"x": ["n", 4]}), 0),
    (
        single("LSTM", {"x": [9, 1, 6]}, models.weights("w", 1, 20, 6), models.weights("r", 1, 20, 5), hidden_size=5),
        2 * 20 * (6 + 5),
    ),
]


@pytest.mark.parametrize(("proto", "flops"), COUNTED, ids=[case[0].graph.node[0].op_type for case in COUNTED])
def test_operators_are_counted(tmp_path: Path, proto: Any, flops: int) -> None:
    """A multiply-add is two; a graph for nine samples is counted as one of them."""
    assert onnxcount.count(read(proto, tmp_path)).flops == flops


@pytest.mark.parametrize(
    ("proto", "why"),
    [
        (single("Bar", {"x": ["n", 4]}, domain="com.foo"), "operator Bar has no count"),
        (single("Einsum", {"x": ["n", 4]}, equation="...i->...i"), "operator Einsum(...i->...i) has no count"),
        (single("STFT", {"x": ["n", 16, 1]}, models.constant("step", 4)), "operator STFT has no count"),
    ],
)
def test_what_cannot_be_counted_is_said(tmp_path: Path, proto: Any, why: str) -> None:
    counted = onnxcount.count(read(proto, tmp_path))
    assert (counted.flops, counted.why) == (None, why)


def branches(body: str) -> Any:
    """x -> y by an If, whose branches hold one operator."""

    def branch(name: str) -> Any:
        inputs = ["x", "w"] if body == "MatMul" else ["x"]
        return helper.make_graph([node(body, inputs, [name])], name, [], [_float(name)])

    condition = node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    positive = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"])]
    stored = [models.weights("w", 4, 3), helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])]
    return models.model([*positive, condition], [("x", "float32", ["n", 4])], [("y", "float32", ["n", None])], stored)


def _float(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_a_branch_counts_only_if_nothing_in_it_does(tmp_path: Path) -> None:
    assert onnxcount.count(read(branches("Relu"), tmp_path)).flops == 0
    held = onnxcount.count(read(branches("MatMul"), tmp_path))
    assert (held.flops, held.why) == (None, "operator If has matrix products inside, and decides itself how often")


def test_shapes_that_the_graph_computes_itself_are_known(tmp_path: Path) -> None:
    """x (n, 4, 6) is flattened by a shape made of its own, as exporters write it, before a matrix product."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["n"]),
        node("Concat", ["n", "rest"], ["flat"], axis=0),
        node("Reshape", ["x", "flat"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    stored = [models.constant("first", 0), models.constant("rest", -1), models.weights("w", 24, 5)]
    proto = models.model(nodes, [("x", "float32", ["n", 4, 6])], [("y", "float32", ["n", 5])], stored)
    assert onnxcount.count(read(proto, tmp_path)).flops == 2 * 24 * 5


def made(proto: Any, folder: Path, count: int = 20, **sizes: int) -> tuple[dict[str, Any], str]:
    found = madeup.inputs(read(proto, folder, **sizes), count, "stream")
    return dict(found.arrays), "; ".join(found.told)


def lookup(name: str, *between: Any, dtype: str = "int64", rows: int = 7) -> Any:
    """An input that indexes a table, by way of `between`, which ends in a tensor called ids."""
    nodes = [*between, node("Gather", ["table", "ids" if between else name], ["e"])]
    nodes += [node("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0)]
    return models.model(
        nodes, [(name, dtype, ["n", 5])], [("y", "float32", ["n", 3])], [models.weights("table", rows, 3)]
    )


def test_indices_stay_in_their_table(tmp_path: Path) -> None:
    arrays, told = made(lookup("words"), tmp_path, 200)
    assert (arrays["words"].min(), arrays["words"].max()) == (0, 6)
    assert told == "words: random rows of a table of 7"
    cast = lookup("words", node("Cast", ["words"], ["ids"], to=TensorProto.INT64), dtype="int32", rows=3)
    arrays, _ = made(cast, tmp_path, 200)
    assert (arrays["words"].max(), arrays["words"].dtype) == (2, np.int32)


def test_the_smallest_table_counts(tmp_path: Path) -> None:
    proto = lookup("words", rows=7)
    proto.graph.node.append(node("Gather", ["small", "words"], ["unused"]))
    proto.graph.initializer.append(models.weights("small", 4, 3))
    arrays, _ = made(proto, tmp_path, 200)
    assert arrays["words"].max() == 3


@pytest.mark.parametrize(
    ("name", "values"), [("position_ids", [0, 1, 2, 0, 1]), ("token_type_ids", [0] * 5), ("segment_ids", [0] * 5)]
)
def test_positions_and_types_are_what_they_usually_are(tmp_path: Path, name: str, values: list[int]) -> None:
    arrays, _ = made(lookup(name, rows=3), tmp_path)
    assert (arrays[name] == values).all()


@pytest.mark.parametrize(
    ("name", "dtype", "nodes", "values", "told"),
    [
        ("attention_mask", "int64", [node("Neg", ["attention_mask"], ["y"])], {1}, "ones, as a mask that lets all"),
        ("keep", "int64", [node("Cast", ["keep"], ["y"], to=TensorProto.FLOAT)], {1}, "ones, as a mask"),
        ("padding_mask", "float32", [node("Neg", ["padding_mask"], ["y"])], {1}, "ones, as a mask"),
        ("token_type", "int64", [node("Neg", ["token_type"], ["y"])], {0}, "zeros"),
        ("what", "int64", [node("Neg", ["what"], ["y"])], {0, 1}, "random 0 and 1, as nothing in the graph tells"),
        ("flags", "bool", [node("Or", ["flags", "flags"], ["y"])], {False, True}, "random 0 and 1"),
    ],
)
def test_other_inputs_are_valid_too(
    tmp_path: Path, name: str, dtype: str, nodes: list[Any], values: set[int], told: str
) -> None:
    arrays, said = made(models.model(nodes, [(name, dtype, ["n", 5])], [("y", dtype, None)]), tmp_path)
    assert set(np.unique(arrays[name])) == values
    assert arrays[name].dtype == dtype
    assert told in said


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        (["n", 3, 8, 8], "float32", "random images"),
        (["n", 8, 8, 1], "float32", "random images"),
        (["n", 8, 8, 8], "float32", "uniform noise of variance 1"),
        (["n"], "float32", "uniform noise of variance 1"),
        (["n", 3, 8, 8], "uint8", "random bytes"),
    ],
)
def test_noise_has_the_shape_asked_for_and_some_spread(tmp_path: Path, shape: list[Any], dtype: str, told: str) -> None:
    arrays, said = made(models.one("Identity", shape, dtype), tmp_path, 50)
    assert arrays["x"].shape == (50, *shape[1:])
    assert arrays["x"].flags.c_contiguous
    assert told in said
    assert arrays["x"].std() == pytest.approx(1 if dtype == "float32" else 74, rel=0.25)


def test_made_up_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    first, again = (made(models.two_inputs(), tmp_path)[0] for _ in range(2))
    assert all((first[name] == again[name]).all() for name in ("left", "right"))
    assert not (first["left"][:, :6] == first["right"][:, :6]).any()


def test_fixed_dimensions_are_fixed_in_the_graph_too(tmp_path: Path) -> None:
    file = read(models.tokens(), tmp_path, seq=16)
    assert [tensor.dims for tensor in file.inputs] == [("batch", 16), ("batch", 16)]
    again = onnxfile.read(file.save(tmp_path, "again.onnx"))
    assert [tensor.dims for tensor in again.inputs] == [("batch", 16), ("batch", 16)]
    assert again.free == ("batch",)


VALID = models.cnn().SerializeToString()


def refused_or_read(folder: Path, content: bytes) -> None:
    path = folder / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ModelFileError):
        assert onnxfile.read(path).inputs


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID) - 1))
def test_a_file_that_is_cut_off_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    refused_or_read(tmp_path_factory.getbasetemp(), VALID[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    refused_or_read(tmp_path_factory.getbasetemp(), content)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    refused_or_read(tmp_path_factory.getbasetemp(), VALID[:at] + bytes([value]) + VALID[at + 1 :])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty: export or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer, not the model"),
        (b"import torch\n", "it is no ONNX file, or "),
        (VALID[:200], "it is no ONNX file, or it is cut off or damaged: export or download it again"),
        (b"\x08\x08", "it is no ONNX file, or one without a node: export it again"),
    ],
)
def test_what_is_no_model_is_told_so(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "any.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        onnxfile.read(tmp_path / "any.onnx")


def test_what_is_no_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"it is a folder without a config.json: name the .onnx file in it"):
        onnxfile.read(tmp_path)
    with pytest.raises(ModelFileError, match="there is no such file"):
        onnxfile.read(tmp_path / "none.onnx")


def test_more_than_protobuf_holds_is_told_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "big.onnx").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelFileError, match="it is over 2 GB, more than protobuf can hold: save its weights as ext"):
        onnxfile.read(tmp_path / "big.onnx")
