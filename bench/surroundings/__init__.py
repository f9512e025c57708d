"""What the parent sees around a worker: the machine, its load, clocks and heat, the device, and what meters read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Surroundings:
    """What the parent saw around an item, with the fields of `results.record`'s Conditions, Calibration and Energy.

    `power_readings` are the meters' raw readings as the text of a file, "" where there are none.
    """

    conditions: Sequence[Mapping[str, Any]] = ()
    calibration: Sequence[Mapping[str, Any]] = ()
    energy: Mapping[str, Any] | None = None
    power_readings: str = ""
