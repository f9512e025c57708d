"""The quantised ONNX graph as TensorRT takes it: int8 with zero points of 0, and biases in fp32.

TensorRT's parser refuses other zero points ("TRT only supports symmetric quantization", NVIDIA/TensorRT#2774), takes
uint8 for int8 (which would cut off the upper half) and has no int32 to dequantise (onnx/onnx-tensorrt#850). Weights
stay as they are. What an activation reached stays in range, on steps that are up to twice as wide: behind a ReLU half
of the range is of no use. That ReLU itself comes back: the quantizer leaves it out where a zero point of 0 cuts off all
below, which a symmetric range does not. No calibration is run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached, making
from workloads.forms._packages import installed
from workloads.forms._source import whole
from workloads.weights import sha256_of

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
LARGEST = 127
CALIBRATION = ("samples", "samples_sha256")
NEVER_NEW = (
    *("AveragePool", "Clip", "Concat", "Flatten", "Gather", "GlobalAveragePool", "MaxPool", "ReduceMean", "Relu"),
    *("Reshape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that give nothing below 0, if nothing below 0 comes in."""
PAIR = ("QuantizeLinear", "DequantizeLinear")


def build(model: Model) -> Path:
    """The path of the .onnx file in the cache: of the graph that a technique quantised, else of the form "onnx_qdq"."""
    source = Path(model.form("onnx" if model.precision == "int8" else "onnx_qdq"))

    def make(to: Path) -> None:
        proto = whole(source, "onnx_qdq_symmetric")
        symmetric(proto.graph)
        to.write_bytes(proto.SerializeToString(deterministic=True))

    key = (VERSION, sha256_of(source), *installed("onnx_qdq", "model", "onnx"))
    about = {name: value for name, value in making(source).items() if name in CALIBRATION}
    return cached(model, "onnx_qdq_symmetric", key, f"{model.name}.onnx", make, about)


def symmetric(graph: Any) -> None:
    """In place; raises Unsupported for weights with a zero point, and for scales that are no constants."""
    from onnx import numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    for node in [one for one in graph.node if one.op_type in PAIR]:
        if node.input[0] not in stored:
            if node.op_type == PAIR[0] and makers.get(node.input[0], NEVER_NEW[0]) not in NEVER_NEW:
                _cut_off(graph, node, stored)
            _even(graph, node, stored)
        elif stored[node.input[0]].dtype == "int32":
            _as_floats(graph, node, stored)
        elif len(node.input) > 2 and stored[node.input[2]].any():
            raise Unsupported(f"the weights {node.input[0]} have a zero point, and TensorRT takes none")
    del graph.value_info[:]  # it names types that are no longer so


def _even(graph: Any, node: Any, stored: dict[str, Any]) -> None:
    """An activation's scale so wide that its range lies on both sides of 0."""
    import numpy as np
    from onnx import numpy_helper

    if node.input[1] not in stored:
        raise Unsupported(f"the scale of {node.input[0]} comes with the data, and TensorRT wants it known")
    zero = stored[node.input[2]] if len(node.input) > 2 else np.zeros((), np.uint8)
    least, most = LIMITS[zero.dtype.name]
    if zero.dtype == "int8" and not zero.any():
        return
    widest = np.maximum(zero.astype(np.float64) - least, most - zero.astype(np.float64))
    names = [f"{node.input[1]}:even", f"{node.input[1]}:zero"]
    if names[0] not in stored:
        arrays = (stored[node.input[1]] * widest / LARGEST).astype(np.float32), np.zeros(zero.shape, np.int8)
        graph.initializer.extend(numpy_helper.from_array(one, name) for one, name in zip(arrays, names))
        stored.update(zip(names, arrays))
    del node.input[1:]
    node.input.extend(names)


def _cut_off(graph: Any, node: Any, stored: dict[str, Any]) -> None:
    """A ReLU before what is quantised to nothing below 0."""
    from onnx import helper

    zero = stored.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None or (zero == LIMITS[zero.dtype.name][0]).all():
        name = f"{node.input[0]}:positive"
        place = list(graph.node).index(node)
        graph.node.insert(place, helper.make_node("Relu", [node.input[0]], [name], name=name))
        node.input[0] = name


def _as_floats(graph: Any, node: Any, stored: dict[str, Any]) -> None:
    """A bias, which is added to sums of int8 by int8 in fp32."""
    import numpy as np
    from onnx import numpy_helper

    bias = (stored[node.input[0]] * stored[node.input[1]].astype(np.float64)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(bias, node.output[0]))
    graph.node.remove(node)
