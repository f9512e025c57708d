from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import stats
from results.record import Record, Window
from tests.fakes import records

SINGLE, OFFLINE = records.identities(2)

durations = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def made(
    samples: np.ndarray, kind: str = "latency_ns", batch: int = 1, duration_ns: int | None = None,
    scenario: str = "single_stream",
) -> Record:  # fmt: skip
    """A record whose window says what `samples` are."""
    total = duration_ns if duration_ns is not None else int(samples.sum() if kind == "latency_ns" else samples.max())
    base = records.record(SINGLE.model_copy(update={"scenario": scenario}))
    assert base.window is not None
    window = {"queries": len(samples), "samples_kind": kind, "query_samples": batch, "duration_ns": total}
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

    def test_ten_queries_have_to_lie_beyond(self) -> None:
        assert [stats.needed(p) for p in (0.9, 0.95, 0.99, 0.999)] == [100, 200, 1000, 10_000]

    @given(st.floats(0.5, 0.9999))
    def test_with_the_queries_needed_ten_do(self, p: float) -> None:
        ordered = np.arange(stats.needed(p), dtype=np.int64)
        assert 10 <= len(ordered) - stats.percentile(ordered, p) <= 11


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
        assert summary.missing["latency_p999_ns"] == "1000 queries; p99.9 needs 10000"
        assert summary.early_p90_ns == 923_000  # 78 of 1000 over p90 have odds of 0.0099
        assert summary.early_p99_ns == 999_000  # 2 of 1000 over p99: 0.0027
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
        assert set(summary.missing) == {
            "latency_p90_ns", "latency_p95_ns", "latency_p99_ns", "latency_p999_ns", "early_p90_ns", "early_p99_ns",
            "drift",
        }  # fmt: skip
        assert [reason.code for reason in summary.reasons] == ["too_few_samples"]

    @pytest.mark.parametrize(
        ("name", "early", "fewest", "plain"),
        [("latency_p90_ns", "early_p90_ns", 64, 100), ("latency_p99_ns", "early_p99_ns", 662, 1000)],
    )
    def test_a_tail_is_suppressed_and_an_estimate_stands_instead(
        self, name: str, early: str, fewest: int, plain: int
    ) -> None:
        """Below LoadGen's own count there is neither, up to ten queries beyond only the estimate, then both."""
        found = {}
        for n in (fewest - 1, fewest, plain - 1, plain):
            samples = np.arange(1, n + 1, dtype=np.int64)
            summary = stats.summarise(made(samples), samples)
            found[n] = (getattr(summary, name), getattr(summary, early), summary.missing.get(name))
            assert early in summary.missing or getattr(summary, early) >= (getattr(summary, name) or 0)
        neither, estimate, last, both = found.values()
        percent = name[len("latency_p") : -len("_ns")]
        assert neither == (None, None, f"{fewest - 1} queries; p{percent} needs {plain}")
        instead = f"p{percent} needs {plain}; LoadGen's early-stopping estimate instead"
        assert estimate == (None, fewest, f"{fewest} queries; {instead}")
        assert last[0] is None
        assert last[2] == f"{plain - 1} queries; {instead}"
        assert both[0] is not None
        assert both[1] is not None
        assert both[2] is None

    def test_completions_have_a_rate_and_no_latency(self) -> None:
        samples = np.arange(1, 1001, dtype=np.int64) * 2_000_000
        summary = stats.summarise(made(samples, "done_ns", batch=4), samples)
        assert summary.throughput_per_s == pytest.approx(2000)
        assert summary.drift == 0
        assert summary.latency_p50_ns is None
        assert summary.latency_mean_ns is None
        assert "completions, not latencies" in summary.missing["latency_p50_ns"]

    def test_a_cold_start_is_one_sample_and_says_so(self) -> None:
        samples = np.array([900_000_000], dtype=np.int64)
        summary = stats.summarise(made(samples, "cold_ns", scenario="cold_start"), samples)
        absent = {name for name, value in summary if value is None}
        assert absent == {
            "throughput_per_s", "latency_mean_ns", "latency_min_ns", "latency_max_ns", "latency_p50_ns",
            "latency_p90_ns", "latency_p95_ns", "latency_p99_ns", "latency_p999_ns", "early_p90_ns", "early_p99_ns",
            "outliers_mild", "outliers_severe", "drift",
        }  # fmt: skip
        assert all("a cold start is one" in summary.missing[name] for name in absent)
        assert (summary.verdict, summary.reasons) == ("valid", ())

    def test_a_server_has_a_rate_and_no_drift(self) -> None:
        """Random arrivals alone make quarters of a window differ: that is no fault of the machine."""
        samples = np.concatenate([np.full(500, 1_000_000), np.full(500, 2_000_000)])
        record = made(samples, batch=2, duration_ns=10**10, scenario="server(rate=100)")
        summary = stats.summarise(record, samples)
        assert summary.throughput_per_s == pytest.approx(200)
        assert summary.drift is None
        assert summary.missing["drift"].startswith("queries arrive at random")
        assert "drift" not in [reason.code for reason in summary.reasons]

    def test_a_mean_far_above_the_median_is_noted(self) -> None:
        samples = np.tile(np.repeat([1_000_000, 9_000_000], [95, 5]), 10)
        summary = stats.summarise(made(samples), samples.copy())
        assert [(reason.code, reason.severity) for reason in summary.reasons] == [("heavy_tail", "note")]
        assert summary.verdict == "valid"

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
    @given(durations, st.sampled_from(["latency_ns", "done_ns", "cold_ns"]))
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
        assert found.centre == pytest.approx(math.exp(logs.mean()))
        assert found.centre == pytest.approx(math.sqrt(found.low * found.high))
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
        assert one.low <= one.centre * (1 + 1e-12) <= one.high * (1 + 1e-9)

    def test_a_ratio_needs_five_on_both_sides(self) -> None:
        assert stats.ratio_interval([1.0] * 5, [1.0] * 4) is None
        assert stats.ratio_interval([1.0] * 5, [1.0] * 4 + [0.0]) is None
        same = stats.ratio_interval([2.0] * 5, [4.0] * 5)
        assert same is not None
        assert (same.low, same.centre, same.high) == pytest.approx((2.0, 2.0, 2.0))


class TestShift:
    def test_known_values(self) -> None:
        """B. L. Welch's case of unequal spreads: the freedom lies between the smaller side's and both sides'."""
        shift = stats.shift_of([1.0, 1.1, 0.9, 1.05, 0.95], [2.0, 2.6, 1.5])
        logs = [np.log([1.0, 1.1, 0.9, 1.05, 0.95]), np.log([2.0, 2.6, 1.5])]
        parts = [side.var(ddof=1) / len(side) for side in logs]
        assert shift is not None
        assert shift.value == pytest.approx(logs[1].mean() - logs[0].mean())
        assert shift.error == pytest.approx(math.sqrt(sum(parts)))
        assert shift.freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 2))
        assert 2 < shift.freedom < 6

    def test_no_spread_is_no_error(self) -> None:
        shift = stats.shift_of([1.0, 1.0], [2.0, 2.0])
        assert shift is not None
        assert (shift.error, shift.freedom, shift.quantile(0.9)) == (0.0, 2.0, 0.0)

    @pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 2.0]), ([1.0, 2.0], [])])
    def test_none_from_too_little(self, a: list[float], b: list[float]) -> None:
        assert stats.shift_of(a, b) is None


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50))
def test_geometric_mean(values: list[float]) -> None:
    mean = stats.geometric_mean(values)
    assert mean is not None
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [math.inf]])
def test_no_geometric_mean(values: list[float]) -> None:
    assert stats.geometric_mean(values) is None
