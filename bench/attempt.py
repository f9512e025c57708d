"""One short try of a workload on an engine, in a fresh worker process: whether it answers, not how fast."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.contract import Device, Engine
from bench import supervisor
from bench.protocol import Effort, Job
from bench.scenarios import COMPILE

EFFORT = Effort(warmup_max_s=0.2, min_duration_s=0.05, min_queries=1, max_duration_s=1.0)


def attempt(
    workload: str,
    precision: str,
    engine: Engine,
    device: Device,
    extra: Sequence[str] = (),
    timeouts_s: Mapping[str, float] = supervisor.TIMEOUTS_S,
    **more: Any,
) -> supervisor.Outcome:
    """One sample at a time; a device that does not run here is compiled for. `more` are further fields of the Job."""
    with tempfile.TemporaryDirectory(prefix="accelmark-attempt-") as folder:
        job = Job(
            workload=workload,
            technique="none",
            precision=precision,
            batch="1",
            scenario="single_stream" if device.runs else COMPILE,
            goal="latency",
            backend=device.backend,
            device=device.name,
            engine=engine.name,
            effort=EFFORT,
            seed=0,
            samples_path=str(Path(folder) / "samples.i64"),
            parts=tuple(extra),
            **more,
        )
        return supervisor.run(job, timeouts_s=timeouts_s)
