"""Starts runs as a user would, and reads what they stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from results.record import Record
from results.store import Problem, read

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}


def command(results: Path, *arguments: str) -> list[str]:
    """`pytest bench/` with the parts of tests.fakes, writing to `results`."""
    python = [sys.executable, "-m", "pytest", "bench/", "-p", "no:cacheprovider"]
    return [*python, "--parts=tests.fakes", f"--results={results}", *arguments]


def bench(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(results, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def measured(results: Path) -> list[Record]:
    """All records, none of them damaged."""
    problems: list[Problem] = []
    records = [record for record, _ in read(results, problems)]
    assert problems == []
    return records
