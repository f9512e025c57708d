"""What memory does the harness itself cost? `make overhead`; its processor time is a part of `accelmark selfcheck`.

Resident bytes per sample at ten million samples, in the worker that takes them and in pytest that reads, summarises and
replays them. A worker lets go of its samples before it answers, so the two do not add up.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import measure, queries, worker
from bench.protocol import Effort
from bench.selfcheck.subjects import FunctionSession

if TYPE_CHECKING:
    from array import array

TEN_MILLION = 10_000_000
BOUND_BYTES = 16


def worker_bytes(samples: Path, count: int) -> float:
    """Growth of the peak resident memory per sample, over a worker's timed loop and its writing of the file."""
    _timed(1000)
    before = worker.peak_memory_bytes()
    worker.write_samples(samples, _timed(count))
    return (worker.peak_memory_bytes() - before) / count


def _timed(count: int) -> array[int]:
    feed = queries.feed([{"x": number} for number in range(16)], {}, 1)  # type: ignore[dict-item]  # nobody reads them
    limits = [measure.Enough(Effort(0, 0, count, 3600))]
    (timed,) = measure.single_stream(FunctionSession(lambda: None), [feed], limits)
    return timed.samples


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
    parser.add_argument("--count", type=int, default=TEN_MILLION, help=f"samples to hold (default: {TEN_MILLION})")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.side:
        print(SIDES[chosen.side](chosen.samples, chosen.count))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        sizes = {side: _measured_apart(side, Path(folder, "samples.i64"), chosen.count) for side in SIDES}
    print(f"resident memory per sample, {chosen.count} samples (at most {BOUND_BYTES} bytes at any moment)")
    for side, size in (*sizes.items(), ("at once", max(sizes.values()))):
        print(f"  {side:8} {size:5.1f} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
