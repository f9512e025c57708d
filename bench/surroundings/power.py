"""Which meters read a device here, what they read while a worker is measured, and what the idle machine draws.

Meters are read in this process, by the sampler; `results/energy.py` turns readings into energy and judges them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

from backends.contract import Device, Meter, Presence, Reading
from bench import parts
from bench.selection import SelectionError
from bench.surroundings.sampler import Sampler, Source
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from results.energy import Idle, Series

IDLE_S = 1.0
IDLE_UPDATES = 10
"""Each end may be off by one update of the meter: over ten of them idle power is off by a fifth at the very most."""
IDLE_AGE = 60
"""Idle power is measured again when it is sixty times as old as measuring takes: less than 2 % of a run."""
PER_SCOPE = 2
"""A figure and its check; more would only cost time."""
LATE_S = 3.0
"""How long to wait for rows that an external meter writes late."""
NONE = "none"
BETWEEN_METERS = re.compile(r",(?![^,]*=)")
"""A comma, but for one before key=value."""


def chosen(asked: Sequence[str], extra: Sequence[str] = ()) -> list[Meter] | None:
    """The meters of `--meter` ("rapl,hwmon", "csv:PATH,column=NAME", "none"); None: whichever there are.

    Raises SelectionError.
    """
    texts = [text for several in asked for text in BETWEEN_METERS.split(several)]
    names = [text.partition(":")[0] for text in texts]
    if NONE in names:
        if len(names) > 1:
            raise SelectionError(f"--meter {','.join(names)}: none goes with no other")
        return []
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SelectionError(f"--meter {','.join(names)}: {twice} is there twice")
    return [_meter(text, extra) for text in texts] or None


def _meter(text: str, extra: Sequence[str]) -> Meter:
    name, colon, more = text.partition(":")
    try:
        meter = parts.find(Meter, name, extra)
        return meter.given(more) if colon else meter
    except (parts.PartError, Unsupported) as error:
        raise SelectionError(f"--meter {text}: {error}") from error


@dataclass
class Metering:
    """The meters of one device, opened, the most trusted first; `absent` says why others do not read it."""

    meters: list[Meter]
    absent: Mapping[str, str] = field(default_factory=dict)
    forbidden: bool = False
    clock: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], None] = time.sleep
    idle: Mapping[str, Idle] = field(default_factory=dict)
    _idle_until_ns: int = 0

    @classmethod
    def of(
        cls, device: Device, asked: Sequence[Meter] | None = None, extra: Sequence[str] = (), unmetered: str = ""
    ) -> Metering:
        """Opens the `asked` meters, or all that read `device`. `unmetered`: the backend's reason why none can."""
        found = parts.collect(Meter, extra) if asked is None else []
        candidates = asked if asked is not None else [one.part for one in found if one.part is not None]
        states: dict[Meter, Presence] = {}
        for meter in sorted(candidates, key=lambda meter: -meter.trust):
            if asked is not None or _same_scope(meter, states) < PER_SCOPE:
                states[meter] = _opened(meter, device)
        opened = [meter for meter, presence in states.items() if presence.state == "present"]
        absent = {one.name: f"cannot be loaded: {one.error}" for one in found if one.part is None}
        absent.update({device.backend: unmetered} if unmetered else {})
        for meter, presence in states.items():
            if presence.state != "present" and (presence.remedy or asked):
                absent[meter.name] = presence.reason
            elif presence.state == "present" and not _tells_energy(meter):
                absent[meter.name] = f"it reads {meter.quantity}, and no energy follows from that"
        return cls(opened, absent, any(presence.state == "no_permission" for presence in states.values()))

    def sources(self) -> list[Source]:
        """One for each meter, in their order."""
        return [Source(partial(_read, meter, self.clock), meter.period_s) for meter in self.meters]

    def find_idle(self) -> None:
        """Measure what the idle machine draws, unless that was done a short while ago. Nothing else may run."""
        best = next(filter(_tells_energy, self.meters), None)
        if best is None or self.clock() < self._idle_until_ns:
            return
        from results.energy import Idle, integrate

        sources, duration_s = self.sources(), max(IDLE_S, IDLE_UPDATES * best.update_s)
        with Sampler(sources, self.clock):
            self.sleep(2 * best.update_s)  # a meter of its own pace has to have told something by the start
            opened_ns = self.clock()
            self.sleep(duration_s)
            closed_ns = self.clock()
        found = {one.meter: integrate(one, opened_ns, closed_ns) for one in self._series(sources, closed_ns)}
        per_s = 1e9 / (closed_ns - opened_ns)
        self.idle = {
            meter: Idle(None if one.energy_j is None else one.energy_j * per_s, one.why) for meter, one in found.items()
        }
        self._idle_until_ns = closed_ns + round(IDLE_AGE * duration_s * 1e9)

    def account(self, sources: Sequence[Source], opened_ns: int, closed_ns: int) -> tuple[dict[str, Any], str]:
        """The record's section of energy, and the raw readings as the text of a file. Raises ValueError."""
        from results.energy import account, readings_text

        series = self._series(sources, closed_ns)
        section = account(series, self.idle, self.absent, opened_ns, closed_ns, self.forbidden)
        return section.model_dump(mode="json"), readings_text(series, opened_ns, closed_ns)

    def close(self) -> None:
        for meter in self.meters:
            meter.close()

    def _series(self, sources: Sequence[Source], until_ns: int) -> list[Series]:
        """What the meters of energy read, as soon as all of them have told of `until_ns`, or had the time to."""
        from results.energy import Series

        telling = [pair for pair in zip(self.meters, sources, strict=True) if _tells_energy(pair[0])]
        self._await([source for _, source in telling], until_ns)
        return [
            Series(
                meter=meter.name,
                quantity=cast("Any", meter.quantity),
                scope=meter.scope,
                readings=[(reading.t_ns, reading.value) for reading in source.seen],
                period_s=meter.period_s,
                update_s=meter.update_s,
                wrap_j=meter.wrap_j,
                shared=meter.shared,
                fault=next((one.reason for one in reversed(source.seen) if one.value is None), ""),
            )
            for meter, source in telling
        ]

    def _await(self, sources: Sequence[Source], until_ns: int) -> None:
        deadline_ns = self.clock() + round(LATE_S * 1e9)
        while late := [source for source in sources if not source.seen or source.seen[-1].t_ns < until_ns]:
            if self.clock() >= deadline_ns:
                return
            for source in late:
                source.seen += source.read()
            self.sleep(0.05)


def _same_scope(meter: Meter, states: Mapping[Meter, Presence]) -> int:
    """How many that are opened cover the same."""
    return sum(one.scope == meter.scope and presence.state == "present" for one, presence in states.items())


def _opened(meter: Meter, device: Device) -> Presence:
    """Its answer, after opening it if that is yes. A fault of a part is its own, and is reported as such."""
    try:
        presence = meter.available(device)
        if presence.state == "present":
            meter.open(device)
    except Exception as error:  # noqa: BLE001 - a part is foreign code, and its fault must not cost a measurement
        return Presence("broken", f"opening it raised {type(error).__name__}: {error}", "mend that part's file")
    return presence


def _read(meter: Meter, clock: Callable[[], int]) -> Sequence[Reading]:
    try:
        readings = meter.read()
    except Exception as error:  # noqa: BLE001 - as above
        return [Reading(clock(), None, f"{type(error).__name__}: {error}")]
    return [
        one if one.value is None or isfinite(one.value) else Reading(one.t_ns, None, "no number") for one in readings
    ]


def _tells_energy(meter: Meter) -> bool:
    return meter.quantity in ("energy_j", "power_w")
