"""The right answers of a user's own model: what onnxruntime computes in fp32, as the graph was written, twice.

The second time the graph is optimised, the samples come in another order and in batches of another size: what then
differs is no property of the model, and a model whose answers differ much cannot be checked at all. Runs in a process
of its own, as a model may crash the library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.audit import correctness
from workloads.onnxfile import ModelFileError
from workloads.user import Noise

if TYPE_CHECKING:
    from workloads.contract import Arrays

GOLDEN, CANDIDATES = 12, 48
"""Samples with golden outputs, as many as the output check needs, and samples that they are chosen from."""
FLOPS_MAX = 1e12
"""Work for choosing, some ten seconds of a few cores; a model of more has its golden samples unchosen."""
KEPT_MAX_BYTES = 256 << 20
NOISE_MAX = 1e-2
"""Relative to the largest output. fp32 on our networks is below 1e-5; a random operator is near 1."""
SIZES = (3, 1)
"""Samples of a query the first and the second time, where the sample axis is free."""


@dataclass(frozen=True)
class Reference:
    """`golden` has the right outputs of the samples `rows`; `outputs` one sample of everything that the graph gives."""

    rows: list[int]
    golden: Arrays
    outputs: Arrays
    noise: Noise
    how: str


def compute(path: Path, inputs: Arrays, batch: int | None, flops: int | None) -> Reference:
    """Golden outputs of a few samples; raises ModelFileError for a model whose answers could not be checked.

    One session at a time: the model may fill half of the memory.
    """
    import onnxruntime

    first, second = (batch, batch) if batch else SIZES
    plain = _Session(path, optimise=False)
    one = {name: array[:1] for name, array in plain.ask(inputs, [0] * first).items()}
    candidates = CANDIDATES if CANDIDATES * (flops or 0) <= FLOPS_MAX else GOLDEN
    names, count = comparable(one, min(candidates, len(next(iter(inputs.values())))))
    answers = plain.answers(inputs, range(count), first, names)
    del plain
    rows = far_apart(answers)
    right = {name: array[rows] for name, array in answers.items()}
    back = _Session(path, optimise=True).answers(inputs, rows[::-1], second, names)
    agreement = correctness.agree({name: array[::-1] for name, array in back.items()}, right, range(len(rows)))
    noise = Noise(float(agreement.error.max()), float(agreement.cosine.min()))
    if noise.relative_error > NOISE_MAX:
        raise ModelFileError(_restless(path, inputs, [0] * first, names, noise))
    if not agreement.hits.all() or (count > 1 and not _varying(right)):
        raise ModelFileError(
            "its answers to different inputs differ by less than fp32 rounding, so none could be checked: "
            "give real inputs, --inputs FILE.npz"
        )
    how = f"onnxruntime {onnxruntime.__version__} in fp32, the graph as it was written"
    return Reference(rows, right, one, noise, how)


def answers(path: Path, inputs: Arrays, batch: int | None) -> dict[str, Any]:
    """Every output of the graph for these samples, as it was written; raises ModelFileError."""
    session = _Session(path, optimise=False)
    count = len(next(iter(inputs.values())))
    return session.answers(inputs, range(count), batch or SIZES[0], session.names)


def comparable(outputs: Arrays, available: int) -> tuple[list[str], int]:
    """Which outputs to compare, and of how many samples, so that they can be kept; `outputs` are of one sample.

    The floating ones, or all where none is: which index wins may flip.
    """
    floating = [name for name, array in outputs.items() if array.dtype.kind == "f"] or list(outputs)
    sizes = [outputs[name].nbytes for name in floating]
    names = [name for i, name in enumerate(floating) if i == 0 or GOLDEN * sum(sizes[: i + 1]) <= KEPT_MAX_BYTES]
    fitting = KEPT_MAX_BYTES // max(1, sum(outputs[name].nbytes for name in names))
    return names, min(available, max(GOLDEN, fitting))


def far_apart(outputs: Arrays) -> list[int]:
    """GOLDEN rows, or all, whose outputs differ from one another as much as can be had, in every output that varies.

    Each next row is the one farthest from those chosen: of 16 random answers of a classifier of two classes some are
    so near that bf16 mixes them up.
    """
    count = len(next(iter(outputs.values())))
    chosen, nearest = [0], np.full(count, np.inf)
    while len(chosen) < min(GOLDEN, count):
        nearest = np.minimum(nearest, _distances(outputs, chosen[-1]))
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return chosen


def _distances(outputs: Arrays, row: int) -> Any:
    """Of all rows from one, in the output where they are nearest, each output being scaled by its largest distance."""
    varying = _varying(outputs)
    if not varying:
        return np.zeros(len(next(iter(outputs.values()))))
    flat = [outputs[name].reshape(len(outputs[name]), -1).astype(np.float64) for name in varying]
    lengths = [np.linalg.norm(values - values[row], axis=1) for values in flat]
    return np.min([length / (length.max() or 1.0) for length in lengths], axis=0)


def _varying(outputs: Arrays) -> list[str]:
    return [name for name, array in outputs.items() if (array != array[:1]).any()]


class _Session:
    """onnxruntime's own, on the CPU."""

    def __init__(self, path: Path, optimise: bool) -> None:
        import onnxruntime

        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:
            remedy = "export it otherwise, or give --inputs and --reference and an --engine that can"
            raise ModelFileError(f"onnxruntime cannot load it: {said(error)}; {remedy}") from error
        self.names = [output.name for output in self._session.get_outputs()]

    def answers(self, inputs: Arrays, order: Sequence[int], size: int, names: Sequence[str]) -> dict[str, Any]:
        """The outputs in `names` of the samples in `order`, in that order, from queries of `size` samples."""
        found: dict[str, dict[int, Any]] = {name: {} for name in names}
        for rows in _queries(order, size):
            outputs = self.ask(inputs, rows)
            for name in names:
                found[name].update(zip(rows, outputs[name]))
        return {name: _stacked(name, [rows[row] for row in order]) for name, rows in found.items()}

    def ask(self, inputs: Arrays, rows: Sequence[int]) -> dict[str, Any]:
        try:
            replies = self._session.run(self.names, {name: array[list(rows)] for name, array in inputs.items()})
        except Exception as error:
            remedy = "give valid ones, --inputs FILE.npz, or fix its dimensions otherwise, --dim"
            raise ModelFileError(f"onnxruntime cannot run it on such inputs: {said(error)}; {remedy}") from error
        outputs = dict(zip(self.names, replies))
        for name, array in outputs.items():
            _check(name, array, len(rows))
        return outputs


def _queries(order: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows of each query; the last one is filled up from the start."""
    for start in range(0, len(order), size):
        yield [order[(start + i) % len(order)] for i in range(size)]


def _check(name: str, array: Any, size: int) -> None:
    if array.shape[:1] != (size,):
        raise ModelFileError(
            f"its output {name} has the shape {array.shape} for {size} samples: axis 0 has to be the sample axis of "
            f"every output; export it so"
        )
    if not np.isfinite(array).all():
        raise ModelFileError(f"its output {name} has NaN or infinity in it: give inputs that it can take, --inputs")


def _stacked(name: str, rows: Sequence[Any]) -> Any:
    if len({array.shape for array in rows}) > 1:
        raise ModelFileError(f"its output {name} has another shape from query to query, and cannot be compared")
    return np.stack(rows)


def _restless(path: Path, inputs: Arrays, rows: Sequence[int], names: Sequence[str], noise: Noise) -> str:
    """Why its answers differ: it draws numbers, or mixes the samples of a query."""
    session = _Session(path, optimise=False)
    one, other = (session.ask(inputs, rows) for _ in range(2))
    differ = f"differ by up to {noise.relative_error:.0%} of the largest"
    if any(np.abs(one[name] - other[name]).max() > NOISE_MAX * np.abs(one[name]).max() for name in names):
        return f"two answers to the same input {differ}: it draws random numbers; export it for inference"
    return f"its answers {differ} with the other samples of the query: axis 0 is not the sample axis; export it so"


def said(error: BaseException) -> str:
    """What onnxruntime means, without its codes, its sources' lines and the file's path."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from .* failed: ?", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return text.removeprefix("Fatal error: ").rstrip(". ")[:300]
