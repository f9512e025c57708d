"""Compares what the timed session answers with what is known to be right: evidence, never a verdict.

Networks with random weights answer almost alike whatever they are asked (resnet50's outputs for different images score
a cosine of 0.99995), so outputs are centred by the mean golden output before they are compared, and each has to be
nearest to its own golden. That tells a constant, another sample's answer and the previous answer from a right one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import queries
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.queries import Witness
    from workloads.contract import Array, Arrays, Golden, Tolerance, Workload

CHEAP_NS = 200_000_000
"""A check that took less is made a second time, in another order: whoever remembers answers is then asked again."""
ERROR_MAX = 1e9
"""Relative errors are cut off here, so that what overflows is a number still."""


class WrongOutputsError(Exception):
    """The session's outputs are not even of the right names and shapes."""


@dataclass(frozen=True)
class Agreement:
    """How each of n answers agrees with its golden: arrays of length n."""

    finite: Array
    hits: Array
    cosine: Array
    error: Array

    @classmethod
    def perfect(cls, count: int) -> Agreement:
        return cls(np.ones(count, bool), np.ones(count, bool), np.ones(count), np.zeros(count))

    def lower(self, own: Sequence[int], other: Agreement) -> None:
        """Take over what is worse in `other`, whose row i is about row `own[i]` here."""
        np.logical_and.at(self.finite, own, other.finite)
        np.logical_and.at(self.hits, own, other.hits)
        np.minimum.at(self.cosine, own, other.cosine)
        np.maximum.at(self.error, own, other.error)


def outputs(workload: Workload, session: Session, batch: int, precision: str, seed: int) -> dict[str, Any]:
    """Evidence shaped as `results.record.OutputCheck`: every golden sample, asked for in queries of the timed shape.

    A sample that was asked for more than once counts as its worst answer.
    """
    golden, tolerance = workload.golden(), workload.tolerance(precision)
    count = len(next(iter(golden.outputs.values())))
    inputs = workload.samples("perf", count, 0).inputs
    order = list(range(count))
    rng = random.Random(seed)  # noqa: S311 - an order, no secret
    worst = Agreement.perfect(count)
    for _ in range(2):
        begin_ns = time.monotonic_ns()
        rng.shuffle(order)
        _ask(workload, session, inputs, golden, order, batch, worst)
        if time.monotonic_ns() - begin_ns > CHEAP_NS:
            break
    return _evidence(worst, tolerance)


def timed_outputs(witness: Witness) -> dict[str, Any]:
    """Evidence shaped as `results.record.OutputCheck`, of what a witness kept of the timed window.

    Raises Unsupported where it kept nothing.
    """
    if witness.golden is None:
        raise Unsupported("the workload has no golden outputs")
    if not witness.kept:
        raise Unsupported("no query whose golden outputs are known began and ended in the window; use a longer one")
    asked = sorted({row for answer in witness.kept for row in answer.golden})
    worst = Agreement.perfect(len(asked))
    for answer in witness.kept:
        own = [asked.index(row) for row in answer.golden]
        worst.lower(own, agree(answer.outputs, witness.golden.outputs, list(answer.golden)))
    return _evidence(worst, witness.tolerance)


def _evidence(worst: Agreement, tolerance: Tolerance) -> dict[str, Any]:
    return {
        "n": len(worst.hits),
        "finite": bool(worst.finite.all()),
        "identity_hits": int(worst.hits.sum()),
        "centred_cosine_min": float(worst.cosine.min()),
        "cosine_required": tolerance.centred_cosine_min,
        "relative_error_max": float(worst.error.max()),
        "relative_error_allowed": tolerance.relative_error_max,
    }


def _ask(
    workload: Workload,
    session: Session,
    inputs: Arrays,
    golden: Golden,
    order: Sequence[int],
    batch: int,
    worst: Agreement,
) -> None:
    """One round over the golden samples in `order`."""
    asked = {name: array[order] for name, array in inputs.items()}
    replies = queries.answers(session, queries.split(asked, batch), workload.feedback, golden.steps)
    for reply, filled in zip(replies, queries.rows(len(order), batch)):
        own = [order[row] for row in filled]
        worst.lower(own, agree(reply, golden.outputs, own))


def agree(reply: Arrays, golden: Arrays, own: Sequence[int]) -> Agreement:
    """Compare a reply, whose row i should be golden row `own[i]`, with all golden rows; the worst over the outputs."""
    worst = Agreement.perfect(len(own))
    for name, right in golden.items():
        found = _rows(reply, name, right, len(own))
        worst.lower(range(len(own)), _agree_one(found, right.reshape(len(right), -1), own))
    return worst


def _rows(reply: Arrays, name: str, right: Array, count: int) -> Array:
    """An output as (count, values)."""
    if name not in reply:
        raise WrongOutputsError(f"output {name} is missing; the session gave {', '.join(reply) or 'none'}")
    if reply[name].shape != (count, *right.shape[1:]):
        raise WrongOutputsError(f"output {name} has shape {reply[name].shape}, not {(count, *right.shape[1:])}")
    return np.asarray(reply[name]).reshape(count, -1).astype(np.float64)


def _agree_one(found: Array, golden: Array, own: Sequence[int]) -> Agreement:
    """One output: `found` is (n, values), `golden` (m, values).

    An output that is the same for every sample (a position) tells no sample from another; its error stands for its
    cosine.
    """
    golden = golden.astype(np.float64)
    right, mean = golden[own], golden.mean(axis=0)
    finite: Array = np.asarray(np.isfinite(found).all(axis=1))
    scale = np.abs(golden).max() or 1.0
    found = np.clip(np.where(finite[:, None], found, 0.0), -ERROR_MAX * scale, ERROR_MAX * scale)
    error = np.where(finite, np.minimum(np.abs(found - right).max(axis=1) / scale, ERROR_MAX), ERROR_MAX)
    if np.allclose(golden, mean, rtol=1e-12, atol=0.0):
        return Agreement(finite, finite, 1.0 - np.minimum(error, 2.0), error)
    distances = np.stack([np.linalg.norm(found - one, axis=1) for one in golden], axis=1)
    nearest = distances[np.arange(len(own)), own] <= distances.min(axis=1)
    return Agreement(finite, finite & nearest, np.where(finite, _cosine(found - mean, right - mean), -1.0), error)


def _cosine(one: Array, other: Array) -> Array:
    """Cosine of the rows; 0 where either is zero."""
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine: Array = np.clip((one * other).sum(axis=1) / np.where(scale > 0, scale, 1.0), -1.0, 1.0)
    return cosine
