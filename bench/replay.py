"""Hands what a worker measured to pytest-benchmark, through its public interface: a timer that replays durations.

pytest-benchmark owns the command line, the table and the JSON. It would keep every value, at 1 µs and 39 bytes each, so
it gets at most VALUES_MAX of them, evenly spaced over the sorted sample, which keeps every percentile. Its OPS
is 1 / mean: where queries overlap, the one value replayed is the time per sample, and so OPS is the throughput.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from bench.recorder import Kept

VALUES_MAX = 10_000


class ReplayTimer:
    """A clock for `@pytest.mark.benchmark(timer=...)`: each pair of readings lies the next loaded duration apart."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, durations_s: Iterable[float]) -> None:
        self._readings = (reading for duration_s in durations_s for reading in (0.0, duration_s))

    def __call__(self) -> float:
        return next(self._readings, 0.0)


timer = ReplayTimer()


def durations_s(kept: Kept) -> list[float]:
    """What to replay, in seconds: latencies of queries, or the time per sample, if there is a throughput."""
    if _is_throughput(kept):
        rate = kept.summary.throughput_per_s if kept.summary else None
        return [1 / rate] if rate else []
    return [int(value) / 1e9 for value in spaced(kept.samples)]


def spaced(ordered: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """At most VALUES_MAX of sorted samples, at evenly spaced ranks from the least to the greatest."""
    import numpy as np

    if len(ordered) <= VALUES_MAX:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, VALUES_MAX).round().astype(np.int64)]


def replay(benchmark: Any, kept: Kept) -> None:
    """Fill the `benchmark` fixture of pytest-benchmark; `extra_info` leads back to the whole record."""
    values_s = durations_s(kept)
    benchmark.group = kept.record.identity.scenario
    benchmark.extra_info.update(_extra(kept), replayed_values=len(values_s))
    timer.load(values_s)
    if values_s:
        benchmark.pedantic(lambda: None, rounds=len(values_s))


def _is_throughput(kept: Kept) -> bool:
    window = kept.record.window
    return window is not None and window.samples_kind == "done_ns"


def _extra(kept: Kept) -> dict[str, Any]:
    figures = ("queries", "verdict", "throughput_per_s", "latency_p50_ns", "latency_p99_ns")
    return {
        "record_id": kept.record.record_id,
        "replayed": "time per sample" if _is_throughput(kept) else "latencies at evenly spaced ranks",
        "reasons": [reason.code for reason in kept.summary.reasons] if kept.summary else [],
        **{name: getattr(kept.summary, name) for name in figures},
    }
