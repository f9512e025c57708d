"""The card's quality metric, from the very session that is timed: one artefact for speed and quality."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import queries
from workloads.contract import Unsupported
from workloads.forms._cache import digest_of

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Array, Arrays, Workload


def evaluate(workload: Workload, session: Session, batch: int, examples: int, keep: Path) -> dict[str, Any]:
    """Evidence shaped as `results.record.QualityResult` on `examples` evaluation samples, of which there may be fewer.

    Each example's grade goes to the file `keep`, as a little-endian float64. Raises Unsupported for a workload whose
    quality cannot be measured: random weights, or a user's own model that comes without a metric.
    """
    if workload.card.quality is None:
        raise Unsupported(f"{workload.card.name} has no labels to grade answers by: quality is not measurable")
    samples = workload.samples("evaluation", examples, 0)
    replies = queries.answers(session, queries.split(samples.inputs, batch), workload.feedback)
    scores = workload.score(_joined(replies, len(samples)), samples)
    value, error = workload.quality_value(scores), standard_error(workload, scores)
    keep.parent.mkdir(parents=True, exist_ok=True)
    scores.astype("<f8").tofile(keep)
    told = {"scores_file": keep.name, "examples_sha256": digest_of({**samples.inputs, **samples.labels})}
    return {"value": value, "n": len(scores), "standard_error": error, **told, "missing": {}}


def _joined(replies: list[Arrays], count: int) -> Arrays:
    """One array per output, without what filled the last query up."""
    return {name: np.concatenate([reply[name] for reply in replies])[:count] for name in replies[0]}


def standard_error(workload: Workload, scores: Array) -> float:
    """Of the metric, by the delta method: how far it moves when the mean score moves by its own standard error.

    That is s / sqrt(n) for a metric that is the mean, and exp(mean) s / sqrt(n), to first order, for a perplexity.
    """
    step = float(scores.std(ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
    return abs(workload.quality_value(scores + step) - workload.quality_value(scores - step)) / 2
