"""ONNX to TFLite: right answers for every network that lowers, and for convolutions of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import parts
from workloads.contract import Model, TensorSpec, Unsupported, Workload
from workloads.forms import tflite

pytestmark = pytest.mark.edge

Arrays = Mapping[str, np.ndarray]
NETWORKS = (
    "kws", "resnet8", "autoencoder", "mobilenetv2", "resnet50", "digits-small", "digits-medium", "digits-large",
    "bytelm-small", "matmul",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of .tflite files; weights come from where they are."""
    from workloads.forms import _cache

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cache, "cache_root", lambda: folder)
        yield folder


def network(name: str) -> Workload:
    return parts.find(Workload, name)


def graph_of(data: bytes) -> tuple[Any, list[str]]:
    """The file's only subgraph and its operators' names."""
    from ai_edge_litert import schema_py_generated

    names = {number: name for name, number in vars(schema_py_generated.BuiltinOperator).items()}
    model = schema_py_generated.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    return graph, [names[model.operatorCodes[one.opcodeIndex].builtinCode] for one in graph.operators]


def answers(data: bytes, arrays: Arrays, kernels: str = "BUILTIN") -> list[np.ndarray]:
    """What the file says to arrays in the order of ONNX's axes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = getattr(OpResolverType, kernels)
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=resolver)
    for detail in interpreter.get_input_details():
        name, _, turned = detail["name"].partition(":")
        array = arrays[name].transpose(0, 2, 3, 1) if turned else arrays[name]
        interpreter.resize_tensor_input(detail["index"], array.shape, strict=True)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        name, _, turned = detail["name"].partition(":")
        array = arrays[name].transpose(0, 2, 3, 1) if turned else arrays[name]
        interpreter.set_tensor(detail["index"], np.ascontiguousarray(array))
    interpreter.invoke()
    told = [(detail["name"], interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]
    return [array.transpose(0, 3, 1, 2) if name.endswith(":nhwc") else array for name, array in told]


@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_is_golden(name: str) -> None:
    workload = network(name)
    golden = workload.golden().outputs
    rows = 12 if name != "matmul" else 2
    (output,) = answers(workload.model().form("tflite").read_bytes(), workload.samples("perf", rows, 0).inputs)
    (right,) = (array[:rows] for array in golden.values())
    assert abs(output - right).max() / abs(right).max() <= 1e-5


@pytest.mark.parametrize("name", ["kws", "resnet8", "mobilenetv2", "digits-small"])
def test_what_a_vendor_compiler_stumbles_over_is_not_there(name: str) -> None:
    model = network(name).model()
    graph, names = graph_of(model.form("tflite").read_bytes())
    assert "TRANSPOSE" not in names
    assert not [one for one in graph.tensors if b"running_mean" in one.name]
    for kind, operator in zip(names, graph.operators, strict=True):
        if kind == "MEAN":
            assert len(graph.tensors[operator.inputs[0]].shape) == 4
    (first,) = (graph.tensors[index] for index in graph.inputs)
    _, channels, height, width = model.inputs[0].shape
    assert (first.name, list(first.shape)) == (f"{model.inputs[0].name}:nhwc".encode(), [1, height, width, channels])
    assert list(first.shapeSignature) == [-1, height, width, channels]


def test_the_signature_keeps_the_models_names() -> None:
    from ai_edge_litert.interpreter import Interpreter

    workload = network("kws")
    signature = Interpreter(str(workload.model().form("tflite"))).get_signature_list()
    assert signature == {"serving_default": {"inputs": ["mfcc"], "outputs": ["logits"]}}


def test_the_same_bytes_each_time() -> None:
    path = network("resnet8").model().form("onnx")
    assert tflite.convert(path) == tflite.convert(path)


def test_a_file_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network("kws").model().form("tflite")
    monkeypatch.setattr(tflite, "convert", lambda path: pytest.fail("it was made again"))
    assert network("kws").model().form("tflite") == path


def test_another_version_of_a_tool_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = network("kws").model().form("tflite")
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    assert network("kws").model().form("tflite") != path


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "ai-edge-litert":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(Unsupported, match=r"needs the package ai-edge-litert: pip install .*edgetpu"):
        network("kws").model().form("tflite")


def onnx_file(
    folder: Path,
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]],
    constants: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
) -> Path:
    """A graph from x (batch, *shape) to y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(kind, *ends, **attributes) for kind, *ends, attributes in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    path = folder / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def check(path: Path, shape: tuple[int, ...], batch: int = 2) -> list[str]:
    """The lowered graph answers as ONNX Runtime does; names of its operators."""
    x = np.random.default_rng(0).uniform(-1, 1, (batch, *shape)).astype(np.float32)
    data = tflite.convert(path)
    (output,), right = answers(data, {"x": x}), reference(path, x)
    assert output.shape == right.shape
    assert abs(output - right).max() <= 1e-5 * max(1.0, abs(right).max())
    return graph_of(data)[1]


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "pads": st.lists(st.integers(0, 3), min_size=4, max_size=4),
        "size": st.tuples(st.integers(7, 12), st.integers(7, 12)),
        "channels": st.integers(1, 4),
        "depthwise": st.booleans(),
        "dilations": st.sampled_from([(1, 1), (2, 2), (1, 2)]),
        "relu": st.booleans(),
        "bias": st.booleans(),
    }
)


@given(CONVOLUTIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_convolution(tmp_path: Path, drawn: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    strides = (1, 1) if drawn["dilations"] != (1, 1) else drawn["strides"]  # TensorFlow has not both
    channels, groups = drawn["channels"], drawn["channels"] if drawn["depthwise"] else 1
    weight = rng.uniform(-1, 1, (2 * channels, channels // groups, *drawn["kernel"])).astype(np.float32)
    constants = {"w": weight} | ({"b": rng.uniform(-1, 1, 2 * channels).astype(np.float32)} if drawn["bias"] else {})
    attributes = {"pads": drawn["pads"], "strides": strides, "dilations": drawn["dilations"], "group": groups}
    conv = ("Conv", ["x", *constants], ["c" if drawn["relu"] else "y"], attributes)
    nodes = [conv, ("Relu", ["c"], ["y"], {})] if drawn["relu"] else [conv]
    names = check(onnx_file(tmp_path, nodes, constants, (channels, *drawn["size"])), (channels, *drawn["size"]))
    assert set(names) <= {"PAD", "CONV_2D", "DEPTHWISE_CONV_2D"}, "a ReLU is fused"


STRIDED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
W = np.random.default_rng(2).uniform(-1, 1, (6, 2, 3, 3)).astype(np.float32)
SOFTMAX = ("Softmax", ["x"], ["s"], {"axis": -1})
CONV = ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]})
AXES = {"axes": np.array([2, 3], np.int64)}
PLAIN = [
    # nodes, constants, operators
    ([CONV, ("MaxPool", ["c"], ["y"], {"kernel_shape": [2, 2], "strides": [2, 2]})], {"w": W}, "CONV_2D MAX_POOL_2D"),
    (
        [CONV, ("Relu", ["c"], ["r"], {}), ("MaxPool", ["r"], ["y"], STRIDED)],
        {"w": W},
        "CONV_2D PAD MAX_POOL_2D",
    ),
    (
        [CONV, ("AveragePool", ["c"], ["y"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]})],
        {"w": W},
        "CONV_2D AVERAGE_POOL_2D",
    ),
    ([CONV, ("GlobalAveragePool", ["c"], ["y"], {})], {"w": W}, "CONV_2D MEAN"),
    ([CONV, ("ReduceMean", ["c", "axes"], ["y"], {"keepdims": 0})], {"w": W, **AXES}, "CONV_2D MEAN"),
    ([CONV, ("ReduceMax", ["c", "one"], ["y"], {})], {"w": W, "one": np.array([1], np.int64)}, "CONV_2D REDUCE_MAX"),
    (
        [CONV, ("Flatten", ["c"], ["f"], {}), ("Gemm", ["f", "d"], ["y"], {})],
        {"w": W, "d": np.random.default_rng(3).uniform(-1, 1, (6 * 64, 5)).astype(np.float32)},
        "CONV_2D RESHAPE FULLY_CONNECTED",
    ),
    ([CONV, ("Flatten", ["c"], ["y"], {})], {"w": W}, "CONV_2D TRANSPOSE RESHAPE"),
    (  # one matrix for each of two samples: no dense layer, so the image is flattened in ONNX's order
        [CONV, ("Flatten", ["c"], ["f"], {}), ("MatMul", ["f", "d"], ["y"], {})],
        {"w": W, "d": np.random.default_rng(4).uniform(-1, 1, (2, 6 * 64, 3)).astype(np.float32)},
        "CONV_2D TRANSPOSE RESHAPE BATCH_MATMUL",
    ),
    (
        [CONV, ("Clip", ["c", "low", "high"], ["y"], {})],
        {"w": W, "low": np.float32(0).reshape(()), "high": np.float32(6).reshape(())},
        "CONV_2D",
    ),
    (
        [CONV, ("Mul", ["c", "scale"], ["y"], {})],
        {"w": W, "scale": np.arange(6, dtype=np.float32).reshape(6, 1, 1)},
        "CONV_2D MUL",
    ),
    ([CONV, ("Concat", ["c", "c"], ["y"], {"axis": 1})], {"w": W}, "CONV_2D CONCATENATION"),
    (
        [CONV, ("BatchNormalization", ["c", "g", "g", "g", "g"], ["y"], {})],
        {"w": W, "g": np.linspace(0.5, 2, 6, dtype=np.float32)},
        "CONV_2D",
    ),
    (
        [("Pad", ["x", "pads"], ["p"], {}), ("Conv", ["p", "w"], ["y"], {})],
        {"w": W, "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)},
        "PAD CONV_2D",
    ),
    (
        [SOFTMAX, ("Transpose", ["s"], ["t"], {"perm": [0, 1, 3, 2]}), ("MatMul", ["s", "t"], ["y"], {})],
        {},
        "SOFTMAX TRANSPOSE BATCH_MATMUL",
    ),
    ([("LayerNormalization", ["x", "g", "g"], ["y"], {})], {"g": np.linspace(0.5, 2, 8, dtype=np.float32)}, ""),
    ([("Gelu", ["x"], ["y"], {})], {}, "GELU"),
    ([("MatMul", ["x", "x"], ["m"], {}), ("Relu", ["m"], ["y"], {})], {}, "BATCH_MATMUL RELU"),
    ([CONV, ("GlobalAveragePool", ["c"], ["g"], {}), ("Flatten", ["g"], ["y"], {})], {"w": W}, "CONV_2D MEAN RESHAPE"),
    (
        [("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "d", "row"], ["g"], {}), ("Relu", ["g"], ["y"], {})],
        {"d": np.ones((128, 3), np.float32), "row": np.array([[-9, 0, 9]], np.float32)},
        "RESHAPE FULLY_CONNECTED",
    ),
    ([("Clip", ["x", "low"], ["y"], {})], {"low": np.zeros((), np.float32)}, "RELU"),
    ([("Pow", ["x", "two"], ["y"], {})], {"two": np.float32(2).reshape(())}, "MUL"),
    (
        [("Slice", ["x", "from", "to", "axis", "step"], ["y"], {})],
        {"from": np.array([-5]), "to": np.array([99]), "axis": np.array([3]), "step": np.array([2])},
        "STRIDED_SLICE",
    ),
    ([("Gather", ["x", "last"], ["y"], {"axis": 2})], {"last": np.array([-1, 0])}, "GATHER"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "constants", "operators"), PLAIN, ids=[" ".join(one[0] for one in n) for n, *_ in PLAIN]
)
def test_other_operators(tmp_path: Path, nodes: list, constants: Arrays, operators: str) -> None:
    names = check(onnx_file(tmp_path, nodes, constants, (2, 8, 8)), (2, 8, 8))
    if operators:
        assert names == operators.split()


@pytest.mark.parametrize(
    ("nodes", "constants", "says"),
    [
        ([("NonZero", ["x"], ["y"], {})], {}, "shape|NonZero"),
        ([("Erf", ["x"], ["y"], {})], {}, "no lowering of Erf"),
        ([("Conv", ["x", "w"], ["y"], {"group": 2})], {"w": W}, "2 groups with 4 channels"),
        ([("MaxPool", ["x"], ["y"], STRIDED)], {}, "zeros around"),
        ([("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "ceil_mode": 1})], {}, "rounds up"),
        ([("Softmax", ["x"], ["y"], {"axis": 1})], {}, "over axis 1"),
        ([("Clip", ["x", "low"], ["y"], {})], {"low": np.float32(0.25).reshape(())}, "0.25"),
        (
            [
                ("Shape", ["x"], ["all"], {"end": 1}),
                ("Cast", ["x"], ["whole"], {"to": 7}),
                ("Add", ["whole", "all"], ["sum"], {}),
                ("Cast", ["sum"], ["y"], {"to": 1}),
            ],
            {},
            "all, which depends on a free size",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_lowered_is_named(tmp_path: Path, nodes: list, constants: Arrays, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        tflite.convert(onnx_file(tmp_path, nodes, constants, (4, 8, 8)))


def test_an_old_operator_set_is_refused(tmp_path: Path) -> None:
    """Before 13, Softmax is over all axes from one on."""
    import onnx

    path = onnx_file(tmp_path, [("Softmax", ["x"], ["y"], {})], {}, (3, 4))
    proto = onnx.load(path)
    proto.opset_import[0].version = 12
    onnx.save(proto, path)
    with pytest.raises(Unsupported, match="opset 12 is none of 13 to 28"):
        tflite.convert(path)


def test_a_graph_of_more_than_a_file_is_refused_unread(tmp_path: Path) -> None:
    import onnx

    constants = {"w": np.ones((4, 64), np.float32)}
    path = onnx_file(tmp_path, [("MatMul", ["x", "w"], ["y"], {})], constants, (4,))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.truncate(2**31)  # a hole: it takes no room
    with pytest.raises(Unsupported, match=r"g is 2\.15 GB, and form tflite is one file"):
        tflite.convert(path)


def test_a_users_model_is_lowered_from_its_own_file(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, [("Relu", ["x"], ["y"], {})], {}, (3,))
    specs = (TensorSpec("x", "float32", (None, 3)),), (TensorSpec("y", "float32", (None, 3)),)
    model = Model("theirs", "a digest of test_form_tflite", *specs, origin=str(path))
    (output,) = answers(model.form("tflite").read_bytes(), {"x": np.array([[-1, 0, 2]], np.float32)})
    assert output.tolist() == [[0, 0, 2]]
