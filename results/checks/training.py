"""Do steps of training train? A loop that only goes forward is three times as fast, and worth nothing."""

from __future__ import annotations

from collections.abc import Iterator

from results.checks.outputs import executed, placement
from results.checks.reasons import Check, Figures, invalid
from results.evidence import Training
from results.record import Reason, Record

FALL_NEEDED = 0.001
"""Of the loss on one batch, over eight steps or more. Of nine networks on a CPU the least fall was 0.011; one that does
not change has 0."""


def _trains(record: Record, _: Figures) -> Iterator[Reason]:
    evidence = record.evidence
    training = evidence.training if evidence else None
    if training is None:
        why = evidence.missing["training"] if evidence else "the record has no evidence"
        yield invalid("does_not_train", f"nothing shows that a step trains: {why}")
        return
    faults = list(training_faults(training, record.card.parameters))
    if faults:
        yield invalid("does_not_train", "; ".join(faults))


def training_faults(training: Training, parameters: int) -> Iterator[str]:
    """What is wrong with steps on a network of so many parameters."""
    first, last = training.loss_before, training.loss_after
    if not last <= (1 - FALL_NEEDED) * first:
        yield f"the loss on one batch went from {first:.4g} to {last:.4g} in {training.steps} steps"
    if training.parameters != parameters:
        yield f"{training.parameters} parameters are trained, and the network has {parameters}"
    if training.reached < training.parameters:
        yield f"no gradient reaches {training.parameters - training.reached} of {training.parameters} parameters"
    if training.changed < training.parameters:
        yield f"{training.parameters - training.changed} of {training.parameters} parameters never change"


CHECKS: tuple[Check, ...] = (_trains, placement, executed)
