"""The regularised incomplete beta function, so that nothing here needs SciPy.

M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions (1964): 26.5.8 as a continued fraction, evaluated by the
modified method of W. J. Lentz (Applied Optics 15, 1976).
"""

from __future__ import annotations

from math import exp, lgamma, log


def incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """I_x(a, b) for a, b > 0; `rest` is 1 - x, given for its digits near x = 1.

    For a + b of 10 million it is good to 7 digits (lgamma's rounding) and takes some hundred steps at most.
    """
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(rest, x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(rest))
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """A&S 26.5.8 by the modified Lentz method; converges fast for x below (a + 1) / (a + b + 2)."""
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
