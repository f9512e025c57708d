"""What the parent sees around an item: host and device before, during and after it, and what the meters read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from backends.contract import DeviceState
from bench.surroundings import Surroundings, conditions
from bench.surroundings.calibration import calibrate
from bench.surroundings.conditions import Moment
from bench.surroundings.host import Found, HostReader, HostReading
from bench.surroundings.power import Metering
from bench.surroundings.sampler import Sampler, Source

HOST_PERIOD_S = 0.2
STATE_PERIOD_S = 0.5
"""A driver may take milliseconds to answer."""


class Watch:
    """One item's: `before`, the worker within `sampling` (it is to call `enter`), `after`, and then `surroundings`."""

    def __init__(
        self,
        host: HostReader,
        state: Callable[[], DeviceState],
        metering: Metering,
        since: HostReading | None = None,
        on_phase: Callable[[str], None] = lambda _phase: None,
    ) -> None:
        self._host, self._metering, self._on_phase = host, metering, on_phase
        self._state, self._since = _guarded(state), since
        self._readings = Source(lambda: [host.read()], HOST_PERIOD_S)
        self._states = Source(lambda: [(host.now_ns(), self._state())], STATE_PERIOD_S)
        self._power = metering.sources()
        self._lasting: Mapping[str, Found] | None = None
        self._phase = ""
        self._conditions: list[dict[str, Any]] = []
        self._calibration: list[dict[str, Any]] = []

    @property
    def last(self) -> HostReading | None:
        """The newest look at the host."""
        return self._since

    def before(self) -> None:
        self._metering.find_idle()
        self._look("before")
        self._calibration.append(calibrate("before"))

    def sampling(self) -> AbstractContextManager[Any]:
        return Sampler([self._readings, self._states, *self._power])

    def enter(self, phase: str, _t_ns: int) -> None:
        """What takes long is read before the window opens, and when it has closed."""
        if phase in ("build", "warmup"):
            self._host.find_family()
        if self._phase == "measure" != phase:  # a server may try several windows
            self._lasting, self._since = self._host.lasting(), self._host.read()
        self._phase = phase
        self._on_phase(phase)

    def after(self) -> None:
        self._calibration.append(calibrate("after"))
        self._look("after")

    def surroundings(self, marks: tuple[int, int] | None) -> Surroundings:
        """`marks` are the window's, None where there was none; raises ValueError where they are no window."""
        if marks is None:
            return Surroundings(self._conditions, self._calibration)
        lasting = self._lasting or self._host.lasting()
        window = conditions.during(self._readings.seen, self._states.seen, lasting, *marks)
        before, after = self._conditions
        energy, readings = self._metering.account(self._power, *marks)
        return Surroundings((before, window, after), self._calibration, energy, readings)

    def _look(self, moment: Moment) -> None:
        now = self._host.read()
        self._conditions.append(conditions.at(moment, now, self._since, self._host.lasting(), self._state()))
        self._since = now


def _guarded(state: Callable[[], DeviceState]) -> Callable[[], DeviceState]:
    """A backend is foreign code, and its fault must not cost a measurement."""

    def answer() -> DeviceState:
        try:
            return state()
        except Exception as error:  # noqa: BLE001
            return DeviceState.unknown(f"asking the device raised {type(error).__name__}: {error}")

    return answer
