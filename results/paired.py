"""Whether one artefact answers worse than another, from their grades on the very same examples.

Pairing takes out what makes examples easy or hard, which is most of the spread: two networks with 97 % can be told
apart although each 97 % is known to a percent only. All of it works on d, the mean of (after - before) over examples:

- grades of 0 and 1: McNemar's test by the binomial distribution of the examples that changed, in its mid-p form
  (Q. McNemar, Psychometrika 12, 1947; M. W. Fagerland, S. Lydersen, P. Laake, BMC Medical Research Methodology 13:91,
  2013), and the interval of D. G. Bonett and R. M. Price (Journal of Educational and Behavioral Statistics 37, 2012),
  recommended beside it by Fagerland et al. (Statistics in Medicine 33, 2014). It stays open where no example changed.
- any other grades: a bootstrap over examples with B. Efron's bias correction and acceleration (BCa, Journal of the
  American Statistical Association 82, 1987), 10,000 resamples, seeded.

A loss is relative, 1 - what is kept, as MLPerf's 99 % rule reads it: after / before where higher is better, before /
after where lower is (a perplexity may rise to before / 0.99). The baseline's own error is in d and in no other place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, comb, exp, log, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from results.record import Quality

Grades = np.ndarray[Any, np.dtype[np.float64]]
Outcome = Literal["no worse", "worse", "undecided"]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20261122
CHUNK = 1 << 21
"""Grades that are resampled at a time."""
EXACT_MAX = 1000
"""Changed examples up to which the binomial is summed; from here on the normal is as good to three digits."""
LOGARITHMIC = "perplexity"
"""The metric that is exp of the mean grade; every other is the mean."""
EXAMPLES_MAX = 1_000_000


class NotPaired(ValueError):  # noqa: N818 - an answer, not an error
    """Why two sets of grades cannot be compared, in one line."""


@dataclass(frozen=True)
class Shift:
    """The mean of (after - before) with its 95 % interval. `p_value` is McNemar's, None for other grades."""

    value: float
    low: float
    high: float
    n: int
    changed: int
    p_value: float | None = None


@dataclass(frozen=True)
class Change:
    """The card's metric before and after, and the relative loss, with its 95 % interval; below 0 is a gain.

    `outcome` against the allowed `margin`: "no worse" (a larger loss is excluded), else "worse" (no loss is excluded),
    else "undecided", and then about so many examples in all would decide (`needed`; None: over a million).
    """

    metric: str
    before: float
    after: float
    loss: float
    low: float
    high: float
    margin: float
    outcome: Outcome
    shift: Shift
    needed: int | None


def change(quality: Quality, before: Grades, after: Grades, margin: float) -> Change:
    """Of the metric from `before` to `after`, (n,) grades each of the same examples in the same order.

    Raises NotPaired.
    """
    _check(before, after)
    shift = shift_of(before, after)
    middle = float(before.mean())
    figure = _figure(quality)
    first = figure(middle)
    loss, *ends = (_loss(quality, first, figure(middle + d)) for d in (shift.value, shift.low, shift.high))
    low, high = min(ends), max(ends)
    outcome: Outcome = "no worse" if high <= margin else "worse" if _is_worse(shift, loss, low) else "undecided"
    needed = _needed(shift.n, loss, (high - low) / 2, margin) if outcome == "undecided" else shift.n
    return Change(quality.metric, first, figure(middle + shift.value), loss, low, high, margin, outcome, shift, needed)


def shift_of(before: Grades, after: Grades) -> Shift:
    """By McNemar for grades of 0 and 1, by the bootstrap for all others."""
    if _binary(before) and _binary(after):
        return _of_counts(len(before), int((after > before).sum()), int((after < before).sum()))
    return bootstrap(after - before)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided mid-p value that so many examples `gained` and `lost` come from equals."""
    n, less = gained + lost, min(gained, lost)
    if not n:
        return 1.0
    if n > EXACT_MAX:
        return 2 * NormalDist().cdf(-abs(gained - lost) / sqrt(n))
    below = sum(comb(n, k) for k in range(less))
    return min(1.0, (2 * below + comb(n, less)) / 2**n) if gained != lost else 1.0


def bootstrap(differences: Grades, resamples: int = RESAMPLES, seed: int = SEED) -> Shift:
    """BCa interval of the mean of `differences`, (n,); equal ones have no spread, and their mean for an interval."""
    n, mean = len(differences), float(differences.mean())
    changed = int(np.count_nonzero(differences))
    centred = differences - mean
    if n < 2 or not np.abs(centred).max() > 1e-12 * max(1.0, abs(mean)):
        return Shift(mean, mean, mean, n, changed)
    means = _resampled(differences, resamples, seed)
    bias = _quantile((float((means < mean).mean()) + float((means <= mean).mean())) / 2)
    skew = float((centred**3).sum()) / (6 * float((centred**2).sum()) ** 1.5)
    ends = [_corrected(probability, bias, skew) for probability in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)]
    low, high = (float(end) for end in np.quantile(means, ends))
    return Shift(mean, low, high, n, changed)


def value(quality: Quality, grades: Grades) -> float:
    """The card's metric of these grades."""
    return _figure(quality)(float(grades.mean()))


def _check(before: Grades, after: Grades) -> None:
    if len(before) != len(after):
        raise NotPaired(f"graded on {len(after)} examples, the baseline on {len(before)}: no pairs")
    if len(before) < 2:
        raise NotPaired(f"graded on {len(before)} example: too few for an interval")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise NotPaired("a grade is not finite")


def _of_counts(n: int, gained: int, lost: int) -> Shift:
    """Bonett and Price: one example more on either side of those that changed, two in all."""
    plus, minus, total = (gained + 1) / (n + 2), (lost + 1) / (n + 2), n + 2
    middle = plus - minus
    reach = _quantile((1 + CONFIDENCE) / 2) * sqrt((plus + minus - middle**2) / total)
    low, high = max(-1.0, middle - reach), min(1.0, middle + reach)
    return Shift((gained - lost) / n, low, high, n, gained + lost, mcnemar(gained, lost))


def _resampled(differences: Grades, resamples: int, seed: int) -> Grades:
    """Means of so many resamples, (resamples,), a chunk at a time."""
    rng = np.random.default_rng(seed)
    n = len(differences)
    step = max(1, CHUNK // n)
    means = np.empty(resamples)
    for start in range(0, resamples, step):
        end = min(start + step, resamples)
        means[start:end] = differences[rng.integers(0, n, (end - start, n))].mean(axis=1)
    return means


def _corrected(probability: float, bias: float, skew: float) -> float:
    """Efron's (6.8): the quantile to read where the plain percentile would be `probability`."""
    z = bias + _quantile(probability)
    return NormalDist().cdf(bias + z / (1 - skew * z))


def _quantile(probability: float) -> float:
    return NormalDist().inv_cdf(min(max(probability, 1e-6), 1 - 1e-6))


def _figure(quality: Quality) -> Callable[[float], float]:
    return exp if quality.metric == LOGARITHMIC else float


def _loss(quality: Quality, before: float, after: float) -> float:
    """Relative; a metric that falls to or below 0 has lost everything."""
    if quality.better == "higher":
        return 1 - after / before if before > 0 else 0.0 if after >= before else 1.0
    return 1 - before / after if after > 0 else 0.0 if after >= before else -1.0


def _is_worse(shift: Shift, loss: float, low: float) -> bool:
    """McNemar's test has the word where there is one."""
    if shift.p_value is None:
        return low > 0
    return loss > 0 and shift.p_value <= 1 - CONFIDENCE


def _needed(n: int, loss: float, reach: float, margin: float) -> int | None:
    """Examples at which an interval around the same loss, narrower as 1 / sqrt(n), clears the nearer of its lines."""
    gap = margin - loss if loss < margin / 2 else loss
    if gap <= 0 or log(reach) - log(gap) > log(EXAMPLES_MAX / n) / 2:
        return None
    return max(n + 1, ceil(n * (reach / gap) ** 2))


def _binary(grades: Grades) -> bool:
    return bool(((grades == 0) | (grades == 1)).all())
