"""What a row unfolds to, as data for the page's script. What rows share is embedded once and referred to by number."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.metrics import METRICS, Metric
from results.numbers import si
from results.record import Conditions, Machine, Record
from results.report.lines import Line

SECTIONS = (
    "Why this verdict", "Measure it again", "Raw data, under the results folder", "Evidence", "Not measured",
    "Engine settings", "Conditions", "Workload", "Versions", "Machine", "Run",
)  # fmt: skip

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
        "m": [_figure(metric, line.row[metric.key]) for metric in METRICS],
    }


def _figure(metric: Metric, value: float | None) -> str:
    return f"{value:g}" if metric.unit == "queries" and value is not None else metric.shown(value)


def command(line: Line) -> str:
    """What measures this row again."""
    row = line.row
    names = ["backend", "engine", "workload", "precision", "scenario", "batch", "goal", "profile"]
    if row["technique"] != "none":
        names.insert(-1, "technique")
    chosen = [(name, row[name]) for name in names]
    overrides = [("option", f"{key}={value}") for key, value in sorted(_first_ok(line).identity.options.items())]
    return "pytest bench/ " + " ".join(f"--{name}={shlex.quote(value)}" for name, value in (*chosen, *overrides))


def _sections(line: Line, machine: Machine) -> Iterator[Section]:
    row = line.row
    record = _first_ok(line)
    yield {reason.code.replace("_", " "): reason.detail for reason in row["reasons"]}
    yield command(line)
    yield _files(row)
    yield dict(_evidence(record))
    yield _missing(row["missing"])
    yield {name: str(value) for name, value in row["settings"].items()}
    yield dict(_conditions(record.context.conditions))
    yield dict(_workload(record))
    yield dict(row["versions"])
    yield dict(_machine(machine))
    yield {
        "run": row["run_id"],
        "profile": row["profile"],
        "commit": row["commit"] or "not recorded",
        "command": row["command"],
    }


def _first_ok(line: Line) -> Record:
    records: list[Record] = [record for record, _ in line.row["entries"]]
    return next((record for record in records if record.status == "ok"), records[0])


def _evidence(record: Record) -> Iterator[tuple[str, str]]:
    evidence = record.evidence
    if evidence is None:
        return
    if evidence.outputs:
        found = evidence.outputs
        yield "outputs", f"{found.identity_hits} of {found.n} nearest to their own golden output"
        yield "centred cosine", f"{found.centred_cosine_min:.6g} at worst, {found.cosine_required:.6g} required"
        allowed = (
            "not bounded" if found.relative_error_allowed is None else f"{found.relative_error_allowed:.3g} allowed"
        )
        yield "relative error", f"{found.relative_error_max:.3g} at most, {allowed}"
    if evidence.placement:
        placed = evidence.placement
        yield "placement", f"{placed.share:.0%} on {placed.device}: {placed.proof}"
    if evidence.quality:
        graded = evidence.quality
        yield "quality", f"{graded.value:.4g} ± {graded.standard_error:.2g} (standard error), {graded.n} examples"


def _workload(record: Record) -> Iterator[tuple[str, str]]:
    card = record.card
    yield "task", card.task
    yield "work", f"{si(card.flops, 'FLOP')} per {card.sample_unit}, {si(card.parameters)} parameters"
    yield "weights in fp32", si(card.weight_bytes, "B")
    yield (
        "latency bounds",
        ", ".join(f"p{bound.percentile:g} ≤ {bound.latency_ms:g} ms" for bound in card.bounds) or "none",
    )
    yield "distinct inputs", str(card.distinct_inputs)
    yield "source", card.source


def _missing(missing: Mapping[str, str]) -> dict[str, str]:
    """By reason, as many values share one."""
    labels = {metric.key: metric.label for metric in METRICS}
    by_reason: dict[str, list[str]] = {}
    for key, reason in missing.items():
        by_reason.setdefault(reason, []).append(labels.get(key, key.replace("_", " ")))
    return {", ".join(names): reason for reason, names in by_reason.items()}


def _conditions(every: Sequence[Conditions]) -> Iterator[tuple[str, str]]:
    for one in every:
        parts = [
            *([f"load {one.load_1m:.2f}"] if one.load_1m is not None else []),
            *([f"steal {one.steal_percent:.1f} %"] if one.steal_percent is not None else []),
            *([f"{one.frequency_mhz:.0f} MHz"] if one.frequency_mhz is not None else []),
            *([f"{one.temperature_c:.0f} °C"] if one.temperature_c is not None else []),
            *([f"{si(one.memory_available_bytes, 'B')} free"] if one.memory_available_bytes is not None else []),
        ]
        yield one.moment, ", ".join(parts)
    for name, reason in every[0].missing.items() if every else ():
        yield name.replace("_", " "), f"not measured: {reason}"


def _machine(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "host", machine.hostname
    yield "processor", f"{machine.cpu}, {machine.cores} cores"
    yield "memory", f"{machine.memory_bytes / (1 << 30):.1f} GiB"
    yield "instance type", machine.instance_type or f"unknown: {machine.missing['instance_type']}"
    yield "system", f"{machine.system}, kernel {machine.kernel}, container {machine.container}"
    yield "fingerprint", machine.fingerprint


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
