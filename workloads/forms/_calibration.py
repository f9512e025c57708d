"""The samples that a lowering quantises with, looked at before they are used. Builds no form itself.

They come from `Model.calibration` and from nowhere else, so that nothing that is graded can reach a technique.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workloads.contract import Model, Unsupported

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays


def calibrating(model: Model, count: int) -> Arrays:
    """At most `count` calibration samples by input name; raises Unsupported where they would calibrate nothing."""
    if model.calibration is None:
        raise Unsupported(f"{model.name} cannot be quantised to int8: nobody gave samples to calibrate with")
    inputs = model.calibration(count).inputs
    check(model, inputs)
    return inputs


def check(model: Model, inputs: Arrays) -> None:
    """Raises Unsupported for other names than the model's, for too few samples, and for values that are no number."""
    import numpy as np

    names = [spec.name for spec in model.inputs]
    if sorted(inputs) != sorted(names):
        given = ", ".join(inputs) or "nothing"
        raise Unsupported(f"calibration samples of {model.name} have {given}, and must have {', '.join(names)}")
    given_count, rows = len(inputs[names[0]]), batch(model)
    if given_count < rows:
        raise Unsupported(f"{model.name} has {given_count} calibration samples and needs at least {rows}: give more")
    for name, array in inputs.items():
        finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if not finite.all():
            where = f"sample {int(finite.argmin())} of {name}"
            raise Unsupported(f"{model.name} cannot be calibrated: {where} is NaN or infinite; drop it")


def batch(model: Model) -> int:
    """How many samples its graph takes at once: 1 where it takes any number."""
    return model.inputs[0].shape[0] or 1


def batches(inputs: Arrays, rows: int) -> Iterator[dict[str, Array]]:
    """Whole batches only, as a graph that was written for one size takes no other."""
    count = len(next(iter(inputs.values())))
    for start in range(0, count - rows + 1, rows):
        yield {name: array[start : start + rows] for name, array in inputs.items()}
