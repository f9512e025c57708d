from __future__ import annotations

import math
import random
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import stats
from results.record import Record, Window
from results.student import student_t
from tests.fakes import records

SINGLE, OFFLINE = records.identities(2)

durations = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def made(samples: np.ndarray, kind: str = "latency_ns", batch: int = 1, duration_ns: int | None = None) -> Record:
    """A record whose window says what `samples` are."""
    total = duration_ns if duration_ns is not None else int(samples.sum() if kind == "latency_ns" else samples.max())
    base = records.record(SINGLE)
    assert base.window is not None
    window = {"queries": len(samples), "samples_kind": kind, "batch": batch, "duration_ns": total}
    return base.model_copy(update={"window": base.window.model_copy(update=window)})


def window(kind: str) -> Window:
    found = made(np.arange(3), kind).window
    assert found is not None
    return found


class TestPercentiles:
    @given(durations, st.floats(0, 0.9999))
    def test_loadgen_index_without_interpolation(self, values: list[int], p: float) -> None:
        ordered = np.sort(np.array(values, dtype=np.int64))
        assert stats.percentile(ordered, p) == sorted(values)[int(len(values) * p)]

    @given(durations)
    def test_ordered_and_within_the_sample(self, values: list[int]) -> None:
        ordered = np.sort(np.array(values, dtype=np.int64))
        found = [stats.percentile(ordered, p) for p in stats.PERCENTILES.values()]
        assert found == sorted(found)
        assert min(values) <= found[0]
        assert found[-1] <= max(values)

    def test_what_a_sample_supports_is_what_loadgen_asks_for(self) -> None:
        """64 and 662 are LoadGen's own (early stopping with one query over the bound at 99 % confidence)."""
        assert [stats.needed(p) for p in (0.9, 0.95, 0.99, 0.999)] == [64, 130, 662, 6636]

    @given(st.floats(0.5, 0.9999))
    def test_needed_is_the_smallest_that_is_enough(self, p: float) -> None:
        def chance(n: int) -> float:
            return p**n + n * (1 - p) * p ** (n - 1)

        n = stats.needed(p)
        assert chance(n) <= 0.01 + 1e-12
        assert chance(n - 1) > 0.01 - 1e-12

    def test_simulated_coverage_of_the_rule(self) -> None:
        """With `needed` queries the largest but one is over the true percentile in 99 % of samples, and hardly more."""
        rng = np.random.default_rng(5)
        second = np.sort(rng.random((20_000, stats.needed(0.9))), axis=1)[:, -2]
        assert 0.987 < (second > 0.9).mean() < 0.993


class TestSummary:
    def test_known_latencies(self) -> None:
        samples = np.arange(1000, 0, -1, dtype=np.int64) * 1000
        summary = stats.summarise(made(samples), samples)
        assert summary.latency_min_ns == 1000
        assert summary.latency_p50_ns == 501_000
        assert summary.latency_p90_ns == 901_000
        assert summary.latency_p99_ns == 991_000
        assert summary.latency_max_ns == 1_000_000
        assert summary.latency_mean_ns == 500_500
        assert summary.throughput_per_s == pytest.approx(1000 / 0.5005)
        assert summary.latency_p999_ns is None
        assert summary.missing["latency_p999_ns"] == "1000 queries; p99.9 needs 6636"
        assert summary.drift == pytest.approx(0.75, rel=0.01)
        assert [reason.code for reason in summary.reasons] == ["drift"]

    def test_throughput_counts_samples_not_queries(self) -> None:
        samples = np.full(100, 10_000_000, dtype=np.int64)
        assert stats.summarise(made(samples, batch=8), samples).throughput_per_s == pytest.approx(800)

    def test_a_median_is_always_given_a_tail_only_if_supported(self) -> None:
        samples = np.full(3, 5, dtype=np.int64)
        summary = stats.summarise(made(samples), samples)
        assert summary.latency_p50_ns == 5
        assert summary.latency_p90_ns is None
        assert {"latency_p90_ns", "latency_p95_ns", "latency_p99_ns", "latency_p999_ns", "drift"} == set(
            summary.missing
        )
        assert [reason.code for reason in summary.reasons] == ["too_few_samples"]

    def test_completions_have_a_rate_and_no_latency(self) -> None:
        samples = np.arange(1, 1001, dtype=np.int64) * 2_000_000
        summary = stats.summarise(made(samples, "done_ns", batch=4), samples)
        assert summary.throughput_per_s == pytest.approx(2000)
        assert summary.drift == 0
        assert summary.latency_p50_ns is None
        assert summary.latency_mean_ns is None
        assert "completions, not latencies" in summary.missing["latency_p50_ns"]

    def test_a_completion_after_the_window_does_not_count(self) -> None:
        samples = np.arange(1, 101, dtype=np.int64) * 1_000_000
        summary = stats.summarise(made(samples, "done_ns", duration_ns=90_000_000), samples)
        assert summary.throughput_per_s == pytest.approx(1000)

    @pytest.mark.parametrize("workers", [1, 2, 8])
    def test_overlapped_workers_of_known_speed(self, workers: int) -> None:
        """Each worker needs 10 ms a query; 2 s of a full pipeline, as the offline driver cuts it."""
        each = [np.arange(1, 201, dtype=np.int64) * 10_000_000 + w * 10_000_000 // workers for w in range(workers)]
        samples = np.sort(np.concatenate(each))
        samples = samples[samples <= 2_000_000_000]
        summary = stats.summarise(made(samples, "done_ns", duration_ns=2_000_000_000), samples)
        assert summary.throughput_per_s == pytest.approx(100 * workers, rel=0.01)

    def test_a_slower_half_is_drift(self) -> None:
        steps = np.concatenate([np.full(500, 1_000_000), np.full(500, 1_200_000)])
        for kind, samples in (("latency_ns", steps.copy()), ("done_ns", steps.cumsum())):
            summary = stats.summarise(made(samples.astype(np.int64), kind), samples.astype(np.int64))
            assert summary.drift == pytest.approx(0.091, abs=0.01)
            assert "drift" in [reason.code for reason in summary.reasons]

    def test_outliers_are_counted_and_kept(self) -> None:
        samples = np.concatenate([np.arange(100, 200), [300], [2000]]).astype(np.int64)
        summary = stats.summarise(made(samples), samples)
        assert (summary.outliers_mild, summary.outliers_severe) == (1, 1)
        assert summary.latency_max_ns == 2000
        assert summary.queries == 102

    @settings(max_examples=50)
    @given(durations, st.sampled_from(["latency_ns", "done_ns"]))
    def test_any_sample_gives_a_summary_or_one_reason(self, values: list[int], kind: str) -> None:
        samples = np.array(values, dtype=np.int64)
        summary = stats.summarise(made(samples, kind), samples)
        assert summary.queries == len(values)
        assert all(value is not None or name in summary.missing for name, value in summary)

    def test_what_is_no_sample_is_refused(self) -> None:
        samples = np.array([5, -1, 5], dtype=np.int64)
        with pytest.raises(ValueError, match="negative duration"):
            stats.summarise(made(samples, duration_ns=9), samples)
        with pytest.raises(ValueError, match="2 samples where the window counts 3 queries"):
            stats.summarise(made(np.arange(3)), np.arange(2))
        with pytest.raises(ValueError, match="absent, there is nothing to summarise"):
            stats.summarise(records.record(status="absent"), samples)

    @pytest.mark.parametrize("kind", ["latency_ns", "done_ns"])
    def test_at_most_16_bytes_a_sample(self, kind: str) -> None:
        n = 1_000_000
        samples = np.random.default_rng(0).integers(1, 10**6, n, dtype=np.int64)
        record = made(samples, kind)
        tracemalloc.start()
        stats.summarise(record, samples)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes / n < 3  # besides the 8 of the samples themselves


class TestInterval:
    def test_below_five_repeats_it_is_the_range(self) -> None:
        found = stats.interval([3.0, 1.0, 2.0])
        assert (found.kind, found.low, found.centre, found.high, found.n) == ("range", 1.0, 2.0, 3.0, 3)
        assert found.half_width is None

    def test_from_five_on_it_is_t_on_logarithms(self) -> None:
        values = [100.0, 102.0, 98.0, 101.0, 99.0]
        found = stats.interval(values)
        logs = np.log(values)
        reach = 2.776445105 * logs.std(ddof=1) / math.sqrt(5)
        assert found.kind == "t"
        assert found.low == pytest.approx(math.exp(logs.mean() - reach))
        assert found.high == pytest.approx(math.exp(logs.mean() + reach))
        assert found.half_width == pytest.approx(math.exp(reach) - 1)

    def test_no_values(self) -> None:
        with pytest.raises(ValueError, match="no repeats"):
            stats.interval([])

    @given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20), st.floats(1e-3, 1e3))
    def test_scales_with_its_unit(self, values: list[float], factor: float) -> None:
        one, other = stats.interval(values), stats.interval([value * factor for value in values])
        for name in ("low", "centre", "high"):
            assert getattr(other, name) == pytest.approx(getattr(one, name) * factor, rel=1e-6)
        assert one.low <= one.high

    def test_covers_what_it_says(self) -> None:
        rng = random.Random(1)
        inside = 0
        for _ in range(4000):
            values = [math.exp(rng.gauss(0.0, 0.05)) for _ in range(5)]
            found = stats.interval(values)
            inside += found.low <= 1 <= found.high
        assert 0.94 < inside / 4000 < 0.96

    def test_a_ratio_covers_what_it_says(self) -> None:
        rng = random.Random(2)
        inside = 0
        for _ in range(2000):
            a = [math.exp(rng.gauss(0.0, 0.02)) for _ in range(5)]
            b = [math.exp(rng.gauss(math.log(1.1), 0.06)) for _ in range(8)]
            found = stats.ratio_interval(a, b)
            assert found is not None
            inside += found.low <= 1.1 <= found.high
        assert 0.935 < inside / 2000 < 0.965

    def test_a_ratio_needs_five_on_both_sides(self) -> None:
        assert stats.ratio_interval([1.0] * 5, [1.0] * 4) is None
        assert stats.ratio_interval([1.0] * 5, [1.0] * 4 + [0.0]) is None
        same = stats.ratio_interval([2.0] * 5, [4.0] * 5)
        assert same is not None
        assert (same.low, same.centre, same.high) == pytest.approx((2.0, 2.0, 2.0))


class TestStudent:
    @pytest.mark.parametrize(
        ("freedom", "two_sided_90", "two_sided_95", "two_sided_99"),
        [
            (1, 6.313752, 12.706205, 63.656741),
            (2, 2.919986, 4.302653, 9.924843),
            (4, 2.131847, 2.776445, 4.604095),
            (9, 1.833113, 2.262157, 3.249836),
            (30, 1.697261, 2.042272, 2.749996),
            (120, 1.657651, 1.979930, 2.617421),
            (1e6, 1.644856, 1.959966, 2.575835),
        ],
    )
    def test_printed_tables(
        self, freedom: float, two_sided_90: float, two_sided_95: float, two_sided_99: float
    ) -> None:
        found = [student_t(p, freedom) for p in (0.95, 0.975, 0.995)]
        assert found == pytest.approx([two_sided_90, two_sided_95, two_sided_99], abs=2e-6)

    @given(st.floats(0.001, 0.999))
    def test_closed_forms(self, p: float) -> None:
        """One degree of freedom is Cauchy's distribution; two have the quantile (2p-1) sqrt(2 / (4p(1-p)))."""
        assert student_t(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-8, abs=1e-9)
        assert student_t(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-8, abs=1e-9)

    @given(st.floats(0.501, 0.9999), st.lists(st.floats(1, 500), min_size=2, max_size=5, unique=True))
    def test_falls_with_the_degrees_of_freedom(self, p: float, freedoms: list[float]) -> None:
        found = [student_t(p, freedom) for freedom in sorted(freedoms)]
        assert all(earlier >= later - 1e-9 for earlier, later in pairwise(found))

    @pytest.mark.parametrize(("p", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0), (0.5, -1)])
    def test_nonsense_is_refused(self, p: float, freedom: float) -> None:
        with pytest.raises(ValueError, match="no t quantile"):
            student_t(p, freedom)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50))
def test_geometric_mean(values: list[float]) -> None:
    mean = stats.geometric_mean(values)
    assert mean is not None
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [math.inf]])
def test_no_geometric_mean(values: list[float]) -> None:
    assert stats.geometric_mean(values) is None
