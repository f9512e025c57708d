"""Turns what became of an item into a record and its summary, and stores both: one item is one record, always."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench import ROOT
from bench.cases import Item
from bench.supervisor import Outcome
from bench.surroundings import Surroundings
from bench.surroundings.machine import machine
from results.record import Record, Summary
from results.stats import summarise
from results.store import Run, StoreError, new_run_id, samples_of
from results.strict import TEXT_MAX

Samples = np.ndarray[Any, np.dtype[np.int64]]


class _NoRecordError(Exception):
    """What a worker gave as its result cannot be kept as one; the message is one line."""


@dataclass(frozen=True)
class Kept:
    """A stored record; one that is ok has a summary and samples, which summarising has sorted."""

    record: Record
    summary: Summary | None = None
    samples: Samples = field(default_factory=lambda: np.empty(0, np.int64))


class Recorder:
    """Writes one run. Opening it repairs what a killed run left under `root`, and never touches what is complete."""

    def __init__(self, root: Path, profile: str, command: str, seed: int) -> None:
        self.run_id = new_run_id()
        self.run = Run.open(root, self.run_id)
        self._context = {
            "run_id": self.run_id,
            "profile": profile,
            "command": command[:TEXT_MAX],
            "seed": seed,
            "commit": commit(),
            "machine": machine(),
        }

    def record_id(self, item: Item) -> str:
        return f"{self.run_id}-{item.order:05d}"

    def samples_path(self, item: Item) -> Path:
        return self.run.samples_path(self.record_id(item))

    def keep(self, item: Item, outcome: Outcome, around: Surroundings) -> Kept:
        """Store `outcome`; a result that is no record is stored as a failure that says so. Raises StoreError."""
        if outcome.status == "ok":
            try:
                record, samples = self._measured(item, outcome.result or {}, around)
                return self._stored(Kept(record, self._summarised(record, samples), samples))
            except _NoRecordError as error:
                why = f"the worker's result is no record: {error}"
                outcome = replace(outcome, status="failed", reason=why, remedy="mend the engine or the workload")
        self._clear(item)
        told = {name: getattr(outcome, name) for name in ("status", "reason", "remedy", "stderr_tail")}
        return self._stored(Kept(self._record(item, around, **told)))

    def keep_absent(self, item: Item) -> Kept:
        """Store that what `item` needs is not here, or is here and cannot be used. Raises StoreError."""
        presence = item.case.presence
        status = "absent" if presence.state == "absent" else "failed"
        reason = presence.reason or f"{item.case.backend} is {presence.state} and does not say why"
        return self._stored(
            Kept(self._record(item, Surroundings(), status=status, reason=reason, remedy=presence.remedy))
        )

    def close(self) -> None:
        self.run.close()

    def _measured(self, item: Item, result: Mapping[str, Any], around: Surroundings) -> tuple[Record, Samples]:
        try:
            if result.get("estimate") is not None:
                return self._estimated(item, result, around), np.empty(0, np.int64)
            sections = {name: result[name] for name in ("window", "phases", "evidence")}
            sections |= {name: result[name] for name in ("load", "loadgen") if result.get(name) is not None}
            sections["window"] = {**sections["window"], "samples_file": self._beside(item, ".i64")}
            sections["evidence"] = self._graded(item, sections["evidence"])
            if "loadgen" in sections:
                sections["loadgen"] = {**sections["loadgen"], "logs": self._beside(item, ".loadgen")}
            sections["energy"] = self._energy(item, around)
            record = self._record(item, around, result, status="ok", **sections)
            return record, samples_of(self.run.folder, record)
        except (ValueError, KeyError, TypeError, StoreError) as error:
            raise _NoRecordError(_line(error)) from error

    def _estimated(self, item: Item, result: Mapping[str, Any], around: Surroundings) -> Record:
        """Conditions of this machine are in no figure of a device that is not here, and are left out."""
        estimate = dict(result["estimate"])
        sections = {"phases": result["phases"], "evidence": self._graded(item, result["evidence"])}
        provenance = estimate.pop("provenance")
        return self._record(
            item, Surroundings(), result, status="ok", provenance=provenance, estimate=estimate, **sections
        )

    def _energy(self, item: Item, around: Surroundings) -> Mapping[str, Any] | None:
        """The section, and the raw readings in a file of their own."""
        if around.energy is None or not around.power_readings:
            return around.energy
        name = self._beside(item, ".power.csv")
        try:
            (self.run.folder / name).write_text(around.power_readings, encoding="utf-8")
        except OSError as error:
            raise StoreError.of(self.run.folder / name, "writing power readings", error) from error
        missing = {field: why for field, why in around.energy["missing"].items() if field != "readings_file"}
        return {**around.energy, "readings_file": name, "missing": missing}

    def _graded(self, item: Item, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the place of the examples' grades from the run's folder, where there are any."""
        if not (quality := evidence.get("quality")) or not quality.get("scores_file"):
            return evidence
        return {**evidence, "quality": {**quality, "scores_file": self._beside(item, ".scores.f64")}}

    def _beside(self, item: Item, suffix: str) -> str:
        """Where a file of the item's belongs, relative to the run's folder: next to its samples."""
        return str(self.samples_path(item).with_suffix(suffix).relative_to(self.run.folder))

    def _clear(self, item: Item) -> None:
        """Remove what an item without figures has left beside its samples."""
        for left in self.run.folder.glob(f"samples/{self.record_id(item)}.*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def _summarised(self, record: Record, samples: Samples) -> Summary:
        try:
            return summarise(record, samples)
        except ValueError as error:
            raise _NoRecordError(_line(error)) from error
        except Exception:
            self.run.append(record)  # a fault of the statistics costs no measurement: summaries can be made again
            raise

    def _record(
        self, item: Item, around: Surroundings, result: Mapping[str, Any] | None = None, **values: Any
    ) -> Record:
        chosen = {name: result[name] for name in ("versions", "settings", "batch_chosen")} if result else {}
        record = {
            "record_id": self.record_id(item),
            "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "identity": item.case.identity(),
            "card": item.case.card(),
            "context": {**self._context, **_moment(item, around), **chosen},
            **{name: value[:TEXT_MAX] if isinstance(value, str) else value for name, value in values.items()},
        }
        return Record.model_validate_json(json.dumps(record, allow_nan=False))

    def _stored(self, kept: Kept) -> Kept:
        self.run.append(kept.record)
        if kept.summary:
            self.run.append_summary(kept.summary)
        return kept


def _moment(item: Item, around: Surroundings) -> dict[str, Any]:
    return {
        "repeat": item.repeat,
        "order": item.order,
        "conditions": list(around.conditions),
        "calibration": list(around.calibration),
    }


def commit() -> str | None:
    """The checkout's commit, "-dirty" where files differ from it; None outside of one or without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return described.stdout.strip() or None


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}".splitlines()[0]
