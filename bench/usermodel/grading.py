"""Looks at a user's own metric before it is believed: samples, labels, grades, and that none of them calibrates."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.usermodel import given, reference
from results.names import is_name
from results.paired import LOGARITHMIC
from workloads.contract import Quality
from workloads.onnxfile import ModelFileError, OnnxFile
from workloads.usermetric import Metric, MetricError

if TYPE_CHECKING:
    from workloads.contract import Arrays, Evaluation

TRIED = 4
"""Samples whose answers are graded to see what the function makes of them."""


def checked(metric: Metric, file: OnnxFile, graph: Path, calibration: Arrays) -> Quality:
    """What the metric is called; raises MetricError or ModelFileError, in one line, for one that cannot be used."""
    found = metric.load()
    what = str(metric)
    _check_quality(what, found.quality)
    check_samples(what, found)
    given.check_inputs(file, found.inputs, what)
    _check_leak(what, found.inputs, calibration)
    tried = max(TRIED, file.batch or 1)
    inputs, labels = ({k: a[:tried] for k, a in arrays.items()} for arrays in (found.inputs, found.labels))
    outputs = reference.answers(graph, inputs, file.batch)
    metric.grades(found, outputs, labels, len(next(iter(inputs.values()))))
    return found.quality


def _check_quality(what: str, quality: Quality) -> None:
    """It goes into every record, where the grades' mean is the metric: a perplexity is none."""
    known = isinstance(quality, Quality) and quality.better in ("higher", "lower")
    if not known or not (is_name(quality.metric) and is_name(quality.unit)):
        how = 'a Quality with plain names for metric and unit, and better "higher" or "lower"'
        raise MetricError(f"{what}: its quality is {quality!r}: give {how}")
    if quality.metric == LOGARITHMIC:
        raise MetricError(f"{what}: a {LOGARITHMIC} is no mean of grades: give its logarithm, and call it so")


def check_samples(what: str, found: Evaluation) -> None:
    counts = {len(array) if np.ndim(array) else 0 for array in (*found.inputs.values(), *found.labels.values())}
    if len(counts) != 1 or 0 in counts:
        raise MetricError(f"{what}: inputs and labels need the same number of samples on axis 0, at least one")
    if any(np.asarray(a).dtype.kind == "f" and not np.isfinite(a).all() for a in found.inputs.values()):
        raise MetricError(f"{what}: its inputs have NaN or infinity in them")


def _check_leak(what: str, inputs: Arrays, calibration: Arrays) -> None:
    """A sample that has set a range is answered better than one that nobody has seen."""
    shared = _rows(inputs) & _rows(calibration)
    if shared:
        raise ModelFileError(
            f"{what}: {len(shared)} of its samples calibrate too (--calibration, else --inputs), and would be graded "
            f"after they set the ranges: take them out of one"
        )


def _rows(arrays: Arrays) -> set[bytes]:
    """A digest of each sample, all of its inputs together."""
    names = sorted(arrays)
    count = len(arrays[names[0]])
    return {hashlib.sha256(b"".join(arrays[n][row].tobytes() for n in names)).digest() for row in range(count)}
