"""Timing steps of training: batches to train on, the proof that they train, and the load that steps are.

Source of the load: MLPerf Training times whole runs to a quality target; what is timed here is its inner loop, one step
after another at a fixed batch, as in torchbench and in the throughput that vendors quote.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bench import measure, queries
from bench.load import Measured
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from backends.contract import Session
    from bench.load import Driving
    from bench.protocol import Effort
    from workloads.contract import Arrays, Workload

BATCHES = 8
"""Distinct batches that rotate; weights change with every step, so that no cache could answer for one."""
STEPS_MIN, STEPS_MAX, PROOF_S = 8, 32, 2.0
"""Of the proof: as many steps on one batch as fit into this time, within these limits."""
NOT_ANSWERED = "training: steps are timed, and nothing is answered"
NOT_ASKED = ("outputs", "timed_outputs", "same_input", "stages", "quality", "artefact")
"""Of `results.record.Evidence`."""


def batches_of(workload: Workload, batch: int) -> list[Arrays]:
    """Inputs with their targets, of the training split alone; where it has too few, batches begin it again."""
    lessons = workload.lessons(BATCHES * batch, 0)
    return queries.split({**lessons.inputs, **lessons.labels}, batch)


def first_step(session: Session, batch: Arrays) -> int:
    """Nanoseconds of the very first step, lazy allocation and the optimiser's state included."""
    begin_ns = time.monotonic_ns()
    _loss(session, batch)
    return time.monotonic_ns() - begin_ns


def proof(session: Session, batch: Arrays) -> dict[str, Any]:
    """Evidence that steps train, as sections of `results.record.Evidence`: the loss on one batch, and what it reached.

    A loss that is no number, and a session that does not tell, leave no evidence but a reason.
    """
    try:
        losses = _losses(session, batch)
        learned = session.learned()
    except Unsupported as answer:
        return {"training": None, "missing": {"training": str(answer)}}
    bad = next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is not None:
        return {"training": None, "missing": {"training": f"the loss was no finite number at step {bad + 1}"}}
    told = {"loss_before": losses[0], "loss_after": losses[-1], "steps": len(losses), **asdict(learned)}
    return {"training": told, "missing": {}}


def drive(session: Session, given: Sequence[Arrays], effort: Effort) -> Driving:
    """Warm up and measure in one go, one step after another; a query is one batch."""
    yield "warmup"
    steady = measure.Steady(effort.warmup_max_s, measure.latency_level)
    limits = (steady, measure.Enough(effort))
    with closing(measure.single_stream(session, [_endless(given)], limits)) as runs:
        warmup = next(runs)
        yield "measure"
        (timed,) = runs
    samples = len(next(iter(given[0].values())))
    return Measured(timed, len(warmup.samples), warmup.duration_ns, steady.stable, samples)


def peak(session: Session) -> dict[str, int]:
    """A setting, where the session tells of memory that is the device's own."""
    peak_bytes = session.device_peak_bytes()
    return {} if peak_bytes is None else {"device_peak_bytes": peak_bytes}


def _losses(session: Session, batch: Arrays) -> list[float]:
    """Of each step, before its own change of the weights."""
    losses: list[float] = []
    end_ns = time.monotonic_ns() + round(PROOF_S * 1e9)
    while len(losses) < STEPS_MIN or (len(losses) < STEPS_MAX and time.monotonic_ns() < end_ns):
        losses.append(_loss(session, batch))
    return losses


def _loss(session: Session, batch: Arrays) -> float:
    outputs = session.get(session.run(session.put(batch)))
    return float(outputs["loss"].reshape(-1)[0])


def _endless(given: Sequence[Arrays]) -> Generator[Any, Any, None]:
    """The loop sends what the step before gave, which nothing here needs."""
    batches = cycle(given)
    while True:
        yield next(batches)
