"""Turns what became of an item into a record and its summary, and stores both: one item is one record, always."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench import ROOT, conditions
from bench.cases import Item
from bench.supervisor import Outcome
from results.record import TEXT_MAX, Record, Summary
from results.stats import summarise
from results.store import Run, StoreError, new_run_id, samples_of

Samples = np.ndarray[Any, np.dtype[np.int64]]


class _NoRecordError(Exception):
    """What a worker gave as its result cannot be kept as one; the message is one line."""


@dataclass(frozen=True)
class Surroundings:
    """What the parent saw around an item; entries have the fields of `results.record`'s Conditions and Calibration."""

    conditions: Sequence[Mapping[str, Any]] = ()
    calibration: Sequence[Mapping[str, Any]] = ()


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
            "commit": _commit(),
            "machine": conditions.machine(),
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
        for left in self.run.folder.glob(f"samples/{self.record_id(item)}.*"):
            left.unlink()
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
            window = {**result["window"], "samples_file": str(self.samples_path(item).relative_to(self.run.folder))}
            sections = {"window": window, "phases": result["phases"], "evidence": result["evidence"]}
            sections["energy"] = conditions.energy(item.case.backend)
            record = self._record(item, around, result, status="ok", **sections)
            return record, samples_of(self.run.folder, record)
        except (ValueError, KeyError, TypeError, StoreError) as error:
            raise _NoRecordError(_line(error)) from error

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


def _commit() -> str | None:
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
