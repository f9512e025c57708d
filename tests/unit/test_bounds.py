from __future__ import annotations

import numpy as np
import pytest

from results.checks.bounds import within
from results.record import Bound, Summary
from results.stats import summarise
from tests.fakes import records

SINGLE = records.identities(1)[0]


def repeat(queries: int, over: int = 0) -> Summary:
    """Queries of 1 ms, the last `over` of them of 9 ms."""
    record = records.record(SINGLE, queries=queries)
    samples = np.where(np.arange(queries) < queries - over, 1_000_000, 9_000_000)
    return summarise(record, samples)


@pytest.mark.parametrize(
    ("queries", "over", "percentile", "kept"),
    [
        (64, 0, 99.0, None),  # nobody was late, and so few prove nothing
        (458, 0, 99.0, None),
        (459, 0, 99.0, True),
        (100, 1, 99.0, None),
        (662, 1, 99.0, None),  # LoadGen's estimate is the slowest of 662, not the one below it
        (1000, 1, 99.0, True),
        (1000, 2, 99.0, None),  # p99 itself keeps it, but not surely
        (1000, 10, 99.0, False),
        (1000, 600, 99.0, False),
        (44, 0, 90.0, True),
        (43, 0, 90.0, None),
        (1000, 77, 90.0, True),
        (1000, 78, 90.0, None),
        (1000, 100, 90.0, False),
        (1000, 1, 95.0, True),  # what keeps p99 keeps p95
        (10, 0, 50.0, True),
        (10, 5, 50.0, False),
        (10, 0, 100.0, True),
        (10, 1, 100.0, False),
    ],
)
def test_proved_broken_or_unknown(queries: int, over: int, percentile: float, kept: bool | None) -> None:
    """459 and 44 are the smallest n with p^n < 0.01; 77 of 1000 are left out by LoadGen's estimate of p90."""
    assert within([repeat(queries, over)], Bound(latency_ms=5.0, percentile=percentile)) is kept


def test_repeats_together_prove_more() -> None:
    bound = Bound(latency_ms=5.0, percentile=99.0)
    assert within([repeat(200)], bound) is None
    assert within([repeat(200)] * 3, bound) is True
    assert within([repeat(200)] * 2 + [repeat(200, 1)], bound) is None
    assert within([repeat(1000)] * 2 + [repeat(1000, 10)], bound) is False


def test_without_latencies_nobody_knows() -> None:
    offline = records.identities(2)[1]
    summary = summarise(records.record(offline), records.samples(offline, 1000))
    assert within([summary], Bound(latency_ms=5.0, percentile=99.0)) is None
    assert within([], Bound(latency_ms=5.0, percentile=99.0)) is None
