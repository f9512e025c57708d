"""The distribution-free interval of a median: order statistics by the binomial distribution.

Source: Conover, Practical Nonparametric Statistics, 3rd ed., §3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

VALUES_MIN = 6
"""The fewest whose range is a 95 % interval: 2 * 0.5**5 is over 5 %."""


def of_median(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The narrowest symmetric pair of order statistics that covers the median; ValueError for too few values."""
    ordered, n = sorted(values), len(values)
    tail, rank = 0.5**n, 0
    if tail > (1 - confidence) / 2:
        raise ValueError(f"{n} values are too few for an interval of {confidence:.0%}")
    while (tail := tail + math.comb(n, rank + 1) * 0.5**n) <= (1 - confidence) / 2:
        rank += 1
    return ordered[rank], ordered[n - 1 - rank]
