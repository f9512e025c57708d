"""The suite itself: it passes an honest adapter of a third party and catches each kind of dishonest one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CAUGHT_BY = {
    "fake-exact": None,
    "fake-constant": "test_outputs_are_right",
    "fake-stale": "test_outputs_are_right",
    "fake-wrong-sample": "test_outputs_are_right",
    "fake-nan": "test_outputs_are_right",
    "fake-mixed": "test_overlapped_runs_answer_their_own_inputs",
    "fake-misplaced": "test_placement_is_proved",
}
TESTS = {name for name in CAUGHT_BY.values() if name} | {"test_outputs_outlive_the_next_runs", "test_deterministic"}


@pytest.fixture(scope="module")
def outcomes() -> set[tuple[str, str, str]]:
    """(outcome, test, engine) of the fakes under the suite, run as a third party would run it."""
    chosen = f"({' or '.join(f'{engine}@fake' for engine in CAUGHT_BY)}) and ({' or '.join(TESTS)})"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/conformance/test_engines.py",
        "--parts",
        "tests.fakes",
        "-k",
        chosen,
    ]
    done = subprocess.run(
        [*command, "-rA", "--tb=no", "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True
    )
    return set(re.findall(r"^(PASSED|FAILED) \S+::(\w+)\[([\w-]+)@fake", done.stdout, re.MULTILINE)) or {
        (done.stdout, "", "")
    }


@pytest.mark.parametrize("engine", [name for name, test in CAUGHT_BY.items() if test])
def test_dishonest_adapter_is_caught(outcomes: set[tuple[str, str, str]], engine: str) -> None:
    assert ("FAILED", CAUGHT_BY[engine], engine) in outcomes


def test_honest_adapter_passes(outcomes: set[tuple[str, str, str]]) -> None:
    assert {(outcome, test) for outcome, test, engine in outcomes if engine == "fake-exact"} == {
        ("PASSED", test) for test in TESTS
    }
