"""Figures from samples. Pure: no files, no clock, no records but those handed in.

Sources:
- percentiles: MLPerf LoadGen, `PerformanceSummary::ProcessLatencies` in mlcommons/inference loadgen/results.cc: the
  sorted sample at index floor(n p), no interpolation.
- which percentile a sample supports: the same repository's loadgen/early_stopping.cc with one query over the bound,
  tolerance 0 and confidence 0.99, as its SingleStream scenario asks: 64 queries for p90, 662 for p99.
- outliers: J. W. Tukey, Exploratory Data Analysis (1977): beyond 1.5 (mild) or 3 (severe) interquartile ranges. Counted
  and kept.
- interval: Student's t on the logarithms of the per-process figures; a process is one repeat (see docs/measuring.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil, exp, floor, isfinite, log, sqrt
from statistics import fmean, median, stdev, variance
from typing import Any, Literal

import numpy as np

from results.checks import Figures, judge
from results.record import Record, Summary, Window
from results.student import student_t

RULES_VERSION = 1
PERCENTILES = {
    "latency_p50_ns": 0.5,
    "latency_p90_ns": 0.9,
    "latency_p95_ns": 0.95,
    "latency_p99_ns": 0.99,
    "latency_p999_ns": 0.999,
}
MIN_REPEATS = 5
"""From here on an interval is given; below it, the range."""
DRIFT_MIN = {"latency_ns": 40, "done_ns": 400}
"""Queries that a drift needs: ten latencies a quarter; completions come in bursts, so a hundred of them."""

_MAX = 2**63 - 1

Samples = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Interval:
    """Around `centre`, the median of `n` repeats: a confidence interval ("t"), or smallest and largest ("range")."""

    centre: float
    low: float
    high: float
    kind: Literal["t", "range"]
    n: int

    @property
    def half_width(self) -> float | None:
        """Relative, on the log scale; None for a range, which promises nothing."""
        if self.kind == "range" or self.low <= 0:
            return None
        return exp(log(self.high / self.low) / 2) - 1


def summarise(record: Record, samples: Samples) -> Summary:
    """Every figure of one `ok` record. Sorts `samples`, (queries,) int64, in place: no second copy of ten million.

    Raises ValueError when the samples are not what the record's window says.
    """
    window = record.window
    if window is None:
        raise ValueError(f"{record.record_id}: {record.status}, there is nothing to summarise")
    if len(samples) != window.queries or not len(samples):
        raise ValueError(f"{record.record_id}: {len(samples)} samples where the window counts {window.queries} queries")
    quarters = _quarter_medians(samples)  # the last thing that needs their order
    samples.sort()
    if samples[0] < 0:
        raise ValueError(f"{record.record_id}: a negative duration ({samples[0]} ns) among the samples")
    drift = drift_of(samples, window, quarters)
    latencies, missing = _latencies(samples, window)
    if drift is None:
        missing["drift"] = f"{len(samples)} queries; {DRIFT_MIN[window.samples_kind]} are needed"
    throughput_per_s = throughput(samples, window)
    if throughput_per_s is None:
        missing["throughput_per_s"] = "the window has no duration"
    verdict, reasons = judge(record, Figures(queries=len(samples), drift=drift))
    return Summary(
        record_id=record.record_id,
        rules_version=RULES_VERSION,
        queries=len(samples),
        throughput_per_s=throughput_per_s,
        drift=drift,
        verdict=verdict,
        reasons=reasons,
        missing=missing,
        **latencies,
    )


def throughput(ordered: Samples, window: Window) -> float | None:
    """Samples a second: queries that ended inside the window, times the batch, over the window.

    The window of completions opens at one of them with the pipeline full and closes at one before it drains
    (bench/measure.py), so neither filling nor draining is counted, and a completion belongs to the window it ends in.
    """
    if not window.duration_ns:
        return None
    inside = len(ordered)
    if window.samples_kind == "done_ns":
        inside = int(np.searchsorted(ordered, window.duration_ns, side="right"))
    return inside * window.batch * 1e9 / window.duration_ns


def percentile(ordered: Samples, p: float) -> int:
    """The value at index floor(n p) of sorted samples; 0 <= p < 1."""
    return int(ordered[int(len(ordered) * p)])


@cache
def needed(p: float, confidence: float = 0.99) -> int:
    """How many queries a tail percentile needs: one of them over the bound must leave 1 - confidence or less.

    Smallest n with p^n + n (1 - p) p^(n-1) <= 1 - confidence. Reporting the estimate that early stopping makes of a
    smaller sample is not done here.
    """
    low, high = 1, 2
    while _one_over(high, p) > 1 - confidence:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _one_over(middle, p) <= 1 - confidence else (middle + 1, high)
    return low


def drift_of(ordered: Samples, window: Window, quarter_medians: Sequence[float]) -> float | None:
    """Largest relative deviation of a quarter of the window from the whole; None for too few samples.

    Latencies: medians of four consecutive equal counts. Completions: the rates of four consecutive equal counts.
    """
    if len(ordered) < DRIFT_MIN[window.samples_kind]:
        return None
    quarters, whole = quarter_medians, float(np.median(ordered[_middle(len(ordered))]))
    if window.samples_kind == "done_ns":
        count = len(ordered) // 4
        ends = [0, *(int(ordered[k * count - 1]) for k in (1, 2, 3, 4))]
        quarters, whole = [float(end - start) for start, end in pairwise(ends)], ends[-1] / 4
    return max(abs(quarter / whole - 1) for quarter in quarters) if whole else None


def outliers(ordered: Samples) -> tuple[int, int]:
    """Counts of mild and of severe outliers among sorted samples, by Tukey's fences."""
    first, third = percentile(ordered, 0.25), percentile(ordered, 0.75)
    inner, outer = (_outside(ordered, first - k * (third - first), third + k * (third - first)) for k in (1.5, 3.0))
    return inner - outer, outer


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Of the figure that `values`, one per repeat and all positive, estimate. Raises ValueError for no values.

    From five repeats on, t on their logarithms; `centre` is their median either way.
    """
    if not values:
        raise ValueError("no repeats, no interval")
    centre = median(values)
    if len(values) < MIN_REPEATS or min(values) <= 0:
        return Interval(centre, min(values), max(values), "range", len(values))
    logs = [log(value) for value in values]
    reach = student_t(0.5 + confidence / 2, len(logs) - 1) * stdev(logs) / sqrt(len(logs))
    return Interval(centre, exp(fmean(logs) - reach), exp(fmean(logs) + reach), "t", len(values))


def ratio_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Of b over a, Welch's t on the logarithms; None below five repeats on either side or for a value <= 0.

    B. L. Welch, Biometrika 34 (1947); degrees of freedom by Satterthwaite (1946).
    """
    if min(len(a), len(b)) < MIN_REPEATS or min(*a, *b) <= 0:
        return None
    logs_a, logs_b = [log(x) for x in a], [log(x) for x in b]
    parts = [variance(logs_a) / len(a), variance(logs_b) / len(b)]
    shift = fmean(logs_b) - fmean(logs_a)
    total = sum(parts)
    reach = 0.0
    if total > 0:
        freedom = total**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
        reach = student_t(0.5 + confidence / 2, freedom) * sqrt(total)
    return Interval(exp(shift), exp(shift - reach), exp(shift + reach), "t", min(len(a), len(b)))


def _one_over(n: int, p: float) -> float:
    """Chance that at most one of n queries exceeds the true percentile p."""
    return p**n + n * (1 - p) * p ** (n - 1)


def _quarter_medians(samples: Samples) -> list[float]:
    return [float(np.median(part)) for part in np.array_split(samples, 4) if len(part)]


def _middle(n: int) -> slice:
    """The one or two elements that the median of n sorted values is the mean of."""
    return slice((n - 1) // 2, n // 2 + 1)


def _outside(ordered: Samples, low: float, high: float) -> int:
    """How many are below `low` or above `high`. Whole limits: for a float numpy would copy all samples to floats."""
    whole_low, whole_high = (np.int64(max(-_MAX, min(_MAX, limit))) for limit in (ceil(low), floor(high)))
    below = np.searchsorted(ordered, whole_low, side="left")
    above = len(ordered) - np.searchsorted(ordered, whole_high, side="right")
    return int(below + above)


def _latencies(ordered: Samples, window: Window) -> tuple[dict[str, Any], dict[str, str]]:
    """The latency figures of sorted samples, and why others are missing."""
    names = ("latency_mean_ns", "latency_min_ns", "latency_max_ns", *PERCENTILES, "outliers_mild", "outliers_severe")
    if window.samples_kind != "latency_ns":
        return {}, dict.fromkeys(names, "this scenario overlaps queries and records completions, not latencies")
    mild, severe = outliers(ordered)
    figures: dict[str, Any] = {
        "latency_mean_ns": float(ordered.mean()),
        "latency_min_ns": float(ordered[0]),
        "latency_max_ns": float(ordered[-1]),
        "outliers_mild": mild,
        "outliers_severe": severe,
    }
    missing = {}
    for name, p in PERCENTILES.items():
        if p > 0.5 and len(ordered) < needed(p):
            missing[name] = f"{len(ordered)} queries; p{100 * p:g} needs {needed(p)}"
        else:
            figures[name] = float(percentile(ordered, p))
    return figures, missing


def geometric_mean(values: Sequence[float]) -> float | None:
    """None for no values or one that is not positive."""
    if not values or not all(value > 0 and isfinite(value) for value in values):
        return None
    return exp(fmean(log(value) for value in values))
