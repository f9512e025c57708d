"""A workload whose model went through techniques: the same samples, the same grading, another artefact.

Techniques see the calibration split alone, which comes with the model; evaluation samples never reach them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from workloads import answers
from workloads.contract import Golden, Model, Technique, Unsupported, Workload

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays, Samples, Split, Tolerance


class Treated(Workload):
    """`techniques` in the order in which they are applied.

    Where one of them makes another function, golden outputs are that function's own, computed in fp32: a distilled
    network is not wrong for answering otherwise than its teacher. How good its answers are, quality says.
    """

    def __init__(self, base: Workload, techniques: Sequence[Technique]) -> None:
        self._base, self._techniques = base, techniques
        self.card, self.feedback = base.card, base.feedback

    @cached_property
    def _model(self) -> Model:
        return _applied(self._base.calibrated(), self._techniques)

    def model(self) -> Model:
        return self._model

    def calibrated(self) -> Model:
        return self._model

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        return self._base.samples(split, n, seed)

    @cached_property
    def _golden(self) -> Golden:
        golden = self._base.golden()
        others = [technique for technique in self._techniques if technique.own_outputs]
        if not others:
            return golden
        last = max(self._techniques.index(technique) for technique in others)
        function = _applied(self._base.calibrated(), self._techniques[: last + 1])
        count = len(next(iter(golden.outputs.values())))
        return Golden(answers.of(function, self._base.samples("perf", count, 0).inputs, tuple(golden.outputs)))

    def golden(self) -> Golden:
        return self._golden

    def tolerance(self, precision: str) -> Tolerance:
        return self._base.tolerance(precision)

    def score(self, outputs: Arrays, samples: Samples) -> Array:
        return self._base.score(outputs, samples)

    def quality_value(self, scores: Array) -> float:
        return self._base.quality_value(scores)


def _applied(model: Model, techniques: Sequence[Technique]) -> Model:
    """Raises Unsupported, naming the technique, where one cannot be applied to what those before it made."""
    for technique in techniques:
        try:
            outcome = technique.treat(model)
        except Unsupported as answer:
            raise Unsupported(f"{technique.name}: {answer}") from answer
        model = replace(outcome, steps=(*model.steps, *technique.taken(outcome)))
    return model
