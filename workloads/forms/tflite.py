"""TFLite: the network as one file of fp32, batch 1 with axis 0 free, written without TensorFlow.

Images lie in it with their channels last (NHWC), as TFLite's operators and every user's file have them, and no
transposition leads the graph: a tensor that is turned so is called "NAME:nhwc" in the file, and NAME by its signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached
from workloads.forms._packages import installed
from workloads.forms._tflite import layers, plain
from workloads.forms._tflite.file import TfliteFile
from workloads.forms._tflite.graph import Node, read
from workloads.forms._tflite.lowering import Lowering

VERSION = 5
"""Goes up with every change of what is written, as files are kept between runs."""
LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Conv": layers.conv,
    "MaxPool": layers.pool,
    "AveragePool": layers.pool,
    "GlobalAveragePool": layers.global_pool,
    "Gemm": layers.dense,
    "MatMul": layers.matmul,
    "Flatten": layers.flatten,
    "Reshape": layers.flatten,
    "Squeeze": layers.flatten,
    "Unsqueeze": layers.flatten,
    "Clip": layers.clip,
    "Softmax": plain.softmax,
    "Gather": plain.gather,
    "Cast": plain.cast,
    "CastLike": plain.cast,
    "Transpose": plain.transpose,
    "Concat": plain.concat,
    "Slice": plain.cut,
    "Pad": plain.pad,
    "Reciprocal": plain.reciprocal,
    "Gelu": plain.gelu,
    "LayerNormalization": plain.layer_normalization,
    **dict.fromkeys(plain.UNARY, plain.unary),
    **dict.fromkeys(plain.BINARY, plain.binary),
    **dict.fromkeys(plain.REDUCERS, plain.reduce),
    "Pow": plain.power,
}


def build(model: Model) -> Path:
    """The path of the .tflite file in the cache; raises Unsupported naming the operator that cannot be lowered."""
    tools = installed("tflite", "edgetpu", "onnx", "ai-edge-litert", "flatbuffers")
    path: Path = model.form("onnx")

    def make(part: Path) -> None:
        part.write_bytes(convert(path))

    return cached(model, "tflite", (VERSION, *tools), "fp32.tflite", make)


def convert(path: Path) -> bytes:
    """The ONNX file in `path` as a TFLite file; the same bytes each time."""
    from ai_edge_litert import schema_py_generated

    graph = read(path)
    if missing := sorted({node.kind for node in graph.nodes} - set(LOWERINGS)):
        raise Unsupported(f"tflite has no lowering of {', '.join(missing)}")
    lowering = Lowering(graph, TfliteFile(schema_py_generated))
    for node in graph.nodes:
        LOWERINGS[node.kind](lowering, node)
    return lowering.serialised()
