"""What a row unfolds to, as data for the page's script. What rows share is embedded once and referred to by number."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from results.metrics import ESTIMATED, METRICS
from results.names import COMPILE
from results.record import Machine, Reason
from results.report import sections
from results.report.lines import USUAL, Line, first_ok
from results.report.words import spaced

SECTIONS = (
    "Why this verdict", "Worth knowing", "Run it again", "Raw data, under the results folder", "Load offered",
    "LoadGen's verdict", "Estimate", "Evidence", "Executed kernels", "Artefact", "Stages of a query, medians",
    "Energy and power", "Not measured", "Engine settings", "Conditions", "Workload", "Versions", "Machine", "Run",
)  # fmt: skip
"""Those about one process are about the first of the repeats."""

SHOWN = (*METRICS, *ESTIMATED)
Section = str | dict[str, str]


class Pool:
    """Distinct values in order of arrival; equal ones get the same number."""

    def __init__(self) -> None:
        self.values: list[Section] = []
        self._numbers: dict[str, int] = {}

    def add(self, value: Section) -> int | None:
        """None for nothing."""
        if not value:
            return None
        number = self._numbers.setdefault(json.dumps(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


def details(line: Line, machines: Mapping[str, Machine], pool: Pool) -> dict[str, Any]:
    """`d`: a number into the pool per section; `m`: the figures, one per metric, empty where there is none."""
    return {
        "d": [pool.add(section) for section in _sections(line, machines[line.row["fingerprint"]])],
        "m": [metric.shown(line.row[metric.key]) for metric in SHOWN],
    }


def command(line: Line) -> str:
    """What measures this row again: the run's own words where they say what no identity holds."""
    row = line.row
    if row["scenario"] == COMPILE or re.search(r"\s--(model|bound)\b", row["command"]):
        return str(row["command"])
    names = ["backend", "engine", "workload", "precision", "scenario", "batch", "goal", "profile"]
    names[-1:-1] = [part for part in ("technique", "rules") if row[part] != USUAL[part]]
    chosen = [(name, row[name]) for name in names]
    overrides = [("option", f"{key}={value}") for key, value in sorted(first_ok(line).identity.options.items())]
    return "pytest bench/ " + " ".join(f"--{name}={shlex.quote(value)}" for name, value in (*chosen, *overrides))


def _sections(line: Line, machine: Machine) -> Iterator[Section]:
    row, record = line.row, first_ok(line)
    yield _reasons(reason for reason in row["reasons"] if reason.severity != "note")
    yield _reasons(reason for reason in row["reasons"] if reason.severity == "note")
    yield command(line)
    yield _files(row)
    yield dict(sections.load(record))
    yield dict(sections.loadgen(record))
    yield dict(sections.estimate(record))
    yield dict(sections.evidence(record))
    yield dict(sections.executed(record))
    yield dict(sections.artefact(record))
    yield dict(sections.stages(record))
    yield dict(sections.energy(record))
    yield _missing(row["missing"], line.estimated)
    yield {name: str(value) for name, value in row["settings"].items()}
    yield dict(sections.conditions(record))
    yield dict(sections.workload(record))
    yield dict(row["versions"])
    yield dict(sections.machine(machine)) if row["scenario"] != COMPILE else {}
    yield {
        "run": row["run_id"],
        "profile": row["profile"],
        "commit": row["commit"] or "not recorded",
        "command": row["command"],
    }


def _reasons(reasons: Iterable[Reason]) -> dict[str, str]:
    return {spaced(reason.code): reason.detail for reason in reasons}


def _missing(missing: Mapping[str, str], estimated: bool) -> dict[str, str]:
    """The figures that are, by reason, as many share one; of those that a row of its kind could have."""
    labels = {metric.key: metric.label for metric in (ESTIMATED if estimated else METRICS)}
    labels |= {"quality": "quality", "output_cosine": "output cosine"} if estimated else {"bounds_met": "in bound"}
    by_reason: dict[str, list[str]] = {}
    for key in filter(missing.__contains__, labels):
        by_reason.setdefault(missing[key], []).append(labels[key])
    return {", ".join(names): reason for reason, names in by_reason.items()}


def _files(row: Mapping[str, Any]) -> str:
    """The log, then the samples of each repeat; their names differ in the end only."""
    names = [name.rpartition("/")[2] for name in row["files"]]
    log = f"{row['run_id']}/records.log"
    if not names:
        return log
    folder = row["files"][0].rpartition("/")[0]
    common = names[0][: len(names[0]) - len(names[0].removeprefix(row["run_id"]))]
    ends = ",".join(name.removeprefix(common).removesuffix(".i64") for name in names)
    return f"{log}\n{folder}/{common}" + (f"{{{ends}}}" if len(names) > 1 else ends) + ".i64"
