"""Right answers of a model that a technique made: its own fp32 graph, computed without graph optimisations.

Kept by content like a form, so that a worker whose environment lacks ONNX Runtime finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached, digest_of
from workloads.forms._calibration import batch

if TYPE_CHECKING:
    from workloads.contract import Arrays

VERSION = 1


def of(model: Model, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
    """`outputs` by name, (n, ...) each, for n samples of `inputs`; a query has one, or what the graph takes."""
    import numpy as np

    def make(to: Path) -> None:
        with to.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_computed(model, inputs, outputs))

    path = cached(model, "answers", (VERSION, digest_of(inputs), *outputs), "answers.npz", make)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _computed(model: Model, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise Unsupported(f"right answers of {'+'.join(model.recipe)} need onnxruntime: pip install it") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model.form("onnx")), options, providers=["CPUExecutionProvider"])
    count, size = len(next(iter(inputs.values()))), batch(model)
    queries = [np.arange(start, start + size) % count for start in range(0, count, size)]
    replies = [session.run(list(outputs), {name: array[rows] for name, array in inputs.items()}) for rows in queries]
    return {name: np.concatenate(found)[:count] for name, found in zip(outputs, zip(*replies))}
