"""A job that the fakes of this folder can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.protocol import Effort, Job


def fake_job(effort: Effort, samples: Path | str = "", **changes: Any) -> Job:
    """A single stream of fake-project on fake-exact, whose samples go to `samples`."""
    usual = {
        "workload": "fake-project",
        "technique": "none",
        "precision": "fp32",
        "batch": "1",
        "scenario": "single_stream",
        "goal": "",
        "backend": "fake",
        "device": "Fake 1",
        "engine": "fake-exact",
        "seed": 1,
        "parts": ("tests.fakes",),
    }
    return Job(**{**usual, **changes}, effort=effort, samples_path=str(samples))
