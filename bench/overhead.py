"""What does the harness itself cost? `make overhead`, a benchmark and no test: it depends on the machine.

Time: CPU time per sample of our timed loop over that of a bare timing loop, on a function of 10 µs, in alternated windows.
Memory: resident bytes per sample at ten million samples, in the worker that takes them, and in pytest, which reads,
summarises and replays them. The two are processes that never hold their samples at the same moment; their sum is shown.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from backends.contract import Session
from bench import measure, queries, worker
from bench.protocol import Effort

WORK_NS = 10_000
TEN_MILLION = 10_000_000
PER_WINDOW = 2_000
"""Samples in a window of the comparison: 20 ms, shorter than what usually disturbs a machine."""


class _Function(Session):
    """A session over a plain function."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def run(self, values: Any) -> Any:
        self.function()
        return values


def calibrated(duration_ns: int) -> Callable[[], int]:
    """A function that takes about this long."""
    size = 100
    while (fastest := min(_once(_summing(size)) for _ in range(200))) < duration_ns:
        size = max(size + 1, size * duration_ns // max(fastest, 1))
    return _summing(size)


def _summing(size: int) -> Callable[[], int]:
    numbers = range(size)
    return lambda: sum(numbers)


def _once(function: Callable[[], int]) -> int:
    begin = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - begin


def bare_window(function: Callable[[], Any], count: int) -> None:
    """The least that a timing loop has to do."""
    samples = array("q")
    for _ in range(count):
        begin = time.perf_counter_ns()
        function()
        samples.append(time.perf_counter_ns() - begin)


def harness_window(session: Session, count: int) -> measure.Timed:
    rotation = [{"x": None} for _ in range(16)]
    limit = measure.Enough(Effort(0, 0, count, 3600))
    return measure.single_stream(session, [queries.feed(rotation, {}, 1)], limit)  # type: ignore[arg-type]  # never read


def cpu_ns(window: Callable[[], object]) -> float:
    """CPU time of this process per sample."""
    begin = time.process_time_ns()
    window()
    return (time.process_time_ns() - begin) / PER_WINDOW
