"""Whether two sets of repeats differ, how small a change they could have shown, and how many repeats would decide.

Student's t on logarithms, as in results/stats.py. Three rules:

- a difference is told when the 97 % interval of the ratio excludes 1 and the estimate is 2 % or more: of equals, 1.5 %
  each way are told apart at most (a 95 % interval, which is what is shown, would allow 2.5 %);
- no difference is told when that interval lies within 2 %: D. J. Schuirmann's two one-sided tests (Journal of
  Pharmacokinetics and Biopharmaceutics 15, 1987);
- what could be seen, and how many repeats would decide, follows from the upper 80 % confidence limit of the spread,
  because what five repeats say of it is itself uncertain (R. H. Browne, Statistics in Medicine 14, 1995).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log1p, sqrt
from statistics import NormalDist, median
from typing import Literal

from results.stats import MIN_REPEATS, Interval, Shift, ratio_interval, shift_of
from results.student import student_t

MINIMUM_EFFECT = 0.02
"""Smaller changes are called none."""
EFFECT_SOUGHT = 0.05
"""The change that `needed_repeats` are for."""
CONFIDENCE = 0.97
POWER = 0.90
SPREAD_CONFIDENCE = 0.80
MAX_REPEATS = 1000

Outcome = Literal["higher", "lower", "no difference", "undecidable"]


@dataclass(frozen=True)
class Difference:
    """Of b from a: b is "higher" or "lower", or else. `ratio` is b over a, with its 95 % interval or its range.

    `detectable` is the relative change that so many repeats show in nine of ten cases; None below five, where nothing
    is decided. `reason` says what an undecidable one needs.
    """

    outcome: Outcome
    ratio: Interval
    detectable: float | None
    reason: str = ""


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Between figures of repeats, one each; neither side is empty."""
    have = min(len(a), len(b))
    shift, ratio = shift_of(a, b), ratio_interval(a, b)
    if shift is None or ratio is None:
        return Difference("undecidable", _range(a, b), None, _needs(shift, have))
    outcome = _outcome(shift)
    return Difference(outcome, ratio, _detectable(shift), _needs(shift, have) if outcome == "undecidable" else "")


def needed_repeats(shift: Shift) -> int | None:
    """Repeats a side that show a change of EFFECT_SOUGHT with the power asked for; None: over MAX_REPEATS."""
    return _repeats(shift, POWER, log1p(EFFECT_SOUGHT))


def repeats_to_rule_out(shift: Shift) -> int | None:
    """Repeats a side that show of equals that they do not differ by MINIMUM_EFFECT; None: over MAX_REPEATS."""
    return _repeats(shift, (1 + POWER) / 2, log1p(MINIMUM_EFFECT))  # either of two ends may be missed


def _outcome(shift: Shift) -> Outcome:
    limit, reach = log1p(MINIMUM_EFFECT), shift.quantile(0.5 + CONFIDENCE / 2)
    if abs(shift.value) >= limit and abs(shift.value) > reach:
        return "higher" if shift.value > 0 else "lower"
    return "no difference" if abs(shift.value) + reach <= limit else "undecidable"


def _detectable(shift: Shift) -> float:
    """Both rules for a difference have to be met with the power asked for."""
    error = shift.error * sqrt(_upper(shift.freedom))
    reach = max(log1p(MINIMUM_EFFECT), student_t(0.5 + CONFIDENCE / 2, shift.freedom) * error)
    return exp(reach + student_t(POWER, shift.freedom) * error) - 1


def _repeats(shift: Shift, power: float, width: float) -> int | None:
    """So many that the interval's reach and the estimate's own quantile at `power` fit into `width` together."""
    spread = shift.spread * sqrt(_upper(shift.freedom))

    def enough(n: int) -> bool:
        quantiles = student_t(0.5 + CONFIDENCE / 2, 2 * n - 2) + student_t(power, 2 * n - 2)
        return quantiles * spread / sqrt(n) <= width

    needed = MIN_REPEATS + bisect_left(range(MIN_REPEATS, MAX_REPEATS + 1), True, key=enough)
    return needed if needed <= MAX_REPEATS else None


def _upper(freedom: float) -> float:
    """The upper limit of a variance over its estimate, from chi-square's quantile.

    That by the approximation of E. B. Wilson and M. M. Hilferty (PNAS 17, 1931).
    """
    part = 2 / (9 * freedom)
    return (1 - part + NormalDist().inv_cdf(1 - SPREAD_CONFIDENCE) * sqrt(part)) ** -3


def _needs(shift: Shift | None, have: int) -> str:
    """In one line, what would decide: sight of the change sought first, then of the smallest."""
    if shift is None:
        return "a figure of 0 has no ratio" if have > 1 else f"needs {MIN_REPEATS} repeats or more (has {have})"
    find, rule_out = needed_repeats(shift), repeats_to_rule_out(shift)
    many = f"more than {MAX_REPEATS}"
    if find is None or find > have:
        aims = f"to find a change of {EFFECT_SOUGHT:.0%}, {rule_out or many} to rule out {MINIMUM_EFFECT:.0%}"
        return f"needs {find or many} repeats {aims} (has {have})"
    if rule_out is None or rule_out > have:
        return f"needs {rule_out or many} repeats to rule out a change of {MINIMUM_EFFECT:.0%} (has {have})"
    return f"too near to a change of {MINIMUM_EFFECT:.0%} to tell (has {have} repeats)"


def _range(a: Sequence[float], b: Sequence[float]) -> Interval:
    """What the ratio of any repeat of b to any of a can be."""
    if min(a) <= 0:
        return Interval(0.0, 0.0, 0.0, "range", min(len(a), len(b)))
    return Interval(median(b) / median(a), min(b) / max(a), max(b) / min(a), "range", min(len(a), len(b)))
