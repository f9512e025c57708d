"""Reads what LoadGen wrote: its verdict, and when each query was due, was issued and was answered.

Formats: mlcommons/inference, loadgen/logging.cc. LoadGen 6.0.17's trace is no valid JSON: lines are matched.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from workloads.contract import Array

DETAIL, TRACE = "mlperf_log_detail.txt", "mlperf_log_trace.json"
NOT_KEPT = (TRACE, "mlperf_log_accuracy.json")
"""The trace takes some 300 bytes a sample and its times are in the samples file; nobody asked for the accuracy log.

What is left are the files that MLPerf's submission checker wants of a performance run (REQUIRED_PERF_FILES).
"""
_SAMPLE = re.compile(
    rb'"name":"Sample",[^\n]*?"ts":(\d+)\.(\d{3}),[^\n]*?"sample_seq":(\d+),[^\n]*?'
    rb'"issue_start_ns":(-?\d+),"complete_ns":(-?\d+)'
)


class LoadGenError(Exception):
    """LoadGen ended without a result, or with one that cannot be; the message is one line."""


@dataclass(frozen=True)
class Trace:
    """Times of every query, in the order of the schedule, as int64 arrays of one length.

    `due_ns` is counted from when the first one was due, `lag_ns` and `latency_ns` from when the query itself was. A
    query's latency is that of its last sample.
    """

    due_ns: Array
    lag_ns: Array
    latency_ns: Array

    @property
    def done_ns(self) -> Array:
        """When each query was answered, counted from when the first one was due."""
        return self.due_ns + self.latency_ns

    @property
    def duration_ns(self) -> int:
        """From when the first query was due until the last answer."""
        return int(self.done_ns.max())


def read_trace(folder: Path, query_samples: int) -> Trace:
    """The samples that `folder`'s trace holds, `query_samples` to a query."""
    flat = array("q")
    with (folder / TRACE).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for found in _SAMPLE.finditer(text):
            flat.extend(map(int, found.groups()))
    samples = np.frombuffer(flat, np.int64).reshape(-1, 5)
    samples = samples[np.argsort(samples[:, 2], kind="stable")]
    if len(samples) == 0 or len(samples) % query_samples:
        raise LoadGenError(f"LoadGen's trace holds {len(samples)} samples, not a multiple of {query_samples}")
    due_ns, lag_ns, latency_ns = samples[:, 0] * 1000 + samples[:, 1], samples[:, 3], samples[:, 4]
    if min(lag_ns.min(), latency_ns.min()) < 0:
        raise LoadGenError("a query was answered before it was due: the wall clock, LoadGen's, was set back; run again")
    first = slice(None, None, query_samples)
    return Trace(due_ns[first] - due_ns[0], lag_ns[first], latency_ns.reshape(-1, query_samples).max(axis=1))


@dataclass(frozen=True)
class Told:
    """LoadGen's own words: version, verdict, reasons of a line each, and its figures by their names."""

    version: str
    valid: bool
    reasons: tuple[str, ...]
    results: dict[str, float]


def read_detail(folder: Path) -> Told:
    lines = (folder / DETAIL).read_text().splitlines()
    entries = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith(":::MLLOG ")]
    said: dict[str, Any] = {entry["key"]: entry["value"] for entry in entries}
    errors = [str(entry["value"]) for entry in entries if entry["metadata"].get("is_error")]
    if "result_validity" not in said:
        raise LoadGenError(f"LoadGen gave no result: {'; '.join(errors) or 'its log says nothing of it'}"[:500])
    advice = f"{said.get('result_invalid_reason', '')} * {said.get('early_stopping_result', '')}"
    reasons = [" ".join(reason.split()) for reason in (*advice.split(" * "), *errors)]
    return Told(
        version=str(said.get("loadgen_version", "unknown")).split()[0],
        valid=said["result_validity"] == "VALID",
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        results={key: float(value) for key, value in said.items() if _is_figure(key, value)},
    )


def _is_figure(key: str, value: Any) -> bool:
    """An estimate of 0 ns says that there were too few queries for one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return key.startswith("result_") or (key.startswith("early_stopping_latency") and value > 0)


def tidy(folder: Path) -> None:
    """Remove what is not kept."""
    for name in NOT_KEPT:
        (folder / name).unlink(missing_ok=True)


def make_empty(folder: Path) -> None:
    """LoadGen makes no folder, and without one it ends in silence."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
