"""What a run of n queries proves about a percentile of the latency: LoadGen's early stopping.

If a query exceeds the bound with a probability of 1 - p, then t or fewer of n do so with the odds of a binomial
distribution. A run proves percentile p when those odds are below 1 - confidence; as an estimate of the percentile it
gives the largest latency that is left after the t - 1 highest are discarded, t being the most that n queries allow.

Source: mlcommons/inference, loadgen/early_stopping.cc (MinPassingQueriesFinder) and loadgen/results.cc
(PerformanceSummary::EarlyStopping), and inference_rules.adoc, appendix "Early Stopping Criterion". A continued fraction
stands in place of its hypergeometric sum; for up to 12,000 queries over the bound, at five percentiles, both need the
same number of queries but for 7 cases of 60,005, where rounding moved it by one.
"""

from __future__ import annotations

from bisect import bisect_left
from math import ceil
from typing import TYPE_CHECKING

from results.beta import incomplete_beta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.99
"""LoadGen's, as the rules have it."""


def passes(queries: int, over: int, p: float, confidence: float = CONFIDENCE) -> bool:
    """Whether a run of `queries`, `over` of them over the bound, proves that percentile `p` (0 to 1) keeps it."""
    return over < queries and _odds(queries, over, p) < 1 - confidence


def needed_queries(over: int, p: float, confidence: float = CONFIDENCE) -> int:
    """The shortest run that proves percentile `p` although `over` of its queries exceed the bound."""
    high = ceil((over + 1) / (1 - p))
    while not passes(high, over, p, confidence):
        high *= 2
    return bisect_left(range(high), True, lo=over, key=lambda queries: passes(queries, over, p, confidence))


def discard(queries: int, p: float, confidence: float = CONFIDENCE) -> int | None:
    """The most queries over a bound with which a run of `queries` still proves percentile `p`, at least 1.

    None where not even one may be: LoadGen gives no estimate then.
    """
    most = bisect_left(range(queries), True, key=lambda over: not passes(queries, over, p, confidence)) - 1
    return most if most >= 1 else None


def estimate(ordered: NDArray[np.int64], p: float) -> int | None:
    """LoadGen's early-stopping estimate of percentile `p` from sorted latencies: with 99 % confidence it is not above.

    None for too few: 64 queries at p90, 662 at p99.
    """
    over = discard(len(ordered), p)
    return None if over is None else int(ordered[len(ordered) - over])


def _odds(queries: int, over: int, p: float) -> float:
    """That `over` or fewer of `queries` are over the bound if each is so with probability 1 - p: I_p(n - t, t + 1)."""
    return incomplete_beta(p, 1 - p, queries - over, over + 1)
