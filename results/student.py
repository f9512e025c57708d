"""Quantiles of Student's t distribution, so that nothing here needs SciPy.

M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.1: t by the incomplete beta function.
"""

from __future__ import annotations

from functools import cache
from math import exp, inf, lgamma, log1p, pi, sqrt
from statistics import NormalDist

from results.beta import incomplete_beta


@cache
def student_t(probability: float, freedom: float) -> float:
    """Quantile of Student's t: the value that is not exceeded with `probability`, 0 < probability < 1.

    Newton's steps from A&S 26.7.5 (its first two terms), halving or doubling where one would leave the bracket.
    """
    if not 0 < probability < 1 or not freedom > 0:
        raise ValueError(f"no t quantile at probability {probability} with {freedom} degrees of freedom")
    if probability < 0.5:
        return -student_t(1 - probability, freedom)
    normal = NormalDist().inv_cdf(probability)
    t, low, high = normal + (normal**3 + normal) / (4 * freedom), 0.0, inf
    for _ in range(200):
        excess = _t_cdf(t, freedom) - probability
        low, high = (low, t) if excess > 0 else (t, high)
        step = t - excess / _t_density(t, freedom)
        following = step if low <= step <= high else 2 * t + 1 if high == inf else (low + high) / 2
        if abs(following - t) <= 1e-12 * max(t, 1.0):
            break
        t = following
    return t


def _t_density(t: float, freedom: float) -> float:
    norm = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(freedom * pi)
    return norm * exp(-(freedom + 1) / 2 * log1p(t * t / freedom))


def _t_cdf(t: float, freedom: float) -> float:
    """For t >= 0."""
    total = freedom + t * t
    return 0.5 + incomplete_beta(t * t / total, freedom / total, 0.5, freedom / 2) / 2
