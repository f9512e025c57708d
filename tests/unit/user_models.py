"""Small ONNX files such as users bring, written by onnx.helper, and what every test does with them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Backend, Engine, Plan
from bench import parts
from bench.audit import correctness
from bench.usermodel import Asked, preparing
from workloads import user
from workloads.user import UserModel

Value = tuple[str, str, Sequence[Any] | None]
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
TYPES |= {"float16": TensorProto.FLOAT16, "string": TensorProto.STRING, "uint8": TensorProto.UINT8}
TYPES |= {"float64": TensorProto.DOUBLE, "int32": TensorProto.INT32}
node = helper.make_node


def weights(name: str, *shape: int, scale: float = 0.3) -> Any:
    seed = sum(name.encode()) + len(shape)
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return numpy_helper.from_array(values.astype(np.float32), name)


def constant(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    stored: Sequence[Any] = (),
    opset: int = 17,
    ir_version: int = 8,
) -> Any:
    graph = helper.make_graph(nodes, "g", [_info(*v) for v in inputs], [_info(*v) for v in outputs], list(stored))
    domains = {one.domain for one in nodes if one.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(domains))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _info(name: str, dtype: str, shape: Sequence[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, TYPES[dtype], shape)


def saved(proto: Any, folder: Path, name: str = "mine.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def cnn(batch: Any = "batch") -> Any:
    """image (batch, 3, 16, 16) -> logits (batch, 5): 8 filters, a mean and a dense layer; 110,672 operations."""
    return model(
        [
            node("Conv", ["image", "filters"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "dense"], ["logits"], transB=1),
        ],
        [("image", "float32", [batch, 3, 16, 16])],
        [("logits", "float32", [batch, 5])],
        [weights("filters", 8, 3, 3, 3), weights("dense", 5, 8)],
    )


def tokens() -> Any:
    """ids and attention_mask (batch, seq) int64 -> logits (batch, 4), and the class of the largest, int64."""
    return model(
        [
            node("Gather", ["table", "ids"], ["e"]),
            node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["m", "last"], ["mu"]),
            node("Mul", ["e", "mu"], ["em"]),
            node("MatMul", ["em", "dense"], ["h"]),
            node("ReduceMean", ["h"], ["logits"], axes=[1], keepdims=0),
            node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0),
        ],
        [("ids", "int64", ["batch", "seq"]), ("attention_mask", "int64", ["batch", "seq"])],
        [("logits", "float32", ["batch", 4]), ("class", "int64", ["batch"])],
        [weights("table", 50, 8, scale=1), weights("dense", 8, 4), constant("last", 2)],
    )


def two_inputs() -> Any:
    """left (batch, 6), right (batch, 7) -> y (batch, 5)"""
    return model(
        [
            node("Concat", ["left", "right"], ["both"], axis=1),
            node("MatMul", ["both", "dense"], ["h"]),
            node("Tanh", ["h"], ["y"]),
        ],
        [("left", "float32", ["batch", 6]), ("right", "float32", ["batch", 7])],
        [("y", "float32", ["batch", 5])],
        [weights("dense", 13, 5)],
    )


def one(op: str, shape: Sequence[Any] = ("n", 4), dtype: str = "float32", **attributes: Any) -> Any:
    """x -> y by a single operator."""
    return model([node(op, ["x"], ["y"], **attributes)], [("x", dtype, shape)], [("y", dtype, None)])


def with_external(folder: Path, location: str = "weights.bin", data: bytes | None = None) -> Path:
    """x (n, 4) -> y (n, 3), whose weights lie in `location`; `data` None: no such file is written."""
    tensor = weights("dense", 4, 3)
    values = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(len(values))}.items():
        tensor.external_data.add(key=key, value=value)
    if data is not None:
        (folder / location).write_bytes(data or values)
    shapes: list[list[Value]] = [[("x", "float32", ["n", 4])], [("y", "float32", ["n", 3])]]
    return saved(model([node("MatMul", ["x", "dense"], ["y"])], *shapes, [tensor]), folder)


def huge(folder: Path) -> Path:
    """ids (n, 4), x (n, 256) -> y (n, 256), with a table of 2.25 GB in a sparse file of zeros."""
    rows, width = 2_200_000, 256
    table = onnx.TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, width])
    table.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "table.bin", "offset": "0", "length": str(rows * width * 4)}.items():
        table.external_data.add(key=key, value=value)
    with (folder / "table.bin").open("wb") as file:
        file.truncate(rows * width * 4)
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        node("Add", ["m", "x"], ["y"]),
    ]
    inputs = [("ids", "int64", ["n", 4]), ("x", "float32", ["n", width])]
    return saved(model(nodes, inputs, [("y", "float32", ["n", width])], [table]), folder, "huge.onnx")


def prepared(path: Path, **chosen: Any) -> UserModel:
    """As `bench.usermodel` does, in this process."""
    asked = Asked(str(path), path.stem, **chosen)
    home = path.parent / f"{path.stem}.prepared"
    preparing.prepare(asked, preparing.find(asked.source, asked.dims), home, lambda _doing: None)
    return user.UserModel(str(home))


def check(workload: UserModel, engine_name: str, batch: int, precision: str = "fp32") -> dict[str, Any]:
    """The output check of a session, as a worker makes it."""
    (device,) = parts.find(Backend, "cpu").probe().devices
    engine = parts.find(Engine, engine_name)
    with closing(engine.compile(workload.model(), Plan(precision, batch, "latency"), device)) as session:
        return correctness.outputs(workload, session, batch, precision, seed=1)


def assert_right(evidence: dict[str, Any], count: int = 12) -> None:
    assert evidence["finite"]
    assert evidence["n"] == evidence["identity_hits"] == count
    assert evidence["centred_cosine_min"] >= evidence["cosine_required"]
    assert evidence["relative_error_max"] <= evidence["relative_error_allowed"]


def given(folder: Path, **arrays: Any) -> str:
    np.savez(path := folder / "given.npz", **arrays)
    return str(path)


def asked(path: Path, **chosen: Any) -> Asked:
    return Asked(str(path), path.stem, **chosen)
