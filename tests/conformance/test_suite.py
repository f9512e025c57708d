"""The suite itself: it passes an honest adapter of a third party, catches dishonest ones, and keeps a ledger."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import support

pytest_plugins = ["pytester"]
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
COMPILER = """
import random
from dataclasses import replace

from backends.contract import Device, Engine, Estimate, Placement, Presence, Unsupported
from backends.engines.reference import ReferenceEngine

MISSING = ("latency_ns", "memory_peak_bytes", "memory_limit_bytes", "sram_peak_bytes", "weights_bytes", "flops")


class Compiler(Engine):
    name, fault = "compiler", ""

    def available(self, device):
        return Presence("present" if device.backend == "away" else "absent", "for what is away", "go there")

    def compile(self, model, plan, device):
        if self.fault == "runs":
            return ReferenceEngine().compile(model, plan, device)
        raise Unsupported("it is not here")

    def estimate(self, model, plan, device):
        known = replace(plan, options={}) if self.fault == "options" else plan
        numerics = ReferenceEngine().compile(model, known, device)
        made = Estimate("estimate", "compiler 1.0", numerics.facts, numerics=numerics, cycles=9, clock_mhz=1.0,
                        fallback_operators=0, missing=dict.fromkeys(MISSING, "it does not say"))
        return {"silent": lambda: replace(made, missing={}),
                "chatty": lambda: replace(made, missing={**made.missing, "cycles": "unknown"}),
                "moody": lambda: replace(made, cycles=random.randrange(10**9)),
                "timed": lambda: replace(made, provenance="simulator"),
                "fallback": lambda: replace(made, fallback_operators=2, latency_ns=5.0, missing={
                    name: why for name, why in made.missing.items() if name != "latency_ns"}),
                "elsewhere": lambda: replace(made, facts=replace(made.facts, placement=Placement("other", 1.0, "so"))),
                }.get(self.fault, lambda: made)()
"""
AWAY = """
from backends.contract import Backend, Device, Presence

class Away(Backend):
    name = "away"

    def probe(self, targets=()):
        device = Device("away", "Far chip", {"compiler": "far"}, runs=False)
        return Presence("absent", "none is here", "fetch one", () if targets else (device,))
"""
FAULTS = {
    "silent": "test_estimate_fits_a_record",
    "chatty": "test_estimate_fits_a_record",
    "moody": "test_same_estimate_twice",
    "timed": "test_estimate_says_something_and_no_more_than_it_may",
    "fallback": "test_estimate_says_something_and_no_more_than_it_may",
    "elsewhere": "test_facts_fit_a_record",
    "options": "test_unknown_option_names_itself",
    "runs": "test_what_is_not_here_is_never_run",
}
GAP = '[[gap]]\ntest = "{}"\ncase = "third-party:fake"\nreason = "an example"\n'
Outcome = tuple[str, str, str]


def run(package: str, path: Path, chosen: str) -> tuple[set[Outcome], str]:
    """Outcome, test and engine of the chosen tests, with the parts of `package`; and all that was said."""
    said = call(package, path, "test_engines.py", "-k", chosen)
    return set(re.findall(r"^(PASSED|FAILED|XFAIL) \S+::(\w+)\[([\w-]+):fake", said, re.MULTILINE)), said


def call(package: str, path: Path, file: str, *arguments: str, **environment: str) -> str:
    """All that a run of one file of the suite says, for a package of parts that lies in `path`."""
    command = [sys.executable, "-m", "pytest", f"tests/conformance/{file}", "--parts", package, *arguments]
    command += ["-rA", "--tb=short", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment = {**kept, "PYTHONPATH": str(path), **environment}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    return done.stdout + done.stderr


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


def package(folder: Path, gap: str, engine: str = ENGINE, backend: str = BACKEND) -> str:
    """A third party's package of one engine and one backend, with its own ledger."""
    home = folder / "thirdparty"
    home.mkdir()
    (home / "__init__.py").touch()
    (home / "engine.py").write_text(engine)
    (home / "backend.py").write_text(backend)
    (home / "gaps.toml").write_text(GAP.format(gap) if gap else "")
    return "thirdparty"


@pytest.fixture(scope="module")
def estimates(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[tuple[str, str]], str]:
    """Outcome and test of a compiler of a third party, honest or with each fault, as (fault, test)."""
    classes = [f"class C{fault}(Compiler):\n    name, fault = 'compiler-{fault}', '{fault}'\n" for fault in FAULTS]
    folder = tmp_path_factory.mktemp("compilers")
    said = call(package(folder, "", "\n".join((COMPILER, *classes)), AWAY), folder, "test_estimates.py", "-k", "away")
    return set(re.findall(r"^FAILED \S+::(\w+)\[compiler-?(\w*):away", said, re.MULTILINE)), said


@pytest.mark.parametrize("fault", FAULTS)
def test_dishonest_estimate_is_caught(estimates: tuple[set[tuple[str, str]], str], fault: str) -> None:
    failed, said = estimates
    assert (FAULTS[fault], fault) in failed, said


def test_honest_estimate_passes(estimates: tuple[set[tuple[str, str]], str]) -> None:
    failed, said = estimates
    assert {test for test, fault in failed if not fault} == set(), said
    assert len(re.findall(r"^PASSED \S+\[compiler:away", said, re.MULTILINE)) > 20


ABSENT = """
from backends.contract import Engine, Presence

class Missing(Engine):
    name, module = "missing", "ai_edge_litert"

    def available(self, device):
        return Presence("absent", "it was forgotten", "install it")

    def compile(self, model, plan, device):
        raise AssertionError
"""
ABSENT_ON = (
    BACKEND.replace('name = "fake"', 'name = "here"')
    + """
    def probe(self, targets=()):
        from backends.contract import Device, Presence
        return Presence("present", devices=(Device("here", "Chip", {"missing": "0"}),))
"""
)


@pytest.mark.parametrize(
    ("build_server", "marker", "outcome"),
    [("true", "edge", "FAILED|ERROR"), ("", "edge", "SKIPPED"), ("true", "", "SKIPPED"), ("true", "not edge", "")],
)
def test_a_promised_engine_is_not_skipped(tmp_path: Path, build_server: str, marker: str, outcome: str) -> None:
    """Which marker promises it, its library says; nothing is promised to somebody who only looks."""
    name = package(tmp_path, "", ABSENT, ABSENT_ON)
    arguments = ("-k", "missing:here and deterministic", *(("-m", marker) if marker else ()))
    said = call(name, tmp_path, "test_engines.py", *arguments, CI=build_server)
    if not outcome:
        assert not re.search(r"^(PASSED|FAILED|ERROR|SKIPPED) ", said, re.MULTILINE), said
        return
    assert re.search(rf"^({outcome}) ", said, re.MULTILINE), said
    assert ("it was forgotten" in said) or ("ai_edge_litert" in said), said


MARKED = """
import pytest
pytestmark = pytest.mark.support("away", "compiler", level="fake", on="a stand-in")

def test_one(): pass
def test_two(): pass
@pytest.mark.xfail(reason="known")
def test_three(): assert False
"""


def test_the_support_table_is_written(tmp_path: Path) -> None:
    """By the suite's own seats and by any test that is marked; a part of the tests gives no row."""
    name, table = package(tmp_path, "", COMPILER, AWAY), tmp_path / "support.toml"
    call(name, tmp_path, "test_estimates.py", "-k", "compiler:away", "--support", str(table))
    row = next(row for row in support.read(table) if row.engine == "compiler")
    assert (row.backend, row.level, row.suite) == ("away", "real compiler", "test")
    assert row.on == "compiler 1.0 for Far chip"
    assert row.passed > 20
    assert row.failed == row.gaps == 0
    assert row.precisions == ("fp32",)
    assert row.date
    assert row.commit
    before = table.read_text()
    call(name, tmp_path, "test_estimates.py", "-k", "compiler:away and twice", "--support", str(table))
    assert table.read_text() == before


def test_a_marked_test_is_counted(tmp_path: Path, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from tests.support import *\n" + CLAIMS)
    pytester.makepyfile(MARKED)
    pytester.runpytest("--support", "table.toml", "-p", "no:cacheprovider")
    row = next(row for row in support.read(pytester.path / "table.toml") if row.engine == "compiler")
    assert (row.level, row.on, row.passed, row.gaps, row.failed) == ("fake", "a stand-in", 2, 1, 0)


CLAIMS = """
def pytest_collection_modifyitems(items):
    claim_marked(items)
"""
