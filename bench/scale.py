"""What the report costs as history grows: `make scale`.

Writes roots of made-up but valid records, has `accelmark report` read each in a process of its own, and prints that
process's CPU time and peak memory with the size of the page. A benchmark, never a test: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT

IDENTITIES = 500
SIZES = {"1,000": (IDENTITIES, 2), "10,000": (IDENTITIES, 20), "100,000": (IDENTITIES, 200)}
"""Records to (identities, runs): a nightly run measures each identity once."""


@dataclass(frozen=True)
class Budget:
    """What one reading may cost."""

    cpu_s: float
    rss_bytes: int
    page_bytes: int


BUDGETS = {"1,000": Budget(3, 600 << 20, 1_000_000), "100,000": Budget(10, 600 << 20, 1_000_000)}


@dataclass(frozen=True)
class Cost:
    """What one reading did cost: user and system seconds, the peak of resident memory, the page."""

    cpu_s: float
    wall_s: float
    rss_bytes: int
    page_bytes: int
    exit_status: int

    def within(self, budget: Budget | None) -> bool:
        return self.exit_status == 0 and (
            budget is None
            or (
                self.cpu_s <= budget.cpu_s
                and self.rss_bytes <= budget.rss_bytes
                and self.page_bytes <= budget.page_bytes
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=";".join(SIZES), help=f"some of {'; '.join(SIZES)}, with ; between")
    chosen = parser.parse_args(arguments)
    print(f"{'records':>8} {'CPU s':>7} {'wall s':>7} {'peak MB':>8} {'page kB':>8} {'us/record':>10}  budget")
    over = 0
    with tempfile.TemporaryDirectory(prefix="accelmark-scale-") as folder:
        for size in chosen.sizes.split(";"):
            identities, runs = SIZES[size]
            root = Path(folder) / size.replace(",", "")
            _write(root, identities, runs)
            cost = measure(root, Path(folder) / "page.html")
            over += not cost.within(BUDGETS.get(size))
            print(_row(size, identities * runs, cost))
    return 1 if over else 0


def measure(root: Path, page: Path) -> Cost:
    """The cost of `accelmark report` over `root`, as the kernel accounted for the process."""
    page.unlink(missing_ok=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "bench.cli", "report", "--results", str(root), "--out", str(page)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started
    page_bytes = page.stat().st_size if page.exists() else 0
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss * 1024, page_bytes, process.returncode)


def _write(root: Path, identities: int, runs: int) -> None:
    command = [sys.executable, "-m", "tests.fakes.records", str(root), str(identities), str(runs), "1"]
    subprocess.run(command, cwd=ROOT, check=True)


def _row(size: str, records: int, cost: Cost) -> str:
    budget = BUDGETS.get(size)
    figures = f"{cost.cpu_s:>7.2f} {cost.wall_s:>7.2f} {cost.rss_bytes / 2**20:>8.0f} {cost.page_bytes / 1000:>8.0f}"
    verdict = "none"
    if budget:
        limits = f"{budget.cpu_s:g} s, {budget.rss_bytes >> 20} MB, {budget.page_bytes // 1000} kB"
        verdict = f"{limits}: {'within' if cost.within(budget) else 'over'}"
    if cost.exit_status:
        verdict = f"the report failed with exit status {cost.exit_status}"
    return f"{size:>8} {figures} {1e6 * cost.cpu_s / records:>10.0f}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
