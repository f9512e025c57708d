"""Figures from samples. Pure: no files, no clock, no records but those handed in.

Sources:
- percentiles: MLPerf LoadGen, `PerformanceSummary::ProcessLatencies` in mlcommons/inference loadgen/results.cc: the
  sorted sample at index floor(n p), no interpolation.
- which percentile a sample supports: ten queries or more have to lie beyond it (a house rule: the count beyond then has
  a relative standard error of about 1 / sqrt(10)). Below that LoadGen's early-stopping estimate stands, from 64 queries
  (p90) and 662 (p99) on (results/early_stopping.py).
- outliers: J. W. Tukey, Exploratory Data Analysis (1977): beyond 1.5 (mild) or 3 (severe) interquartile ranges. Counted
  and kept.
- interval: Student's t on the logarithms of the per-process figures; a process is one repeat (see docs/measuring.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, floor, inf, isfinite, log, sqrt
from statistics import fmean, median
from typing import Any, Literal

import numpy as np

from results import early_stopping
from results.checks import Figures, judge
from results.names import scenario_name
from results.record import Record, Summary, Window
from results.student import student_t

RULES_VERSION = 2
"""1: first rules (2026-11). 2: ten queries beyond a percentile, early-stopping estimates, checks of schema 2."""
PERCENTILES = {
    "latency_p50_ns": 0.5,
    "latency_p90_ns": 0.9,
    "latency_p95_ns": 0.95,
    "latency_p99_ns": 0.99,
    "latency_p999_ns": 0.999,
}
EARLY = {"early_p90_ns": 0.9, "early_p99_ns": 0.99}
BEYOND = 10
MIN_REPEATS = 5
"""From here on an interval is given; below it, the range."""
DRIFT_MIN = {"latency_ns": 40, "done_ns": 400}
"""Queries that a drift needs: ten latencies a quarter; completions come in bursts, so a hundred of them."""

_MAX = 2**63 - 1

Samples = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Interval:
    """Around the figure of `n` repeats: a confidence interval ("t"), or their smallest and largest ("range").

    `centre` is the row's figure: the geometric mean of a "t", which is its middle on the log scale, the median of a
    range.
    """

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


@dataclass(frozen=True)
class Shift:
    """log(b / a) as two sets of repeats estimate it, its standard error, and the degrees of freedom of that.

    `spread` is the standard deviation of one repeat's b over one repeat's a.
    """

    value: float
    error: float
    freedom: float
    spread: float

    def quantile(self, probability: float) -> float:
        """Of the estimate's own distribution around 0, on the log scale; 0 < probability < 1."""
        return student_t(probability, self.freedom) * self.error


def summarise(record: Record, samples: Samples) -> Summary:
    """Every figure of one `ok` record. Sorts `samples`, (queries,) int64, in place: no second copy of ten million.

    Raises ValueError when the samples are not what the record's window says.
    """
    window = record.window
    if record.estimate is not None:
        return _of_an_estimate(record)
    if window is None:
        raise ValueError(f"{record.record_id}: {record.status}, there is nothing to summarise")
    if len(samples) != window.queries or not len(samples):
        raise ValueError(f"{record.record_id}: {len(samples)} samples where the window counts {window.queries} queries")
    quarters = _quarter_medians(samples)  # the last thing that needs their order
    samples.sort()
    if samples[0] < 0:
        raise ValueError(f"{record.record_id}: a negative duration ({samples[0]} ns) among the samples")
    figures, missing = _latencies(samples, window)
    for name, (value, why) in {
        "drift": _drift(record, samples, window, quarters),
        "throughput_per_s": _rate(samples, window),
    }.items():
        figures[name] = value
        missing |= {name: why} if value is None else {}
    judged = {name: figures.get(name) for name in ("drift", "latency_mean_ns", "latency_p50_ns")}
    verdict, reasons = judge(record, Figures(queries=len(samples), **judged))
    return Summary(
        record_id=record.record_id,
        rules_version=RULES_VERSION,
        queries=len(samples),
        verdict=verdict,
        reasons=reasons,
        missing=missing,
        **figures,
    )


def throughput(ordered: Samples, window: Window) -> float | None:
    """Samples a second: queries that ended inside the window, times their samples, over the window.

    The window of completions opens at one of them with the pipeline full and closes at one before it drains
    (bench/measure.py), so neither filling nor draining is counted, and a completion belongs to the window it ends in.
    Of latencies every query ended inside: single_stream and multi_stream are the queries one after the other, and a
    server's window closes when the last query that was offered in it is answered.
    """
    if not window.duration_ns:
        return None
    inside = len(ordered)
    if window.samples_kind == "done_ns":
        inside = int(np.searchsorted(ordered, window.duration_ns, side="right"))
    return inside * window.query_samples * 1e9 / window.duration_ns


def percentile(ordered: Samples, p: float) -> int:
    """The value at index floor(n p) of sorted samples; 0 <= p < 1."""
    return int(ordered[int(len(ordered) * p)])


def needed(p: float) -> int:
    """How many queries a percentile needs so that BEYOND of them lie beyond it: 100 for p90, 1,000 for p99."""
    return round(BEYOND / (1 - p))


def drift_of(ordered: Samples, window: Window, quarter_medians: Sequence[float]) -> float | None:
    """Largest relative deviation of a quarter of the window from the whole; None for too few samples.

    Latencies: medians of four consecutive equal counts. Completions: the rates of four consecutive equal counts.
    """
    if len(ordered) < DRIFT_MIN.get(window.samples_kind, inf):
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
    """Of the figure that `values`, one per repeat, estimate. Raises ValueError for no values.

    From five positive repeats on it is Student's t on their logarithms, else the range. Equal ones are their own
    figure, which logarithms would round.
    """
    if not values:
        raise ValueError("no repeats, no interval")
    if len(values) < MIN_REPEATS or min(values) <= 0:
        return Interval(median(values), min(values), max(values), "range", len(values))
    if min(values) == max(values):
        return Interval(values[0], values[0], values[0], "t", len(values))
    middle, square = _moments(values)
    reach = student_t(0.5 + confidence / 2, len(values) - 1) * sqrt(square / len(values))
    return Interval(exp(middle), exp(middle - reach), exp(middle + reach), "t", len(values))


def shift_of(a: Sequence[float], b: Sequence[float]) -> Shift | None:
    """Of b against a, by Welch's t on the logarithms; None below two repeats on either side or for a value <= 0.

    B. L. Welch, Biometrika 34 (1947); degrees of freedom by Satterthwaite (1946).
    """
    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    (middle_a, square_a), (middle_b, square_b) = _moments(a), _moments(b)
    part_a, part_b = square_a / len(a), square_b / len(b)
    freedom = float(len(a) + len(b) - 2)
    if part_a + part_b > 0:
        freedom = (part_a + part_b) ** 2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    return Shift(middle_b - middle_a, sqrt(part_a + part_b), freedom, sqrt(square_a + square_b))


def ratio_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Of b over a; None below five repeats on either side or for a value <= 0. The source is `shift_of`'s."""
    shift = shift_of(a, b) if min(len(a), len(b)) >= MIN_REPEATS else None
    if shift is None:
        return None
    reach = shift.quantile(0.5 + confidence / 2)
    centre, low, high = (exp(shift.value + side) for side in (0.0, -reach, reach))
    return Interval(centre, low, high, "t", min(len(a), len(b)))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and variance of the logarithms. The statistics module's variance is exact, and a hundred times slower."""
    logs = [log(value) for value in values]
    middle = fmean(logs)
    return middle, sum((x - middle) ** 2 for x in logs) / (len(logs) - 1)


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
    plain = ("latency_mean_ns", "latency_min_ns", "latency_max_ns", "outliers_mild", "outliers_severe")
    if window.samples_kind != "latency_ns":
        return {}, dict.fromkeys((*plain, *PERCENTILES, *EARLY), _NO_LATENCIES[window.samples_kind])
    mild, severe = outliers(ordered)
    figures: dict[str, Any] = {
        "latency_mean_ns": float(ordered.mean()),
        "latency_min_ns": float(ordered[0]),
        "latency_max_ns": float(ordered[-1]),
        "outliers_mild": mild,
        "outliers_severe": severe,
    }
    estimates = {name: early_stopping.estimate(ordered, p) for name, p in EARLY.items()}
    figures |= {name: float(value) for name, value in estimates.items() if value is not None}
    missing = {
        name: f"{len(ordered)} queries; LoadGen's early stopping needs {early_stopping.needed_queries(1, p)}"
        for name, p in EARLY.items()
        if estimates[name] is None
    }
    for name, p in PERCENTILES.items():
        if p > 0.5 and len(ordered) < needed(p):
            instead = name.replace("latency", "early")
            hint = "; LoadGen's early-stopping estimate instead" if instead in figures else ""
            missing[name] = f"{len(ordered)} queries; p{100 * p:g} needs {needed(p)}{hint}"
        else:
            figures[name] = float(percentile(ordered, p))
    return figures, missing


def _of_an_estimate(record: Record) -> Summary:
    """Nothing was timed: what can be judged are the outputs."""
    verdict, reasons = judge(record, Figures(queries=0))
    absent = [name for name, field in Summary.model_fields.items() if field.default is None]
    why = f"{record.provenance}: nothing was timed"
    return Summary(
        record_id=record.record_id,
        rules_version=RULES_VERSION,
        queries=0,
        verdict=verdict,
        reasons=reasons,
        missing=dict.fromkeys(absent, why),
    )


_NO_LATENCIES = {
    "done_ns": "this scenario overlaps queries and records completions, not latencies",
    "cold_ns": "a cold start is one sample: it has no distribution",
}


def _drift(
    record: Record, ordered: Samples, window: Window, quarter_medians: Sequence[float]
) -> tuple[float | None, str]:
    """The drift, or why there is none."""
    if window.samples_kind == "cold_ns":
        return None, "a cold start is one sample: it has no window to drift in"
    if scenario_name(record.identity.scenario) == "server":
        return None, "queries arrive at random, so that quarters of the window differ by chance"
    why = f"{len(ordered)} queries; {DRIFT_MIN[window.samples_kind]} are needed"
    return drift_of(ordered, window, quarter_medians), why


def _rate(ordered: Samples, window: Window) -> tuple[float | None, str]:
    """The throughput, or why there is none."""
    if window.samples_kind == "cold_ns":
        return None, "a cold start is one query: it has no rate"
    return throughput(ordered, window), "the window has no duration"


def geometric_mean(values: Sequence[float]) -> float | None:
    """None for no values or one that is not positive."""
    if not values or not all(value > 0 and isfinite(value) for value in values):
        return None
    return exp(fmean(log(value) for value in values))
