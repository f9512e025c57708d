"""Writes what the tests prove of each backend and engine into a support table: `pytest --support=docs/support.toml`.

The conformance suite reports its seats by itself. Any other test says whom it is about, and how near to the hardware:

    @pytest.mark.support("inferentia", "neuron", level="fake", on="torch_neuronx 2.9 as it is documented")

A pair whose tests were only run in part (`-k`) gets no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.support import LEVELS, Row, merged, read, write
from tests.toolchains import suite_of

CLAIM, PRECISION = "support", "support_precision"
"""Names of a report's user properties: a `Claim`, and a precision that passed."""


class Claim(NamedTuple):
    """What a test proves something of. `level`: one of `bench.support.LEVELS`; `on`: the device, tool or fake."""

    backend: str
    engine: str
    level: str
    on: str
    suite: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.backend, self.engine, self.level, self.suite


@dataclass
class Tally:
    on: dict[str, None] = field(default_factory=dict)
    precisions: dict[str, None] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "gap", "failed"), 0))


def claim(item: pytest.Item, backend: str, engine: str, level: str, on: str) -> None:
    """Have the outcome of `item` counted for this pair; called again, it corrects what was claimed before."""
    if level not in LEVELS:
        raise pytest.UsageError(f"{item.nodeid}: support level {level!r} is none of {', '.join(LEVELS)}")
    item.user_properties[:] = [pair for pair in item.user_properties if pair[0] != CLAIM]
    item.user_properties.append((CLAIM, Claim(backend, engine, level, on, suite_of(item))))


class Ledger:
    """Counts outcomes by pair while the tests run, and writes them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tallies: dict[tuple[str, str, str, str], Tally] = defaultdict(Tally)
        self.partial: set[tuple[str, str, str]] = set()

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        """By -k: -m leaves out whole suites, which are rows of their own."""
        for item in items:
            for name, one in item.user_properties:
                if name == CLAIM and item.config.option.keyword:
                    self.partial.add((one.backend, one.engine, one.suite))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = _outcome(report)
        for name, one in report.user_properties:
            if name == CLAIM and outcome:
                tally = self.tallies[one.key]
                tally.outcomes[outcome] += 1
                tally.on[one.on] = None
                if outcome == "passed":
                    tally.precisions.update({text: None for kind, text in report.user_properties if kind == PRECISION})

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A run that was broken off proves nothing of what it did not get to."""
        if exitstatus > pytest.ExitCode.TESTS_FAILED or session.shouldstop or session.shouldfail:
            return
        from tests.conformance.pairs import pairs

        rows = [self._row(key, tally) for key, tally in self.tallies.items() if (*key[:2], key[3]) not in self.partial]
        write(self.path, merged(read(self.path) if self.path.exists() else [], rows, pairs()))

    def _row(self, key: tuple[str, str, str, str], tally: Tally) -> Row:
        from bench.recorder import commit

        backend, engine, level, suite = key
        return Row(
            backend=backend,
            engine=engine,
            level=level,
            suite=suite,
            on=_shortened(list(tally.on)),
            date=datetime.now(UTC).date().isoformat(),
            commit=commit() or "unknown",
            passed=tally.outcomes["passed"],
            gaps=tally.outcomes["gap"],
            failed=tally.outcomes["failed"],
            precisions=tuple(tally.precisions),
        )


def _shortened(names: list[str]) -> str:
    """Of one tool for many devices, how many; all of the names otherwise."""
    tools = {name.partition(" for ")[0] for name in names}
    if len(tools) == 1 and len(names) > 1:
        return f"{tools.pop()} for {len(names)} devices"
    return "; ".join(names)


def _outcome(report: pytest.TestReport) -> str:
    """What one phase of a test adds to its row; "": nothing."""
    if report.failed:
        return "failed"
    if report.when != "call":
        return ""
    if hasattr(report, "wasxfail"):
        return "gap"
    return "passed" if report.passed else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write what these tests prove of each backend and engine into this table"
    parser.addoption("--support", metavar="FILE.toml", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "support(backend, engine, level, on): what a test outside the suite proves")
    if path := config.getoption("--support", None):
        config.pluginmanager.register(Ledger(config.invocation_params.dir / path))


def claim_marked(items: Sequence[pytest.Item]) -> None:
    """Take the claims of the mark."""
    for item in items:
        for mark in item.iter_markers("support"):
            claim(item, *mark.args, **mark.kwargs)
