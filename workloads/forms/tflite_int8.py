"""TFLite in full-integer INT8, inputs and outputs too, as the Edge TPU and Ethos-U take it.

Weights have a scale for each channel, activations one for each tensor, from the smallest and largest value that the
calibration samples reach. The quantizer's own default, a moving average of those, clips: with it the error was 8 to
10 dB larger on kws and resnet8. The outputs' mean over these samples is then made that of the fp32 network.
"""

from __future__ import annotations

import contextlib
import os
import types
import warnings
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached, calibration, digest_of
from workloads.forms._calibration import check
from workloads.forms._packages import installed
from workloads.forms._tflite.bias import corrected
from workloads.forms._tflite.file import SIGNATURE
from workloads.forms._tflite.lowering import MARK, NHWC
from workloads.weights import sha256_of

if TYPE_CHECKING:
    from workloads.contract import Arrays, Samples

VERSION = 5
"""Goes up with every change of what is written, as files are kept between runs."""
SAMPLES = 512
INPUT_BYTES = 32 << 20
"""How many samples calibrate: so many, or as many as fit into this, and at least 16. kws needs more than 256, or its
strongest inputs are cut off: 64 gave 27 dB over 256 inputs, 384 gave 31."""
SAMPLES_MIN = 16
FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")


def build(model: Model) -> Path:
    """The path of the .tflite file in the cache; raises Unsupported where a tensor would stay a float."""
    tools = installed("tflite_int8", "edgetpu", "ai-edge-quantizer", "ai-edge-litert", "flatbuffers")
    fp32: Path = model.form("tflite")
    if model.calibration is None:
        raise Unsupported(f"{model.name} cannot be quantised: nobody gave samples to calibrate with")
    inputs = _calibrating(model.calibration)
    check(model, inputs)

    def make(part: Path) -> None:
        part.write_bytes(quantised(model.name, fp32, inputs))

    key = (VERSION, sha256_of(fp32), digest_of(inputs), *tools)
    return cached(model, "tflite_int8", key, "int8.tflite", make, calibration(inputs))


def _calibrating(calibration: Callable[[int], Samples]) -> Arrays:
    """The inputs to calibrate with."""
    one_bytes = sum(array.nbytes for array in calibration(1).inputs.values())
    return calibration(max(SAMPLES_MIN, min(SAMPLES, INPUT_BYTES // max(1, one_bytes)))).inputs


def quantised(name: str, path: Path, inputs: Arrays) -> bytes:
    """The fp32 file in `path` in INT8, calibrated by `inputs`, which are laid out as the model called `name` says."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    samples = list(_samples(_marked(schema, path), inputs))
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    try:
        with _quiet():
            ranges = calibrator.Calibrator(str(path), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            ranges.calibrate({SIGNATURE: samples}, rules)
            quantizing = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
            data = bytes(quantizing.quantize(ranges.get_model_qsvs()).quantized_model)
    except (ValueError, NotImplementedError) as error:
        raise Unsupported(f"{name} cannot be quantised: {str(error).strip().splitlines()[-1]}") from error
    if left := _floats(schema, data):
        raise Unsupported(f"{name} cannot be full-integer: {', '.join(left[:3])} would stay floats")
    return corrected(schema, path.read_bytes(), data, samples)


def _samples(marked: Container[str], inputs: Arrays) -> Iterator[dict[str, Any]]:
    """One sample after another as the file takes it: batch 1, images with their channels last."""
    turned = {name: array.transpose(NHWC) if name in marked else array for name, array in inputs.items()}
    for row in range(len(next(iter(turned.values())))):
        yield {name: np.ascontiguousarray(array[row : row + 1]) for name, array in turned.items()}


def _marked(schema: types.ModuleType, path: Path) -> set[str]:
    """Names of the inputs whose channels come last."""
    graph = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]
    names = [graph.tensors[index].name.decode() for index in graph.inputs]
    return {name[: -len(MARK)] for name in names if name.endswith(MARK)}


def _floats(schema: types.ModuleType, data: bytes) -> list[str]:
    graph = schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0]
    kinds = {getattr(schema.TensorType, name) for name in FLOATS}
    return [tensor.name.decode() for tensor in graph.tensors if tensor.type in kinds]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's progress bars, and its warning that keeping all tensors takes memory."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings():  # noqa: PTH123 - a device
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
