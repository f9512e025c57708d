"""Quantised ONNX graphs as functions of JAX: products are of int8, and the numbers are those of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench import parts
from workloads.contract import Model, TensorSpec, Unsupported, Workload
from workloads.forms._jax import quantised
from workloads.forms._jax.operators import Maths
from workloads.techniques.int8_static import Int8Static

pytestmark = pytest.mark.tpu
X, Y = TensorSpec("x", "float32", (None, 4)), TensorSpec("y", "float32", (None, 3))
BYTES = st.sampled_from([np.int8, np.uint8])


@pytest.fixture(autouse=True)
def on_the_cpu() -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")


def answers(model: Model, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    import jax

    lowered = model.form("jax")
    given = (inputs[spec.name] for spec in lowered.inputs)
    return [np.asarray(one) for one in jax.jit(lowered.call)(dict(lowered.params), *given)]


def onnxruntimes(path: Path, inputs: Mapping[str, np.ndarray], level: str = "DISABLE_ALL") -> list[np.ndarray]:
    """As the graph is written: optimised, 1.31 computes weights of int8 with activations rounded to int8 too."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def steps(model: Model, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, str]]:
    """Every product of the traced function, with the types of its operands."""
    import jax

    lowered = model.form("jax")
    given = (inputs[spec.name] for spec in lowered.inputs)
    yield from _products(jax.make_jaxpr(lowered.call)(dict(lowered.params), *given).jaxpr)


def _products(jaxpr: Any) -> Iterator[tuple[str, str, str]]:
    for equation in jaxpr.eqns:
        for inner in equation.params.values():
            if hasattr(inner, "jaxpr"):
                yield from _products(inner.jaxpr)
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            left, right = (str(one.aval.dtype) for one in equation.invars[:2])
            yield equation.primitive.name, left, right


def quantised_products(path: Path) -> int:
    """How many products of the graph have two operands that are dequantised for them."""
    import onnx

    nodes = onnx.load(path).graph.node
    real = {name for one in nodes if one.op_type == "DequantizeLinear" for name in one.output}
    products = [one for one in nodes if one.op_type in ("Conv", "Gemm", "MatMul")]
    return sum({*one.input[:2]} <= real for one in products)


@pytest.mark.parametrize(
    ("name", "error_max"), [("digits-large", 1e-6), ("kws", 1e-6), ("resnet8", 0.02), ("bytelm-small", 0.03)]
)
def test_int8_static_multiplies_bytes_and_agrees_with_onnxruntime(name: str, error_max: float) -> None:
    """resnet8 and bytelm differ by a step here and there: ONNX Runtime itself does, with and without optimisation."""
    workload = parts.find(Workload, name)
    model, inputs = Int8Static().treat(workload.calibrated()), workload.samples("perf", 2, 0).inputs
    path = model.form("onnx")
    for found, right in zip(answers(model, inputs), onnxruntimes(path, inputs, "ENABLE_ALL"), strict=True):
        assert abs(found - right).max() <= error_max * abs(right).max()
    seen = [(left, right) for _, left, right in steps(model, inputs)]
    assert seen.count(("int8", "int8")) == quantised_products(path) > 3


def test_weights_count_a_byte_each() -> None:
    workload = parts.find(Workload, "digits-large")
    lowered = Int8Static().treat(workload.calibrated()).form("jax")
    assert {str(one.dtype) for one in lowered.params.values()} == {"int8"}
    assert workload.card.parameters <= lowered.weight_bytes < 1.05 * workload.card.parameters


def exact(x: np.ndarray, x_zero: int, w: np.ndarray, w_zero: Any) -> np.ndarray:
    product: np.ndarray = (x.astype(np.int64) - x_zero) @ (w.astype(np.int64) - w_zero)
    return product


@settings(max_examples=30, deadline=None)
@given(st.data(), BYTES, BYTES)
def test_zero_points_are_taken_out_of_the_sums_exactly(data: Any, x_type: type, w_type: type) -> None:
    import jax

    m = Maths(jax, jax.numpy, np.dtype(np.float32), np.int32, 1)
    x, w = data.draw(hnp.arrays(x_type, (2, 5))), data.draw(hnp.arrays(w_type, (5, 3)))
    x_zero, w_zero = data.draw(hnp.arrays(x_type, ())), data.draw(hnp.arrays(w_type, (3,)))
    found = quantised._multiplied(m, x, x_zero, w, w_zero)
    assert found.dtype == np.int32
    assert np.array_equal(found, exact(x, int(x_zero), w, w_zero.astype(np.int64)))


def write(path: Path, *nodes: Any, stored: Mapping[str, Any], x: TensorSpec = X, y: TensorSpec = Y) -> Model:
    """A graph from x to y; `stored` are arrays, or tensors as they are."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "uint8": TensorProto.UINT8}
    ends = [helper.make_tensor_value_info(one.name, kinds[one.dtype], ["n", *one.shape[1:]]) for one in (x, y)]
    tensors = [
        numpy_helper.from_array(one, name) if isinstance(one, np.ndarray) else one for name, one in stored.items()
    ]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return Model("small", "", (x,), (y,), origin=str(path))


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"{outputs} of {kind}", **attributes)


RNG = np.random.default_rng(5)
VALUES = {"x": RNG.uniform(-1, 1, (6, 4)).astype(np.float32)}
WEIGHTS = {
    "w": RNG.integers(-128, 128, (4, 3)).astype(np.int8),
    "one": np.array(0.01, np.float32),
    "zero": np.array(131, np.uint8),
    "columns": np.array([0.01, 0.02, 0.03], np.float32),
    "rows": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
}
QUANTISE = ("QuantizeLinear", "x one zero", "q"), ("DequantizeLinear", "q one zero", "d")


@pytest.mark.parametrize(
    ("scales", "axis", "kind"),
    [("one", 1, "int8"), ("columns", 1, "int8"), ("columns", -1, "int8"), ("rows", 0, "float32")],
)
def test_scales_that_no_sum_can_be_taken_out_of_are_computed_in_floats(
    tmp_path: Path, scales: str, axis: int, kind: str
) -> None:
    """One scale for each row of the weights changes within a sum, so there is no product in integers."""
    nodes = [node(*one) for one in QUANTISE]
    nodes += [node("DequantizeLinear", f"w {scales}", "v", axis=axis), node("MatMul", "d v", "y")]
    model = write(tmp_path / "a.onnx", *nodes, stored=WEIGHTS)
    np.testing.assert_allclose(answers(model, VALUES)[0], onnxruntimes(tmp_path / "a.onnx", VALUES)[0], atol=2e-6)
    assert list(steps(model, VALUES)) == [("dot_general", kind, kind)]


def test_weights_alone_in_int8_multiply_in_floats(tmp_path: Path) -> None:
    nodes = node("DequantizeLinear", "w columns", "v", axis=1), node("MatMul", "x v", "y")
    model = write(tmp_path / "a.onnx", *nodes, stored=WEIGHTS)
    np.testing.assert_allclose(answers(model, VALUES)[0], onnxruntimes(tmp_path / "a.onnx", VALUES)[0], atol=2e-6)
    assert list(steps(model, VALUES)) == [("dot_general", "float32", "float32")]


@pytest.mark.parametrize("move", [("Transpose", {"perm": [1, 0]}), ("Reshape", {}), ("Gather", {"axis": 1})])
def test_what_only_moves_stays_quantised(tmp_path: Path, move: tuple[str, dict[str, Any]]) -> None:
    """A table of a quantised embedding is not dequantised to read some of its rows."""
    kind, attributes = move
    stored = {**WEIGHTS, "w": RNG.integers(-128, 128, (3, 4)).astype(np.int8), "to": np.array([4, 3], np.int64)}
    stored = stored if kind != "Gather" else {**stored, "w": WEIGHTS["w"], "to": np.array([2, 0, 1], np.int64)}
    nodes = [node(*one) for one in QUANTISE] + [node("DequantizeLinear", "w one", "v")]
    nodes += [node(kind, "v" if kind == "Transpose" else "v to", "t", **attributes), node("MatMul", "d t", "y")]
    model = write(tmp_path / "a.onnx", *nodes, stored=stored)
    np.testing.assert_allclose(answers(model, VALUES)[0], onnxruntimes(tmp_path / "a.onnx", VALUES)[0], atol=2e-6)
    assert list(steps(model, VALUES)) == [("dot_general", "int8", "int8")]


def test_ranges_that_come_with_the_data(tmp_path: Path) -> None:
    """What int8-dynamic makes: activations get their scale as they come."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z", "sums"),
        node("Cast", "sums", "floats", to=1),
        node("Mul", "floats s", "y"),
    ]
    model = write(tmp_path / "a.onnx", *nodes, stored={"w": WEIGHTS["w"]})
    np.testing.assert_allclose(answers(model, VALUES)[0], onnxruntimes(tmp_path / "a.onnx", VALUES)[0], rtol=1e-6)
    assert list(steps(model, VALUES)) == [("dot_general", "int8", "int8")]


def test_the_largest_of_bytes_is_a_byte(tmp_path: Path) -> None:
    """As NNCF has it: nothing is quantised once more between pooling and the next convolution."""
    x, y = TensorSpec("x", "float32", (None, 1, 6, 6)), TensorSpec("y", "float32", (None, 2, 2, 2))
    stored = {**WEIGHTS, "w": RNG.integers(-128, 128, (2, 1, 2, 2)).astype(np.int8)}
    nodes = [node(*one) for one in QUANTISE] + [node("DequantizeLinear", "w one", "v")]
    nodes += [node("MaxPool", "d", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Conv", "p v", "y")]
    model = write(tmp_path / "a.onnx", *nodes, stored=stored, x=x, y=y)
    inputs = {"x": RNG.uniform(-1, 1, (3, 1, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(answers(model, inputs)[0], onnxruntimes(tmp_path / "a.onnx", inputs)[0], atol=2e-6)
    assert list(steps(model, inputs)) == [("conv_general_dilated", "int8", "int8")]


@pytest.mark.parametrize("w_zero", [0, 7, 255])
def test_convolutions_of_bytes_pad_with_the_zero_point(tmp_path: Path, w_zero: int) -> None:
    x, y = TensorSpec("x", "uint8", (None, 4, 6, 6)), TensorSpec("y", "int32", (None, 6, 3, 3))
    stored = {
        "w": RNG.integers(0, 256, (6, 2, 3, 3)).astype(np.uint8),
        "x_zero": np.array(19, np.uint8),
        "w_zero": np.array(w_zero, np.uint8),
    }
    made = node("ConvInteger", "x w x_zero w_zero", "y", group=2, pads=[1, 1, 1, 1], strides=[2, 2])
    model = write(tmp_path / "a.onnx", made, stored=stored, x=x, y=y)
    inputs = {"x": RNG.integers(0, 256, (2, 4, 6, 6)).astype(np.uint8)}
    assert np.array_equal(answers(model, inputs)[0], onnxruntimes(tmp_path / "a.onnx", inputs)[0])


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "says"),
    [
        (
            "com.microsoft.MatMulNBits",
            "x w rows",
            {"K": 4, "N": 3, "bits": 4, "block_size": 16},
            "com.microsoft.MatMulNBits",
        ),
        ("DequantizeLinear", "w rows", {"axis": 1, "block_size": 2}, "block_size=2"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(
    tmp_path: Path, kind: str, inputs: str, attributes: dict[str, Any], says: str
) -> None:
    domain, _, name = kind.rpartition(".")
    model = write(tmp_path / "a.onnx", node(name, inputs, "y", domain=domain, **attributes), stored=WEIGHTS)
    with pytest.raises(Unsupported, match=says) as refusal:
        answers(model, VALUES)
    assert "\n" not in str(refusal.value)


def test_weights_of_four_bits_are_refused_by_name(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    four = helper.make_tensor("w", TensorProto.INT4, (4, 3), [1] * 12)
    nodes = node("DequantizeLinear", "w columns", "v"), node("MatMul", "x v", "y")
    model = write(tmp_path / "a.onnx", *nodes, stored={**WEIGHTS, "w": four})
    with pytest.raises(Unsupported, match="tensor w is int4"):
        model.form("jax")
