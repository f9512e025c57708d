"""What does the harness itself cost? `make overhead`, a benchmark and no test: it depends on the machine.

Time: CPU time per sample of our timed loop over that of a bare timing loop around a function of 10 µs, in alternated
windows. Memory: resident bytes per sample at ten million samples, in the worker that takes them and in pytest that
reads, summarises and replays them. A worker lets go of its samples before it answers, so the two do not add up.
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
WINDOW_S = 0.02
"""A window of the comparison: shorter than most of what disturbs a machine."""
TEN_MILLION = 10_000_000


class FunctionSession(Session):
    """A session whose runs call a plain function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def run(self, values: Any) -> Any:
        self.function()
        return values


def calibrated(duration_ns: int) -> Callable[[], int]:
    """A function that takes about this long."""
    size = 100
    while (fastest := min(_timed(_summing(size)) for _ in range(300))) < duration_ns:
        size = max(size + 1, size * duration_ns // fastest)
    return _summing(size)


def _summing(size: int) -> Callable[[], int]:
    numbers = range(size)
    return lambda: sum(numbers)


def _timed(function: Callable[[], object]) -> int:
    begin = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - begin


def bare_loop(function: Callable[[], object]) -> int:
    """The least that a timing loop of WINDOW_S has to do; how many samples it took."""
    clock, samples, end = time.perf_counter_ns, array("q"), 0
    gc.collect()
    stop = clock() + round(WINDOW_S * 1e9)
    while end < stop:
        begin = clock()
        function()
        end = clock()
        samples.append(end - begin)
    return len(samples)


def harness_loop(session: Session, effort: Effort) -> measure.Timed:
    feed = queries.feed([{"x": number} for number in range(16)], {}, 1)  # type: ignore[dict-item]  # nobody reads them
    (timed,) = measure.single_stream(session, [feed], [measure.Enough(effort)])
    return timed


def time_per_sample(rounds: int) -> tuple[list[float], list[float]]:
    """CPU nanoseconds per sample, (bare, harness), of `rounds` alternated windows each."""
    function = calibrated(WORK_NS)
    session = FunctionSession(function)
    gc.freeze()  # so that the one collection of each window costs the samples nothing
    effort = Effort(0, WINDOW_S, 1, 1)
    windows = (lambda: bare_loop(function), lambda: len(harness_loop(session, effort).samples))
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * rounds):
        which = (number + number // 2) % 2  # bare harness harness bare: neither is always the one that comes first
        found[which].append(_cpu_ns(windows[which]))
    return found


def _cpu_ns(window: Callable[[], int]) -> float:
    """Per sample."""
    gc.collect()
    begin = time.process_time_ns()
    count = window()
    return (time.process_time_ns() - begin) / count


def worker_bytes(samples: Path, count: int) -> float:
    """Growth of the peak resident memory per sample, over a worker's timed loop and its writing of the file."""
    session = FunctionSession(lambda: None)
    harness_loop(session, Effort(0, 0, 1000, 1))
    before = worker.peak_memory_bytes()
    worker.write_samples(samples, harness_loop(session, Effort(0, 0, count, 3600)).samples)
    return (worker.peak_memory_bytes() - before) / count


def pytest_bytes(samples: Path, count: int) -> float:
    """The same over reading the file, summarising and replaying it, as the parent does."""
    from bench import replay
    from bench.recorder import Kept
    from results.stats import summarise
    from results.store import samples_of
    from tests.fakes import records

    made = records.record()
    assert made.window is not None  # noqa: S101 - tells the type checker that it is ok
    window = made.window.model_copy(update={"queries": count, "samples_file": samples.name})
    record = made.model_copy(update={"window": window})
    before = worker.peak_memory_bytes()
    read = samples_of(samples.parent, record)
    replay.durations_s(Kept(record, summarise(record, read), read))
    return (worker.peak_memory_bytes() - before) / count


SIDES = {"worker": worker_bytes, "pytest": pytest_bytes}


def _measured_apart(side: str, samples: Path, count: int) -> float:
    """Of one side, in a process of its own whose peak is not another's."""
    command = [sys.executable, "-m", "bench.overhead", "--side", side, "--samples", str(samples), "--count", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="alternated windows of each loop (default: 50)")
    parser.add_argument("--count", type=int, default=TEN_MILLION, help="samples held for the memory figures")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.side:
        print(SIDES[chosen.side](chosen.samples, chosen.count))
        return 0
    bare, ours = time_per_sample(chosen.rounds)
    print(f"CPU time per sample around a function of 10 µs, {chosen.rounds} windows each (at most 1000 ns more)")
    for name, pick in (("min", min), ("median", median)):
        low, high = pick(bare), pick(ours)
        print(f"  {name:8} bare {low:9.0f} ns   harness {high:9.0f} ns   more {high - low:6.0f} ns")
    with tempfile.TemporaryDirectory() as folder:
        sizes = {side: _measured_apart(side, Path(folder, "samples.i64"), chosen.count) for side in SIDES}
    print(f"resident memory per sample, {chosen.count} samples (at most 16 bytes at any moment)")
    for side, size in (*sizes.items(), ("at once", max(sizes.values()))):
        print(f"  {side:8} {size:5.1f} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
