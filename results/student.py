"""Quantiles of Student's t distribution, so that nothing here needs SciPy.

M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions (1964): 26.7.1 for t by the incomplete beta function,
26.5.8 for that as a continued fraction, evaluated by the modified method of W. J. Lentz (Applied Optics 15, 1976).
"""

from __future__ import annotations

from functools import cache
from math import exp, lgamma, log, log1p, pi, sqrt


@cache
def student_t(probability: float, freedom: float) -> float:
    """Quantile of Student's t: the value that is not exceeded with `probability`, 0 < probability < 1.

    Newton's steps, halving the bracket where one would leave it.
    """
    if not 0 < probability < 1 or not freedom > 0:
        raise ValueError(f"no t quantile at probability {probability} with {freedom} degrees of freedom")
    if probability < 0.5:
        return -student_t(1 - probability, freedom)
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    t = high
    for _ in range(200):
        excess = _t_cdf(t, freedom) - probability
        low, high = (low, t) if excess > 0 else (t, high)
        step = t - excess / _t_density(t, freedom)
        following = step if low < step < high else (low + high) / 2
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
    return 0.5 + _beta(t * t / total, freedom / total, 0.5, freedom / 2) / 2


def _beta(x: float, rest: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); `rest` is 1 - x, given for its digits near x = 1."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(rest, x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(rest))
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """A&S 26.5.8 by the modified Lentz method; converges fast for x below (a + 1) / (a + b + 2)."""
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
