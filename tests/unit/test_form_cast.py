"""Graphs in 16 bits: their answers, what stays as it was, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Facts, Placement, Session
from bench import parts
from bench.audit import correctness
from workloads.contract import Model, TensorSpec, Unsupported, Workload
from workloads.forms._cast import narrowed

KINDS = {"onnx_fp16": TensorProto.FLOAT16, "onnx_bf16": TensorProto.BFLOAT16}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path_factory.getbasetemp() / "cast-cache"))


def in_float(path: Path) -> bytes:
    """The graph with every 16-bit operator computed in fp32 and its results rounded: onnxruntime has no others here."""
    proto = onnx.load(path)
    graph = proto.graph
    kinds = {
        one.name: one.type.tensor_type.elem_type for one in onnx.shape_inference.infer_shapes(proto).graph.value_info
    }
    small = {name: kind for name, kind in kinds.items() if kind in KINDS.values()}
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type in KINDS.values():
            graph.initializer[index].CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            )
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.attribute[0].i in KINDS.values():
            node.attribute[0].i = TensorProto.FLOAT
        for index, name in enumerate(node.output):
            if name in small:
                node.output[index] = f"{name} exactly"
        nodes.append(node)
        for name in (one.removesuffix(" exactly") for one in node.output if one.endswith(" exactly")):
            nodes.append(helper.make_node("Cast", [f"{name} exactly"], [f"{name} rounded"], to=small[name]))
            nodes.append(helper.make_node("Cast", [f"{name} rounded"], [name], to=TensorProto.FLOAT))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return proto.SerializeToString()


class Emulated(Session):
    facts = Facts({}, Placement("host", 1.0, "onnxruntime"), 0, None, 0)

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(in_float(path), options, ["CPUExecutionProvider"])

    def run(self, values):
        return self.session.run(None, dict(values))

    def get(self, values):
        return {one.name: value for one, value in zip(self.session.get_outputs(), values, strict=True)}


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("name", ["kws", "resnet8", "autoencoder", "digits-small", "bytelm-small"])
def test_answers_keep_the_tolerance_of_the_precision(name: str, form: str) -> None:
    workload = parts.find(Workload, name)
    precision = form.removeprefix("onnx_")
    found = correctness.outputs(workload, Emulated(workload.model().form(form)), 3, precision, seed=1)
    assert found["identity_hits"] == found["n"] >= 12
    assert found["centred_cosine_min"] >= found["cosine_required"]
    assert found["relative_error_max"] > 1e-5, "this is fp32 under another name"


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("name", ["kws", "bytelm-small"])
def test_the_outside_stays_and_the_inside_is_narrow(name: str, form: str) -> None:
    model = parts.find(Workload, name).model()
    path = model.form(form)
    onnx.checker.check_model(str(path), full_check=True)
    before, after = (onnx.load(one, load_external_data=False) for one in (model.form("onnx"), path))
    assert [one.SerializeToString() for one in after.graph.input] == [o.SerializeToString() for o in before.graph.input]
    assert [o.SerializeToString() for o in after.graph.output] == [o.SerializeToString() for o in before.graph.output]
    computed = onnx.shape_inference.infer_shapes(after).graph.value_info
    kinds = {one.name: one.type.tensor_type.elem_type for one in computed}
    matrices = [one for one in after.graph.node if one.op_type in ("Conv", "Gemm", "MatMul")]
    assert {kinds.get(one.input[0]) for one in matrices} == {KINDS[form]}
    assert {one.data_type for one in after.graph.initializer if len(one.dims) > 1} <= {KINDS[form], TensorProto.INT64}
    assert (path.parent / "weights.bin").stat().st_size < 0.7 * Path(model.form("onnx")).with_name(
        "weights.bin"
    ).stat().st_size


def graph(folder: Path, nodes, weights=(), dtype="float32", opset: int = 20, name: str = "made") -> Model:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", kind, ["n", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in dict(weights).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    spec = (TensorSpec("x", dtype, (None, 4)),), (TensorSpec("y", "float32", (None, 4)),)
    return Model(name, f"{name}-{hash(proto.SerializeToString())}", *spec, origin=str(path))


def computed(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_what_is_made_of_integers_is_wide_until_it_meets_an_activation(tmp_path: Path) -> None:
    """The angle of position 1001 in bfloat16 would be that of 1000."""
    nodes = [
        helper.make_node("Cast", ["x"], ["position"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["position", "rate"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["turn"]),
        helper.make_node("Gather", ["table", "zero"], ["row"]),
        helper.make_node("Mul", ["turn", "row"], ["y"]),
    ]
    weights = {"rate": np.float32(1.0), "table": np.ones((2, 4), np.float32), "zero": np.int64(0)}
    path = graph(tmp_path, nodes, weights, "int64").form("onnx_bf16")
    kinds = {one.name: one.data_type for one in onnx.load(path).graph.initializer}
    assert kinds == {"rate": TensorProto.FLOAT, "table.bfloat16": TensorProto.BFLOAT16, "zero": TensorProto.INT64}
    casts = [one.input[0] for one in onnx.load(path).graph.node if one.op_type == "Cast"]
    assert casts == ["x", "turn", "y.bfloat16"]


def test_a_constant_that_both_meet_is_kept_in_both_widths(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["two"], value_floats=[2.0, 2.0, 2.0, 2.0]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["sizes"], ["size"], keepdims=0),
        helper.make_node("Mul", ["size", "two"], ["offset"]),
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "offset"], ["y"]),
    ]
    path = graph(tmp_path, nodes).form("onnx_fp16")
    assert {one.name: one.data_type for one in onnx.load(path).graph.initializer} == {
        "two": TensorProto.FLOAT,
        "two.float16": TensorProto.FLOAT16,
    }
    assert np.array_equal(computed(path, np.ones((1, 4), np.float32)), np.full((1, 4), 10, np.float32))


def test_constants_beyond_half_precision_become_its_largest(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "mask"], ["y"])]
    mask = np.array([-3.4e38, -np.inf, np.inf, 1e-9], np.float32)
    path = graph(tmp_path, nodes, {"mask": mask}).form("onnx_fp16")
    assert computed(path, np.zeros((1, 4), np.float32)).tolist() == [[-65504.0, -np.inf, np.inf, 0.0]]


def test_an_operator_without_a_narrow_form_stays_wide_between_casts(tmp_path: Path) -> None:
    """Resize takes its scales in fp32 only."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["image"]),
        helper.make_node("Resize", ["image", "", "scales"], ["larger"], mode="nearest"),
        helper.make_node("ReduceMax", ["larger", "axes"], ["y"], keepdims=0),
    ]
    weights = {"axes": np.array([1], np.int64), "scales": np.array([1, 2, 1], np.float32)}
    path = graph(tmp_path, nodes, weights).form("onnx_fp16")
    onnx.checker.check_model(str(path), full_check=True)
    assert {o.name: o.data_type for o in onnx.load(path).graph.initializer}["scales"] == TensorProto.FLOAT
    assert computed(path, np.full((1, 4), 3, np.float32)).tolist() == [[3.0, 3.0, 3.0, 3.0]]


def test_weights_that_an_old_file_lists_as_inputs_are_none(tmp_path: Path) -> None:
    model = graph(tmp_path, [helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.full(4, 2, np.float32)}, name="old")
    proto = onnx.load(model.origin)
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    onnx.save(proto, model.origin)
    path = model.form("onnx_fp16")
    assert [one.name for one in onnx.load(path).graph.input] == ["x"]
    assert computed(path, np.ones((1, 4), np.float32)).tolist() == [[3.0, 3.0, 3.0, 3.0]]


def test_an_output_that_others_read_and_an_input_that_leaves(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["y", "y"], ["unused"])]
    path = graph(tmp_path, nodes).form("onnx_fp16")
    onnx.checker.check_model(str(path), full_check=True)
    assert computed(path, np.array([[-1, 0, 1, 2]], np.float32)).tolist() == [[0.0, 0.0, 1.0, 2.0]]


@pytest.mark.parametrize(
    ("nodes", "opset", "says"),
    [
        ([helper.make_node("Own", ["x"], ["y"], domain="org.example")], 20, "Own is not of ONNX"),
        ([helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])], 17, "ReduceMean changed after opset 17"),
    ],
)
def test_what_cannot_be_cast_is_refused(tmp_path: Path, nodes, opset: int, says: str) -> None:
    model = graph(tmp_path, nodes, opset=opset)
    proto = onnx.load(model.origin)
    proto.opset_import.append(helper.make_opsetid("org.example", 1))
    onnx.save(proto, model.origin)
    with pytest.raises(Unsupported, match=says):
        model.form("onnx_bf16")


def test_control_flow_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "branch", [], [value])
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)]
    with pytest.raises(Unsupported, match=r"If .* holds a graph of its own"):
        graph(tmp_path, nodes, {"yes": np.array(True)}).form("onnx_fp16")


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = graph(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], name="bare")

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(Unsupported, match=r"package onnx: pip install -e '\.\[model\]'"):
        model.form("onnx_fp16")


def test_files_are_the_same_twice_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for folder in ("one", "other"):
        monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / folder))
        path = parts.find(Workload, "kws").model().form("onnx_bf16")
        contents.append((path.read_bytes(), path.with_name("weights.bin").read_bytes()))
        stamp = path.stat().st_mtime_ns
        assert parts.find(Workload, "kws").model().form("onnx_bf16").stat().st_mtime_ns == stamp
    assert contents[0] == contents[1]


def test_what_a_killed_process_leaves_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    path = parts.find(Workload, "kws").model().form("onnx_fp16")
    right = [one.read_bytes() for one in (path, path.with_name("weights.bin"))]
    path.unlink()
    path.with_name("weights.bin").write_bytes(b"half a fi")
    assert parts.find(Workload, "kws").model().form("onnx_fp16") == path
    assert [one.read_bytes() for one in (path, path.with_name("weights.bin"))] == right


def test_two_networks_of_one_content_may_have_two_names(tmp_path: Path) -> None:
    one = graph(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], name="one")
    other = replace(one, name="other")
    assert [model.form("onnx_fp16").name for model in (one, other)] == ["one.onnx", "other.onnx"]
    assert all(model.form("onnx_fp16").exists() for model in (one, other))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_rounding_is_to_the_nearest_even(bits: list[int]) -> None:
    import ml_dtypes

    array = np.array(bits, np.uint32).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        half, brain = array.astype(np.float16), array.astype(ml_dtypes.bfloat16)
    ours = narrowed(array, "float16"), narrowed(array, "bfloat16").view(ml_dtypes.bfloat16)
    for made, right, largest in zip(
        ours, (half, brain), (65504.0, float(ml_dtypes.finfo("bfloat16").max)), strict=True
    ):
        made, right = made.astype(np.float64), right.astype(np.float64)
        right = np.where(np.isinf(right) & np.isfinite(array), np.copysign(largest, array), right)
        assert np.array_equal(made, right, equal_nan=True)
