"""What a user brings with a model: `--inputs` and `--reference`, arrays by name whose axis 0 is the sample axis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from workloads.onnxfile import ModelFileError, OnnxFile

if TYPE_CHECKING:
    from workloads.contract import Arrays


def arrays(option: str, path: str) -> dict[str, Any]:
    """The arrays of a file that numpy.savez wrote; raises ModelFileError for another."""
    told = f"{option} {Path(path).name}"
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = dict(stored)
    except (BadZipFile, ValueError, EOFError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{told} is no file of arrays: write it with numpy.savez(path, name=array)") from error
    counts = {array.shape[0] if array.ndim else 0 for array in found.values()}
    if len(counts) != 1 or 0 in counts:
        raise ModelFileError(f"{told}: every array needs the same number of samples on axis 0, at least one")
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelFileError(f"{told}: {name} has NaN or infinity in it")
    return found


def _check_names(option: str, file: OnnxFile, inputs: Arrays) -> None:
    wanted = [tensor.name for tensor in file.inputs]
    if set(inputs) != set(wanted):
        raise ModelFileError(f"{option} has {', '.join(inputs)}, and the model takes {', '.join(wanted)}")


def sizes(file: OnnxFile, inputs: Arrays) -> dict[str, int]:
    """The free dimensions beside axis 0 as these inputs have them; raises ModelFileError where inputs differ."""
    _check_names("--inputs", file, inputs)
    pairs = [pair for tensor in file.inputs for pair in zip(tensor.dims[1:], inputs[tensor.name].shape[1:])]
    return {dim: size for dim, size in pairs if isinstance(dim, str)}


def check_inputs(file: OnnxFile, inputs: Arrays, option: str = "--inputs") -> None:
    """Raises ModelFileError where an array is not what the graph takes, dimensions being fixed."""
    _check_names(option, file, inputs)
    for tensor in file.inputs:
        array = inputs[tensor.name]
        if str(array.dtype) != tensor.dtype or array.shape[1:] != tensor.dims[1:]:
            wanted = ", ".join(map(str, ("samples", *tensor.dims[1:])))
            raise ModelFileError(
                f"{option}: {tensor.name} is {array.dtype}{array.shape}, and the model takes {tensor.dtype}({wanted})"
            )


def check_reference(file: OnnxFile, inputs: Arrays, outputs: Mapping[str, Any]) -> None:
    """Raises ModelFileError where these are no outputs of the graph for these inputs."""
    if set(outputs) != set(file.outputs):
        raise ModelFileError(f"--reference has {', '.join(outputs)}, and the model gives {', '.join(file.outputs)}")
    have, need = len(next(iter(outputs.values()))), len(next(iter(inputs.values())))
    if have != need:
        raise ModelFileError(f"--reference has {have} samples, and --inputs has {need}")
    for value in file.proto.graph.output:
        array, shape = outputs[value.name], value.type.tensor_type.shape
        sizes = [dim.dim_value for dim in shape.dim][1:]  # 0: the graph does not say
        if sizes and (len(sizes) != array.ndim - 1 or any(a and a != b for a, b in zip(sizes, array.shape[1:]))):
            wanted = ", ".join(str(size or "?") for size in ("samples", *sizes))
            raise ModelFileError(f"--reference: {value.name} is {array.shape}, and the model gives ({wanted})")
