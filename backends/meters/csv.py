"""An external meter that writes a CSV file while we measure: a wall meter, a power analyser, a bench supply.

    --meter csv:PATH            the first column that says watts or joules: power_w, Power (W), energy_j
    --meter csv:PATH,column=NAME

The first line names the columns; the one called time, timestamp, date or t has the moment of a row: seconds since 1970,
or ISO 8601 (without a zone: local time). Rows may be late. Joules are a counter's.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from backends.contract import Device, Meter, Presence, Reading, Unsupported

TIME = re.compile(r"t|time|timestamp|date|datetime", re.IGNORECASE)
UNITS = {
    "power_w": re.compile(r"(?i)(^|[^a-z])(w|watts?)([^a-z]|$)"),
    "energy_j": re.compile(r"(?i)(^|[^a-z])(j|joules?)([^a-z]|$)"),
}
JUMP_NS = 100_000_000
"""The wall clock is slewed by at most 0.5 ms a second (adjtimex(2)): a larger step between two reads is no slewing."""
PACE_ROWS = 20
HELP = "write csv:PATH or csv:PATH,column=NAME"


class CsvMeter(Meter):
    """What the named file says, moved from the wall clock to CLOCK_MONOTONIC by their difference at each read."""

    name = "csv"
    quantity = "power_w"
    scope = "wall"
    shared = True
    trust = 90
    update_s = 1.0

    def __init__(
        self,
        path: str = "",
        column: str = "",
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._path, self._column, self._wall, self._monotonic = path, column, wall, monotonic

    def given(self, text: str) -> CsvMeter:
        path, _, column = text.partition(",column=")
        if not path or "," in path:
            raise Unsupported(f"csv:{text}: {HELP}")
        return CsvMeter(path, column, self._wall, self._monotonic)

    def available(self, device: Device) -> Presence:
        if not self._path:
            return Presence("absent", "no file of an external meter was named", f"--meter: {HELP}")
        try:
            with Path(self._path).open(encoding="utf-8") as file:
                self._columns(file.readline())
        except (OSError, UnicodeDecodeError) as error:
            return Presence("absent", f"{self._path}: {error}", "start the meter's logger before the run")
        except Unsupported as error:
            return Presence("broken", str(error), HELP)
        return Presence("present")

    def open(self, device: Device) -> None:
        """Rows that are there already only tell how often they come."""
        self._file = Path(self._path).open("rb")  # noqa: SIM115 - closed by `close`
        self._when, self._what, self.quantity = self._columns(self._file.readline().decode())
        *old, self._rest = self._file.read().split(b"\n")
        self._offset_ns = self._wall() - self._monotonic()
        self._moments: list[int] = []
        self._learn([self._row(line.decode(errors="replace")) for line in old[-PACE_ROWS:]])

    def read(self) -> Sequence[Reading]:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        offset_ns, before_ns = self._wall() - self._monotonic(), self._offset_ns
        self._offset_ns = offset_ns
        if abs(offset_ns - before_ns) > JUMP_NS:
            why = f"the wall clock was set by {(offset_ns - before_ns) / 1e9:.3g} s: rows cannot be placed in time"
            return [Reading(self._monotonic(), None, why)]
        readings = [self._row(line.decode(errors="replace")) for line in lines if line.strip()]
        self._learn(readings)
        return readings

    def close(self) -> None:
        self._file.close()

    def _row(self, line: str) -> Reading:
        try:
            cells = next(csv.reader([line.strip("\r")]))
            t_ns, value = _epoch_ns(cells[self._when].strip()) - self._offset_ns, float(cells[self._what])
        except (csv.Error, IndexError, OverflowError, ValueError):
            return Reading(self._monotonic(), None, f"no row of time and value: {line[:80]}")
        return Reading(t_ns, value) if isfinite(value) else Reading(t_ns, None, f"{self._path} says {value}")

    def _learn(self, readings: Sequence[Reading]) -> None:
        """How often rows come is seen from their times."""
        self._moments += [reading.t_ns for reading in readings if reading.value is not None]
        if len(self._moments) > 1:
            self.update_s = (max(self._moments) - min(self._moments)) / 1e9 / (len(self._moments) - 1)

    def _columns(self, header: str) -> tuple[int, int, Any]:
        """Which cells of a row are its time and its value, and the value's quantity; raises Unsupported."""
        names = [name.strip() for name in next(csv.reader([header.lstrip("\ufeff").strip()]), [])]
        when = next((i for i, name in enumerate(names) if TIME.fullmatch(name)), None)
        if when is None:
            raise Unsupported(f"{self._path} has no column time among {', '.join(names)}")
        units = [(i, quantity) for i, name in enumerate(names) for quantity, unit in UNITS.items() if unit.search(name)]
        chosen = [(i, quantity) for i, quantity in units if self._column in ("", names[i])]
        if not chosen:
            asked = self._column or "that says W or J"
            raise Unsupported(f"{self._path} has no column {asked} with its unit among {', '.join(names)}")
        return when, *chosen[0]


def _epoch_ns(text: str) -> int:
    """Seconds since 1970 (or milli-, micro- or nanoseconds, told by their size), or ISO 8601."""
    try:
        seconds = float(text)
    except ValueError:
        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e9)
    scale = next((scale for limit, scale in ((1e11, 1e9), (1e14, 1e6), (1e17, 1e3)) if seconds < limit), 1.0)
    return round(seconds * scale)
