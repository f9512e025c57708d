"""What is said of six techniques, and by which rules a figure holds a claim.

Bands and margins stand here in full; `results/claims/techniques.py` says which figures they are held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import exp, inf, log, sqrt

from results.claims.answer import Verdict
from results.claims.trials import Trial
from results.paired import Change
from results.stats import MIN_REPEATS, Interval
from results.student import student_t

MARGINS = {"none": 0.01, "minimal": 0.01, "low": 0.05}
"""Relative losses that a word allows. Minimal is MLPerf's 99 % rule. None is no detectable loss, in a test that would
have seen one of 1 %."""
ROUNDING = 1e-4
"""A smaller loss is the order of additions, however sure it is."""
POINT_TOLERANCE = 0.05
"""Points of the fp32 size by which a claim of one figure may be missed."""
LARGER = 0.01
"""From here on something that was to be smaller is larger."""
BANDS = (("low", 2, 0.0), ("medium", 4, 600.0), ("high", inf, inf))
"""Complexity, with the most steps and the most processor seconds of training that it still is."""


@dataclass(frozen=True)
class Claimed:
    """One row of the claim. `size` is a change, `speed` a factor, each from and to."""

    name: str
    size: tuple[float, float]
    speed: tuple[float, float]
    quality: str
    complexity: str


INT8 = Claimed("INT8", (-0.75, -0.75), (2.0, 4.0), "minimal", "low")
PRUNING = Claimed("pruning 50 %, structured", (-0.5, -0.5), (1.5, 2.0), "minimal", "medium")
ZEROS = Claimed("pruning 50 %, zeros", (-0.5, -0.5), (1.5, 2.0), "minimal", "medium")
"""The claim does not say which. Removing channels and setting weights to zero answer it otherwise."""
DISTILLATION = Claimed("distillation", (-0.8, -0.6), (3.0, 5.0), "low", "high")
WEIGHTS = Claimed("weight compression", (-0.5, -0.3), (1.2, 1.5), "none", "medium")
FUSION = Claimed("operator fusion", (0.0, 0.0), (1.5, 2.0), "none", "low")
MIXED = Claimed("mixed precision", (-0.5, -0.5), (1.5, 2.0), "minimal", "low")
CLAIMS = (INT8, PRUNING, ZEROS, DISTILLATION, WEIGHTS, FUSION, MIXED)
ANSWERS: tuple[tuple[str, Claimed | None], ...] = (
    ("*+*", None),
    ("int?-weights*", WEIGHTS), ("lossless*", WEIGHTS), ("int3-*", WEIGHTS),
    ("int8*", INT8), ("prune-structured-50", PRUNING), ("prune-unstructured-50", ZEROS), ("prune-2to4", ZEROS),
    ("distill*", DISTILLATION),
    ("default fusion", FUSION), ("fuse-off", FUSION), ("fuse-*", FUSION),
    ("mixed-*", MIXED), ("bf16*", MIXED), ("fp16*", MIXED),
)  # fmt: skip
"""Which claim a technique answers, by the first pattern that its name fits; techniques together answer none."""


def answers(technique: str) -> Claimed | None:
    """The claim that a technique is a trial of."""
    return next((claimed for pattern, claimed in ANSWERS if fnmatchcase(technique, pattern)), None)


def judge_size(claimed: Claimed, change: float) -> Verdict:
    low, high = claimed.size
    spare = POINT_TOLERANCE if low == high else 0.0
    if high < 0 and change > LARGER:
        return "reversed"
    return "exceeds" if change < low - spare else "falls short" if change > high + spare else "holds"


def judge_speed(claimed: Claimed, speed: Interval) -> tuple[Verdict, str]:
    """The verdict, and why there is none: a range proves nothing, and an interval may lie across an end."""
    if speed.kind == "range":
        return "undecided", f"needs {MIN_REPEATS} repeats (has {speed.n}); {_zone(claimed, speed.centre)}"
    low, high = (_zone(claimed, end) for end in (speed.low, speed.high))
    if high == "slower than its baseline":
        return "reversed", ""
    if low in ("slower than its baseline", "slower than claimed") and high == "slower than claimed":
        return "falls short", ""
    if low == high:
        return ("exceeds" if low == "faster than claimed" else "holds"), ""
    return "undecided", f"its interval reaches from {low} to {high}"


def judge_quality(word: str, change: Change) -> tuple[Verdict, str]:
    """By the interval of the loss. `needed` examples would decide, as far as these tell."""
    if word == "none" and change.low > ROUNDING:
        return "falls short", "a loss is detected"
    margin = MARGINS[word]
    if change.high <= margin:
        better = change.high < 0 or (word == "low" and change.high <= MARGINS["minimal"])
        return ("exceeds" if better else "holds"), ""
    if change.low > margin:
        return "falls short", f"a loss over {100 * margin:g} % is proved"
    if change.outcome == "worse":
        return "undecided", f"worse, and {100 * margin:g} % lies in the interval"
    many = f"about {change.needed:,}" if change.needed else "over a million"
    return "undecided", f"needs {many} examples (has {change.shift.n:,})"


def complexity(trial: Trial) -> str | None:
    """The name of its band; None where what was done is not recorded."""
    made = trial.artefact
    if made is None:
        return None
    trained_s = made.training_s or 0.0
    return next(name for name, steps, most_s in BANDS if len(made.steps) <= steps and trained_s <= most_s)


def _zone(claimed: Claimed, speed: float) -> str:
    low, high = claimed.speed
    if speed < 1:
        return "slower than its baseline"
    return "slower than claimed" if speed < low else "faster than claimed" if speed > high else "as claimed"


def combined(speeds: Sequence[Interval]) -> Interval:
    """The geometric mean of independent ratios; a range if one of them is."""
    centre = exp(sum(log(one.centre) for one in speeds) / len(speeds))
    n = min(one.n for one in speeds)
    if len(speeds) == 1:
        return speeds[0]
    if any(one.kind == "range" for one in speeds):
        low, high = (exp(sum(log(end) for end in ends) / len(speeds))
                     for ends in ([one.low for one in speeds], [one.high for one in speeds]))  # fmt: skip
        return Interval(centre, low, high, "range", n)
    reach = _reach(speeds)
    return Interval(centre, centre / exp(reach), centre * exp(reach), "t", n)


def _reach(speeds: Sequence[Interval]) -> float:
    """Half the interval of a mean of logarithms, from the halves of its parts.

    A part had between n - 1 and 2n - 2 degrees of freedom: each is taken where it makes the interval wider.
    """
    errors = [log(one.high / one.low) / 2 / student_t(0.975, 2 * one.n - 2) for one in speeds]
    total = sum(error**2 for error in errors)
    if not total:
        return 0.0
    freedom = total**2 / sum(error**4 / (one.n - 1) for error, one in zip(errors, speeds, strict=True))
    return student_t(0.975, freedom) * sqrt(total) / len(speeds)
