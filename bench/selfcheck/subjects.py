"""What checks run: a workload on an engine of this processor, as a run would have it; and a function of 10 µs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from backends.contract import Backend, Engine, Session
from bench import parts
from bench.protocol import Effort, Job
from bench.sut import SystemUnderTest
from workloads.contract import Unsupported

ONE_THREAD = {"threads": "1", "streams": "1"}


def job(
    workload: str, engine: str, scenario: str, options: Mapping[str, str], effort: Effort, samples_path: str = ""
) -> Job:
    """In fp32, one sample a query, on the processor; raises Unsupported with the remedy where `engine` is not here."""
    device = parts.find(Backend, "cpu").probe().devices[0]
    presence = parts.find(Engine, engine).available(device)
    if presence.state != "present":
        raise Unsupported(f"{presence.reason}: {presence.remedy}")
    return Job(
        workload=workload,
        technique="none",
        precision="fp32",
        batch="1",
        scenario=scenario,
        goal="",
        backend="cpu",
        device=device.name,
        engine=engine,
        effort=effort,
        seed=0,
        samples_path=samples_path,
        options=options,
    )


def one_thread(workload: str, engine: str) -> SystemUnderTest:
    """For comparisons in this process."""
    return SystemUnderTest.find(job(workload, engine, "single_stream", ONE_THREAD, Effort(0, 0, 1, 1)))


class FunctionSession(Session):
    """A session whose runs call a plain function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def run(self, values: Any) -> Any:
        self.function()
        return values


def calibrated(duration_ns: int) -> Callable[[], int]:
    """A function that takes about this long."""
    size = 100
    while (usual := round(median(_timed(_summing(size)) for _ in range(300)))) < duration_ns:
        size = max(size + 1, size * duration_ns // usual)
    return _summing(size)


def _summing(size: int) -> Callable[[], int]:
    numbers = range(size)
    return lambda: sum(numbers)


def _timed(function: Callable[[], object]) -> int:
    begin = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - begin
