"""What the parent and a worker say to each other: JSON lines on an inherited socket, so that a library may print.

The parent sends one `Job`. The worker answers with events, each a flat object with a "event" key:

    {"event": "phase", "phase": one of PHASES, "t_ns": CLOCK_MONOTONIC}     on entering a phase
    {"event": "result", ...}                                                once, see `Result`
    {"event": "unsupported", "reason": str}  or  {"event": "failed", "reason": str}   instead of a result

Worker-side code needs the standard library, numpy and its engine, nothing else, and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any

PHASES = ("start", "build", "compile", "check", "warmup", "search", "measure", "audit", "finish")


@dataclass(frozen=True)
class Effort:
    """How long to measure: until both the minimum duration and the minimum count are met, never beyond the maximum."""

    warmup_max_s: float
    min_duration_s: float
    min_queries: int
    max_duration_s: float


@dataclass(frozen=True)
class Job:
    """One item, as a worker has to know it. `parts` are extra packages to find parts in.

    `bounds` are (latency_ms, percentile) pairs. `model` is the prepared folder of a user's own model
    (`workloads/user.py`), which then stands for `workload`; "": none. `artifact` is a bundle's folder or a compiled
    file (`bench/bundle/carried.py`), which stands for the lowering, and with the same in `model` for the workload too.
    """

    workload: str
    technique: str
    precision: str
    batch: str
    scenario: str
    goal: str
    backend: str
    device: str
    engine: str
    effort: Effort
    seed: int
    samples_path: str
    mode: str = "infer"
    rules: str = "accelmark"
    bounds: tuple[tuple[float, float], ...] = ()
    model: str = ""
    artifact: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        values = json.loads(line)
        values["effort"] = Effort(**values["effort"])
        values["bounds"] = [tuple(bound) for bound in values["bounds"]]
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class Result:
    """What a worker measured; the fields are the record's own sections (`results/record.py`), as plain JSON values.

    `marks` are the timed window's `opened_ns` and `closed_ns` on CLOCK_MONOTONIC. `window`, `load`, `loadgen` and
    `estimate` are None where the record has no such section.

    The samples themselves are in the file at `Job.samples_path`: little-endian int64, in order.
    """

    phases: Mapping[str, Any]
    evidence: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    batch_chosen: int
    window: Mapping[str, Any] | None = None
    marks: Mapping[str, int] = field(default_factory=dict)
    load: Mapping[str, Any] | None = None
    loadgen: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None


def send(stream: IO[str], event: str, **values: Any) -> None:
    """One event, at once. NaN and infinity are refused here, where the stack still says who made them."""
    stream.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
    stream.flush()


def end_with_reader(pipe: int) -> None:
    """From now on this process ends, whatever it does, when nobody reads `pipe` any more: its parent is gone."""

    def watch() -> None:
        poller = select.poll()
        poller.register(pipe, 0)  # reports that the other end is closed, and nothing else
        poller.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
