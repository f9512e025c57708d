"""The ONNX graph in int8, as pairs of QuantizeLinear and DequantizeLinear around each operator (QDQ).

Weights are int8, symmetric, with a scale for each output channel; activations are uint8 with a zero point for each
tensor, from the smallest and largest value that calibration samples reach. Inputs and outputs stay in fp32, and free
sizes stay free. Any runtime that knows QDQ takes it: ONNX Runtime on a CPU, Qualcomm's HTP, TensorRT, OpenVINO.

Symmetric int8 activations were tried on kws, resnet8 and digits-small: they lose 2 to 5 dB, as half of their range is
of no use behind a ReLU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached, digest_of
from workloads.forms._packages import installed
from workloads.forms._source import whole

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
SAMPLES = 64
"""How many samples calibrate."""
LEFT = {"LayerNormalization"}
"""Stays in floating point: CPUs have no integer kernel for it, and Qualcomm's HTP refuses what the quantizer makes."""
PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Metadata by which the quantizer knows that its advice, to fold BatchNormalization first, was followed."""


def build(model: Model) -> Path:
    """The path of the .onnx file, its weights within, in the cache."""
    tools = [*installed("onnx_qdq", "model", "onnx"), _runtime()]
    rows = model.inputs[0].shape[0] or 1
    if model.calibration is None:
        raise Unsupported(f"{model.name} cannot be quantised to int8: nobody gave samples to calibrate with")
    path, inputs = Path(model.form("onnx")), model.calibration(max(SAMPLES, rows)).inputs

    def make(to: Path) -> None:
        quantise(path, to, inputs, rows)

    return cached(model, "onnx_qdq", (VERSION, digest_of(inputs), *tools), f"{model.name}.onnx", make)


def quantise(path: Path, to: Path, inputs: Arrays, rows: int = 1) -> None:
    """Write the graph in `path` to `to` in int8, calibrated with `inputs` by name, `rows` of them at once."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    quantize_static(
        prepared(path),
        to,
        _reader(inputs, rows),
        op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry} - LEFT),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def prepared(path: Path) -> Any:
    """The graph as an onnx.ModelProto with its weights, constants computed and BatchNormalization folded."""
    import onnx
    import onnxruntime

    proto = whole(path, "onnx_qdq")
    fold_batch_normalization(proto.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory(prefix="onnx_qdq-") as folder:
        options.optimized_model_filepath = f"{folder}/prepared.onnx"
        onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    optimised.metadata_props.add(key=PREPARED[0], value=PREPARED[1])
    return optimised


def fold_batch_normalization(graph: Any) -> None:
    """Take each BatchNormalization into the dense layer before it; ONNX Runtime does so with convolutions only."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    layers = {node.output[0]: node for node in graph.node if node.op_type == "Gemm" and len(node.input) == 3}
    for node in [one for one in graph.node if one.op_type == "BatchNormalization"]:
        dense = layers.get(node.input[0])
        if dense is None or any(_attribute(dense, name, 1.0) != 1.0 for name in ("alpha", "beta")):
            continue
        alone = all(readers[name] == 1 for name in (*dense.input[1:], node.input[0]))
        if alone and constants.keys() >= {*dense.input[1:], *node.input[1:]}:
            _fold(dense, node, constants)
            graph.node.remove(node)


def _fold(dense: Any, node: Any, constants: Mapping[str, Any]) -> None:
    """scale (x W + b - mean) / sqrt(variance + epsilon) + shift, as another W and b."""
    from onnx import numpy_helper

    weight, bias = dense.input[1:]
    scale, shift, mean, variance = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    factor = scale / (variance + _attribute(node, "epsilon", 1e-5)) ** 0.5
    by_row = factor[:, None] if _attribute(dense, "transB", 0) else factor
    folded = {
        weight: numpy_helper.to_array(constants[weight]) * by_row,
        bias: (numpy_helper.to_array(constants[bias]) - mean) * factor + shift,
    }
    for name, array in folded.items():
        constants[name].CopyFrom(numpy_helper.from_array(array.astype(scale.dtype), name))
    dense.output[0] = node.output[0]


def _attribute(node: Any, name: str, default: float) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _reader(inputs: Arrays, rows: int) -> Any:
    """What the quantizer asks for calibration samples, `rows` at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(inputs, rows)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._batches, None)

    return Reader()


def _batches(inputs: Arrays, rows: int) -> Iterator[dict[str, Array]]:
    """Whole batches only, as a graph that was written for one size takes no other."""
    count = len(next(iter(inputs.values())))
    for start in range(0, count - rows + 1, rows):
        yield {name: array[start : start + rows] for name, array in inputs.items()}


def _runtime() -> str:
    """Which ONNX Runtime it is; several distributions bring that module. Raises Unsupported where none does."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise Unsupported(f"form onnx_qdq needs the package {error.name}: pip install onnxruntime") from error
    return f"onnxruntime {onnxruntime.__version__}"
