from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import replay
from bench.replay import VALUES_MAX, ReplayTimer, durations_s, spaced


def kept(kind: str, samples: list[int], throughput_per_s: float | None = None) -> Any:
    record = SimpleNamespace(window=SimpleNamespace(samples_kind=kind))
    return SimpleNamespace(
        record=record, summary=SimpleNamespace(throughput_per_s=throughput_per_s), samples=np.array(samples, np.int64)
    )


@given(st.lists(st.floats(0, 1e3), max_size=50))
def test_every_pair_of_readings_lies_a_duration_apart(durations: list[float]) -> None:
    timer = ReplayTimer()
    timer.load(durations)
    assert [-(timer() - timer()) for _ in durations] == durations


def test_an_empty_timer_stands_still() -> None:
    timer = ReplayTimer()
    assert timer() == timer() == 0.0


def test_latencies_are_replayed_in_seconds() -> None:
    assert durations_s(kept("latency_ns", [1_000, 2_000])) == [1e-6, 2e-6]


def test_overlapping_queries_are_replayed_as_the_time_per_sample() -> None:
    (duration,) = durations_s(kept("done_ns", [1, 2, 3], throughput_per_s=250.0))
    assert 1 / duration == 250.0


def test_without_a_throughput_there_is_nothing_to_replay() -> None:
    assert durations_s(kept("done_ns", [1, 2, 3])) == []


@given(st.integers(1, 3 * VALUES_MAX))
def test_at_most_so_many_values_from_the_least_to_the_greatest(n: int) -> None:
    chosen = spaced(np.arange(n))
    assert len(chosen) == min(n, VALUES_MAX)
    assert (chosen[0], chosen[-1]) == (0, n - 1)
    assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99, 0.999])
def test_a_million_samples_keep_their_percentiles(p: float) -> None:
    samples = np.sort(np.random.default_rng(0).lognormal(10, 1, 1_000_000).astype(np.int64))
    assert np.quantile(spaced(samples), p) == pytest.approx(np.quantile(samples, p), rel=0.01)


def test_the_shared_timer_is_the_one_of_the_suite() -> None:
    from bench.test_hardware import test_hardware

    (marker,) = [mark for mark in test_hardware.pytestmark if mark.name == "benchmark"]  # type: ignore[attr-defined]
    assert marker.kwargs == {"timer": replay.timer}
