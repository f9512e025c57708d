"""The ONNX graph in int8, as pairs of QuantizeLinear and DequantizeLinear around each operator (QDQ).

Weights are int8, symmetric, with a scale for each output channel; activations are uint8 with a zero point for each
tensor, from the smallest and largest value that calibration samples reach. Inputs and outputs stay in fp32, and free
sizes stay free. Any runtime that knows QDQ takes it: ONNX Runtime on a CPU, Qualcomm's HTP, TensorRT, OpenVINO.

Symmetric int8 activations were tried on kws, resnet8 and digits-small: they lose 2 to 5 dB, as half of their range is
of no use behind a ReLU. On bytelm-large and bert-base they triple the loss, and ONNX Runtime is then slower than in
fp32 on x86, which multiplies uint8 by int8.

In a convolutional network every operator is quantised, so that a residual sum stays in int8 too. In a transformer only
products, attention's own too, and the embeddings are: with everything quantised bert-base's answers are noise (a
centred cosine of 0.006 against 0.97) and bytelm-large's perplexity is 4.549 against 4.205, fp32 being 4.203. What a
product gives is left in fp32 there, as a sum, a Gelu or a normalisation follows: quantising it costs a pass over it and
gains none. Percentiles for the ranges (99.99 and 99.999) gave a perplexity of 4.209 and 4.201 where extremes gave 4.209
and took up to five times as long to calibrate; extremes need no choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached, calibration, digest_of
from workloads.forms._calibration import batch, batches, calibrating
from workloads.forms._packages import installed
from workloads.forms._prepared import attends, prepared

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

VERSION = 2
"""Goes up with every change of what is written, as files are kept between runs."""
SAMPLES = 64
"""How many samples calibrate."""
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What has weights; a graph without any has nothing to gain."""
LEFT = {"LayerNormalization"}
"""Stays in floating point: CPUs have no integer kernel for it, and Qualcomm's HTP refuses what the quantizer makes."""


def build(model: Model) -> Path:
    """The path of the .onnx file, its weights within, in the cache."""
    tools = [*installed("onnx_qdq", "model", "onnx"), runtime("onnx_qdq")]
    inputs = calibrating(model, max(SAMPLES, batch(model)))
    path = Path(model.form("onnx"))

    def make(to: Path) -> None:
        quantise(path, to, inputs, batch(model))

    key = (VERSION, digest_of(inputs), *tools)
    return cached(model, "onnx_qdq", key, f"{model.name}.onnx", make, calibration(inputs))


def quantise(path: Path, to: Path, inputs: Arrays, rows: int = 1) -> None:
    """Write the graph in `path` to `to` in int8, calibrated with `inputs` by name, `rows` of them at once."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    proto = prepared(path, "onnx_qdq", LAYERS)
    quantize_static(
        proto,
        to,
        _reader(inputs, rows),
        **_scope(proto.graph),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def _scope(graph: Any) -> Mapping[str, Any]:
    """Which operators are quantised; see the top."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    if not attends(graph):
        return {"op_types_to_quantize": sorted({*QDQRegistry, *QLinearOpsRegistry} - LEFT)}
    options = {"OpTypesToExcludeOutputQuantization": list(LAYERS)}
    return {"op_types_to_quantize": [*LAYERS, "Gather"], "extra_options": options}


def _reader(inputs: Arrays, rows: int) -> Any:
    """What the quantizer asks for calibration samples, `rows` at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = batches(inputs, rows)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._batches, None)

    return Reader()


def runtime(form: str) -> str:
    """Which ONNX Runtime it is; several distributions bring that module. Raises Unsupported where none does."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise Unsupported(f"form {form} needs the package {error.name}: pip install onnxruntime") from error
    return f"onnxruntime {onnxruntime.__version__}"
