"""ONNX as a function of JAX: right on every workload and on ONNX' own cases, and a refusal for all that it lacks."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import parts, queries
from workloads.contract import Model, TensorSpec, Unsupported, Workload
from workloads.forms import jax as form
from workloads.forms._jax import graph
from workloads.forms._jax.operators import OPERATORS, Maths, narrow

tpu = pytest.mark.tpu
COMMITTED = sorted(one.part.card.name for one in parts.collect(Workload) if one.part and one.part.by_default)
ERROR_MAX = 1e-5
SAMPLES = 4
"""Of the golden ones: they differ in their inputs only."""
X, Y = TensorSpec("x", "float32", (None, 4)), TensorSpec("y", "float32", (None, 4))


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest) -> None:
    """Without this JAX looks for a TPU first, and warns that there is none."""
    if request.node.get_closest_marker("tpu"):
        import jax

        jax.config.update("jax_platforms", "cpu")


def answers(lowered: form.JaxForm, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import jax

    found = jax.jit(lowered.call)(dict(lowered.params), *(inputs[spec.name] for spec in lowered.inputs))
    return {spec.name: np.asarray(value) for spec, value in zip(lowered.outputs, found, strict=True)}


@tpu
@pytest.mark.parametrize("name", COMMITTED)
def test_fp32_is_as_near_to_golden_as_fp32_can_be(name: str) -> None:
    workload = parts.find(Workload, name)
    golden, lowered = workload.golden(), workload.model().form("jax")
    arrays: Mapping[str, np.ndarray] = workload.samples("perf", SAMPLES, 0).inputs
    for step in range(golden.steps):
        outputs = answers(lowered, arrays)
        arrays = queries.fed_back(arrays, outputs, workload.feedback) if step + 1 < golden.steps else arrays
    for output, right in golden.outputs.items():
        error = abs(outputs[output].astype(np.float64) - right[:SAMPLES]).max() / abs(right).max()
        assert error <= ERROR_MAX, output


@cache
def official_cases() -> Mapping[str, list[Any]]:
    """ONNX' own cases of one node, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    cases = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of what the cases try on purpose
        for case in collect_testcases(None):
            nodes = case.model.graph.node if case.model else ()
            if len(nodes) == 1 and not nodes[0].domain:
                cases[nodes[0].op_type].append(case)
    return cases


def frozen(case: Any, path: Path) -> tuple[Model, dict[str, Any], list[Any]]:
    """The case as a model, in which what has to be known in advance is stored; with its inputs and right outputs."""
    import onnx
    from onnx import helper, numpy_helper

    proto, (given, right) = onnx.ModelProto(), case.data_sets[0]
    proto.CopyFrom(case.model)
    (node,) = proto.graph.node
    values = dict(zip((value.name for value in proto.graph.input), given, strict=True))
    stored = {node.input[i] for i in OPERATORS[node.op_type].static if i < len(node.input)} - {""}
    kept = [value for value in proto.graph.input if value.name not in stored]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(values[name]), name) for name in sorted(stored))
    proto.opset_import[0].version = max(proto.opset_import[0].version, 13)  # none of these has changed since
    onnx.save(proto, path)

    def spec(value: Any) -> TensorSpec:
        kind = value.type.tensor_type.elem_type
        return TensorSpec(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(kind)).name if kind else "nothing", ())

    specs = [tuple(map(spec, several)) for several in (kept, proto.graph.output)]
    return Model(case.name, "", *specs, origin=str(path)), values, right


NO_CASE = {"Cast", "CastLike", "Einsum", "LayerNormalization"}
"""Whose official cases are all of other types, or ask for more outputs."""


@tpu
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_official_cases_are_right_or_refused(name: str, tmp_path: Path) -> None:
    right_ones = 0
    for case in official_cases()[name]:
        try:
            model, inputs, right = frozen(case, tmp_path / "case.onnx")
            outputs = answers(model.form("jax"), inputs)
        except Unsupported:
            continue
        for found, wanted in zip(outputs.values(), map(np.asarray, right), strict=True):
            assert found.shape == wanted.shape, case.name
            np.testing.assert_allclose(
                found.astype(np.float64), wanted.astype(np.float64), rtol=1e-5, atol=1e-6, err_msg=case.name
            )
        right_ones += 1
    assert right_ones or name in NO_CASE


def write(path: Path, *nodes: Any, stored: Mapping[str, np.ndarray] | None = None, opset: int = 20) -> Model:
    """A graph from x to y, (batch, 4) of float32 each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, ["batch", 4]) for spec in (X, Y)]
    tensors = [numpy_helper.from_array(array, name) for name, array in (stored or {}).items()]
    made = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return Model("small", "", (X,), (Y,), origin=str(path))


def node(kind: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"the_{kind.lower()}", **attributes)


SPREAD = np.array([[-2.5, -0.5, 0.5, 2.5]], np.float32)


@tpu
def test_casts_cut_off_and_tell_zero_from_the_rest(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "whole", to=7), node("CastLike", "whole x")]
    assert answers(write(tmp_path / "a.onnx", *nodes).form("jax"), {"x": SPREAD})["y"].tolist() == [[-2, 0, 0, 2]]
    nodes = [node("Cast", "x", "true", to=9), node("Cast", "true", to=1)]
    zero = {"x": SPREAD * np.array([0, 1, 0, 1], np.float32)}
    assert answers(write(tmp_path / "b.onnx", *nodes).form("jax"), zero)["y"].tolist() == [[0, 1, 0, 1]]


@tpu
def test_a_layer_is_normalised_over_its_last_axes(tmp_path: Path) -> None:
    scale, offset = np.array([1, 2, 3, 4], np.float32), np.array([4, 3, 2, 1], np.float32)
    nodes = [
        node("LayerNormalization", "x scale offset", "normal", epsilon=0.25),
        node("Einsum", "normal", equation="ij->ij"),
    ]
    found = answers(
        write(tmp_path / "a.onnx", *nodes, stored={"scale": scale, "offset": offset}).form("jax"), {"x": SPREAD}
    )
    right = SPREAD / np.sqrt((SPREAD.astype(float) ** 2).mean() + 0.25) * scale + offset
    np.testing.assert_allclose(found["y"], right, rtol=1e-6)


REFUSED = [
    ("GRU", "x", {}, "operator GRU (the_gru)"),
    ("Relu", "x", {"domain": "com.example"}, "operator com.example.Relu"),
    ("Relu", "x", {"steepness": 2.0}, "attribute steepness"),
    ("Relu", "x x", {}, "2 inputs"),
    ("Concat", "x x", {}, "axis is missing"),
    ("MaxPool", "x", {"kernel_shape": [1], "ceil_mode": 1}, "ceil_mode=1"),
    ("MaxPool", "x", {"kernel_shape": [1], "auto_pad": "SOMEHOW"}, "auto_pad=SOMEHOW"),
    ("Gelu", "x", {"approximate": "roughly"}, "approximate=roughly"),
    ("ScatterND", "x whole x", {"reduction": "median"}, "reduction=median"),
    ("Cast", "x", {"to": 11}, "type 11"),
    ("Reshape", "x x", {}, "depends on what the network is given"),
    ("ArgMax", "x", {"select_last_index": 1}, "select_last_index=1"),
    ("BatchNormalization", "x x x x x", {"training_mode": 1}, "training_mode=1"),
    ("LayerNormalization", "x x", {"stash_type": 10}, "stash_type=10"),
    ("ReduceSum", "x", {"noop_with_empty_axes": 1}, "noop_with_empty_axes"),
    ("Pad", "x whole", {"mode": "invent"}, "mode=invent"),
]


@tpu
@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "says"), REFUSED, ids=[f"{one[0]}-{one[3]}" for one in REFUSED]
)
def test_what_is_not_computed_is_refused_by_name(
    kind: str, inputs: str, attributes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    stored = {"whole": np.zeros((1, 2), np.int64)}
    model = write(tmp_path / "a.onnx", node(kind, inputs, **attributes), stored=stored)
    with pytest.raises(Unsupported) as refusal:
        answers(model.form("jax"), {"x": np.ones((2, 4), np.float32)})
    assert says in str(refusal.value)
    assert "the_" in str(refusal.value)


@tpu
def test_control_flow_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])]
    branch = helper.make_graph([node("Identity", "x", "inner")], "branch", [], ends)
    with pytest.raises(Unsupported, match="operator If"):
        write(tmp_path / "a.onnx", node("If", "whole", then_branch=branch, else_branch=branch)).form("jax")


@tpu
@pytest.mark.parametrize(("opset", "known"), [(12, False), (13, True), (28, True), (29, False)])
def test_operator_sets_that_mean_something_else_are_refused(opset: int, known: bool, tmp_path: Path) -> None:
    model = write(tmp_path / "a.onnx", node("Relu"), opset=opset)
    if known:
        model.form("jax")
        return
    with pytest.raises(Unsupported, match=f"opset {opset}"):
        model.form("jax")


@tpu
@pytest.mark.parametrize("kind", [np.float64, np.float16, np.uint64])
def test_types_that_would_be_narrowed_are_refused(kind: type, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=f"tensor w is {np.dtype(kind)}"):
        write(tmp_path / "a.onnx", node("Add", "x w"), stored={"w": np.ones(4, kind)}).form("jax")


@tpu
@pytest.mark.parametrize("where", ["../secret", "/etc/passwd"])
def test_weights_outside_of_the_models_folder_are_refused(where: str, tmp_path: Path) -> None:
    import onnx

    (tmp_path / "model").mkdir()
    path = tmp_path / "model/a.onnx"
    write(path, node("Add", "x w"), stored={"w": np.ones(4, np.float32)})
    proto = onnx.load(path)
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(Unsupported, match="outside"):
        Model("small", "", (X,), (Y,), origin=str(path)).form("jax")


@tpu
def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(Unsupported, match="fp8"):
        parts.find(Workload, "kws").model().form("jax").at("fp8")


@tpu
def test_weights_are_mapped_and_not_copied() -> None:
    lowered = parts.find(Workload, "bert-base").model().form("jax")
    assert sum(array.nbytes for array in lowered.params.values()) > 400_000_000
    for array in lowered.params.values():
        base: Any = array
        while not isinstance(base, np.memmap):
            assert base is not None
            base = base.base
        assert not array.flags.writeable


@tpu
def test_one_form_serves_every_batch() -> None:
    workload = parts.find(Workload, "bytelm-small")
    lowered, inputs = workload.model().form("jax"), workload.samples("perf", 6, 0).inputs
    whole = answers(lowered, inputs)["logits"]
    parts_of_it = [answers(lowered, {"text": inputs["text"][rows]})["logits"] for rows in (slice(0, 1), slice(1, 6))]
    np.testing.assert_allclose(np.concatenate(parts_of_it), whole, rtol=1e-4, atol=1e-4)


def types(jaxpr: Any) -> Iterator[tuple[str, str]]:
    """Every operation with the type of what it gives, in inner functions too."""
    for equation in jaxpr.eqns:
        for inner in equation.params.values():
            if hasattr(inner, "jaxpr"):
                yield from types(inner.jaxpr)
        yield from ((equation.primitive.name, str(value.aval.dtype)) for value in equation.outvars)


@tpu
@pytest.mark.parametrize("name", ["kws", "resnet8", "bytelm-small", "llama-decode"])
def test_bf16_reaches_every_product(name: str) -> None:
    """One constant left in fp32 would turn all that follows into fp32, without a word."""
    import jax

    workload = parts.find(Workload, name)
    lowered = workload.model().form("jax").at("bf16")
    inputs = workload.samples("perf", 1, 0).inputs
    arguments = (dict(lowered.params), *(inputs[spec.name] for spec in lowered.inputs))
    seen = set(types(jax.make_jaxpr(lowered.call)(*arguments).jaxpr))
    assert {kind for what, kind in seen if what in ("dot_general", "conv_general_dilated")} == {"bfloat16"}
    outputs = jax.eval_shape(lowered.call, *arguments)
    assert [str(one.dtype) for one in outputs] == [str(lowered.argument_dtype(spec)) for spec in lowered.outputs]


@tpu
def test_an_operator_that_leaves_its_precision_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    widening = replace(OPERATORS["Relu"], function=lambda m, x: x.astype(np.float32))
    monkeypatch.setitem(OPERATORS, "Relu", widening)
    lowered = write(tmp_path / "a.onnx", node("Relu")).form("jax")
    assert answers(lowered, {"x": SPREAD})["y"].dtype == np.float32
    with pytest.raises(Unsupported, match=r"the_relu.*gives float32 where bfloat16"):
        answers(lowered.at("bf16"), {"x": SPREAD})


@tpu
def test_what_is_made_of_integers_alone_keeps_its_digits_in_bf16(tmp_path: Path) -> None:
    """1001 in bf16 is 1000, and the sine of that is another one. Next to an activation all is bf16."""
    nodes = [node("Cast", "x", "position", to=7), node("Cast", "position", "angle", to=1), node("Sin", "angle", "turn")]
    model = write(tmp_path / "a.onnx", *nodes, node("Mul", "turn x"))
    positions = np.array([[1000, 1008, 1016, 1024]], np.float32)  # bf16 has these
    found = answers(
        write(
            tmp_path / "b.onnx",
            *nodes[:2],
            node("Add", "angle one", "next"),
            node("Sin", "next"),
            stored={"one": np.ones(1, np.float32)},
        )
        .form("jax")
        .at("bf16"),
        {"x": positions},
    )["y"]
    np.testing.assert_allclose(found.astype(float), np.sin(positions.astype(float) + 1), atol=4e-3)
    assert str(answers(model.form("jax").at("bf16"), {"x": positions})["y"].dtype) == "bfloat16"


@tpu
def test_fp32_asks_for_the_highest_precision() -> None:
    """By default a TPU multiplies fp32 in one pass of bf16."""
    import jax

    lowered = parts.find(Workload, "matvec").model().form("jax")
    shape = jax.ShapeDtypeStruct((1, 8192), np.float32)

    def program(lowered: form.JaxForm) -> str:
        return jax.jit(lowered.call).lower(dict(lowered.params), shape).as_text()

    assert "HIGHEST" in program(lowered)
    assert "HIGHEST" not in program(lowered.at("bf16"))


NUMPY = Maths(None, np, np.float32, np.int64, 1)
WHOLE = st.integers(-50, 50)


@given(WHOLE, WHOLE.filter(bool))
def test_integers_are_divided_towards_zero(x: int, y: int) -> None:
    assert OPERATORS["Div"].function(NUMPY, np.array(x), np.array(y)) == math.trunc(x / y)


@given(st.integers(1, 7), WHOLE, WHOLE, st.integers(-4, 4).filter(bool))
def test_slices_clamp_as_the_standard_says(size: int, start: int, end: int, step: int) -> None:
    """Written once more: count from the end, clamp, then step. What begins before a backward slice's end is empty."""
    first, last = (value + size if value < 0 else value for value in (start, end))
    first = min(max(first, 0), size) if step > 0 else min(max(first, -1), size - 1)
    last = min(max(last, 0), size) if step > 0 else min(max(last, -1), size - 1)
    x = np.arange(size)
    found = OPERATORS["Slice"].function(NUMPY, x, *(np.array([value]) for value in (start, end, 0, step)))
    assert found.tolist() == [int(x[i]) for i in range(first, last, step)]


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_that_does_not_fit_is_refused(value: int) -> None:
    if -(2**31) <= value < 2**31:
        assert narrow(np.array([value])).tolist() == [value]
        return
    with pytest.raises(Unsupported, match="32 bits"):
        narrow(np.array([value]))


def test_every_node_of_every_committed_graph_is_known() -> None:
    onnx = pytest.importorskip("onnx")
    folder = Path(graph.__file__).parents[2] / "graphs"
    kinds = {
        one.op_type for path in folder.glob("*.onnx") for one in onnx.load(path, load_external_data=False).graph.node
    }
    assert kinds <= set(OPERATORS) | {"Constant"}
