"""A fixed piece of work, timed before and after every item: where it takes longer, the machine has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

ROUNDS = 15


def calibrate(moment: Literal["before", "after"]) -> dict[str, Any]:
    """Durations of three small jobs, about 45 ms in all, with the fields of `results.record.Calibration`.

    Each is the first quartile of its rounds: whoever interrupts makes a round longer, and is `other_load`, no drift.
    """
    return {"moment": moment, **{f"{job}_ns": _quartile_ns(run) for job, run in _kernel().items()}}


def _kernel() -> Mapping[str, Callable[[], object]]:
    """Each about 1 ms. Matrices of 64 are below the size from which OpenBLAS uses threads: nothing is left spinning."""
    import numpy as np

    left, right = np.full((64, 64), 0.5, np.float32), np.full((64, 64), 0.25, np.float32)
    product, source = np.empty((64, 64), np.float32), np.ones(4 << 20, np.uint8)
    target = np.zeros_like(source)

    def integer() -> int:
        x = 1
        for _ in range(20_000):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        return x

    def sgemm() -> None:
        for _ in range(100):
            np.matmul(left, right, out=product)

    def memcpy() -> None:
        for _ in range(2):
            np.copyto(target, source)

    return {"integer": integer, "sgemm": sgemm, "memcpy": memcpy}


def _quartile_ns(run: Callable[[], object]) -> int:
    durations = []
    for _ in range(ROUNDS + 2):
        start = time.perf_counter_ns()
        run()
        durations.append(time.perf_counter_ns() - start)
    return sorted(durations[2:])[ROUNDS // 4]  # the first ones wake the processor and fill its caches
