"""The suite itself: it passes an honest adapter of a third party, catches dishonest ones, and keeps a ledger."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CAUGHT_BY = {
    "fake-constant": "test_outputs_are_right",
    "fake-stale": "test_outputs_are_right",
    "fake-wrong-sample": "test_outputs_are_right",
    "fake-nan": "test_outputs_are_right",
    "fake-mixed": "test_overlapped_runs_answer_their_own_inputs",
    "fake-misplaced": "test_placement_is_proved",
}
TESTS = {*CAUGHT_BY.values(), "test_outputs_outlive_the_next_runs", "test_deterministic"}
RUN = """
import sys, pytest

class Package:
    def pytest_configure(self, config):
        config.option.parts = [sys.argv[1]]

sys.path[:0] = [".", sys.argv[2]]
sys.exit(pytest.main(["tests/conformance/test_engines.py", *sys.argv[3:]], plugins=[Package()]))
"""
ENGINE = """
from tests.fakes.fake_engines import FakeMisplaced

class ThirdParty(FakeMisplaced):
    name = "third-party"
"""
BACKEND = """
from tests.fakes.fake_backends import FakeBackend

class ThirdPartyBackend(FakeBackend):
    name = "fake"
"""
GAP = '[[gap]]\ntest = "{}"\ncase = "third-party:fake"\nreason = "an example"\n'
Outcome = tuple[str, str, str]


def run(package: str, path: Path, chosen: str) -> tuple[set[Outcome], str]:
    """Outcome, test and engine of the chosen tests, with the parts of `package`; and all that was said."""
    command = [sys.executable, "-c", RUN, package, str(path), "-k", chosen, "-rA", "--tb=no", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    return set(re.findall(r"^(PASSED|FAILED|XFAIL) \S+::(\w+)\[([\w-]+):fake", said, re.MULTILINE)), said


@pytest.fixture(scope="module")
def outcomes() -> set[Outcome]:
    engines = " or ".join(f"{name}:fake" for name in ("fake-exact", *CAUGHT_BY))
    tests = " or ".join(TESTS).replace("test_outputs_are_right", "(test_outputs_are_right and sequence)")
    found, said = run("tests.fakes", ROOT, f"({engines}) and ({tests})")
    assert found, said
    return found


@pytest.mark.parametrize("engine", CAUGHT_BY)
def test_dishonest_adapter_is_caught(outcomes: set[Outcome], engine: str) -> None:
    assert ("FAILED", CAUGHT_BY[engine], engine) in outcomes


def test_honest_adapter_passes(outcomes: set[Outcome]) -> None:
    exact = {(outcome, test) for outcome, test, engine in outcomes if engine == "fake-exact"}
    assert exact == {("PASSED", test) for test in TESTS}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        ("", {("FAILED", "test_placement_is_proved"), ("PASSED", "test_deterministic")}),
        ("test_placement_is_proved", {("XFAIL", "test_placement_is_proved"), ("PASSED", "test_deterministic")}),
        ("test_deterministic", {("FAILED", "test_placement_is_proved"), ("FAILED", "test_deterministic")}),
    ],
)
def test_gaps_are_strict(tmp_path: Path, gap: str, expected: set[tuple[str, str]]) -> None:
    found, said = run(package(tmp_path, gap), tmp_path, "third-party and (placement or deterministic)")
    assert {(outcome, test) for outcome, test, _ in found} == expected, said


def test_gap_of_no_test_is_an_error(tmp_path: Path) -> None:
    _, said = run(package(tmp_path, "test_that_was_renamed"), tmp_path, "third-party")
    assert "there is no test test_that_was_renamed" in said


def package(folder: Path, gap: str) -> str:
    """A third party's package of one engine and one backend, with its own ledger."""
    home = folder / "thirdparty"
    home.mkdir()
    (home / "__init__.py").touch()
    (home / "engine.py").write_text(ENGINE)
    (home / "backend.py").write_text(BACKEND)
    (home / "gaps.toml").write_text(GAP.format(gap) if gap else "")
    return "thirdparty"
