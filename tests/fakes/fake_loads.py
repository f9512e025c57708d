"""Engines that answer to a load in one known way each."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from tests.fakes.fake_engines import FakeEngine, FakeSession


class _Hogging(FakeSession):
    """Two at a time, and nobody else's Python runs for the 5 ms of a run: the load itself is held up."""

    inflight = 2

    def answer(self, values: Any) -> Any:
        ctypes.PyDLL(None).usleep(5000)
        return super().answer(values)


class FakeHogging(FakeEngine):
    name, session = "fake-hogging", _Hogging


class _Waking(FakeSession):
    """Sleeps for 50 ms in the first run and less from run to run, down to 2 ms after `cold_runs`."""

    def answer(self, values: Any) -> Any:
        cold_runs = int(self.plan.options.get("cold_runs", 12))
        time.sleep(0.002 + 0.048 * max(0, cold_runs - self.runs) / cold_runs)
        return super().answer(values)


class FakeWaking(FakeEngine):
    name, session, options = "fake-waking", _Waking, ("cold_runs",)
