"""From a meter's readings to the energy of a window, and whether to believe it. Pure; nothing else decides it.

Counters are differences, sampled power is a trapezoidal integral; both lie on straight lines between readings, at the
window's borders too. A data sheet never stands in for a reading.

| code | effect | when |
|---|---|---|
| border_not_covered | no figure | no reading before the window's start, or none after its end |
| counter_reset | no figure | the counter fell within the window, and not because it wrapped |
| zero_reading | no figure, or invalid | the counter stood still; samples of 0 W or less were left out |
| gap | invalid | two readings lie further apart than 3 s, or than 10 reading periods if that is longer |
| too_few_readings | invalid | the window is shorter than 40 updates of the meter |
| disagrees | invalid | a second meter of the same scope is more than 5 % off |
| no_permission | no figure | a meter is there and this user may not read it |
| shared_meter | note | the meter's figure covers more than the device |
| idle_not_measured | note | there is no idle power to take off, so no net energy |
| below_idle | note | the window took less than the idle machine would have, so no net energy |

`power_valid` is False for a figure with an invalid reason, and where meters were read and none gave a figure.
"""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import accumulate, pairwise
from math import fsum
from typing import Literal, TypeVar

from results.record import Energy

GAP_S = 3.0
"""As InferenceX does it (SemiAnalysisAI/InferenceX voids a power figure with a longer gap)."""
GAP_PERIODS = 10
ASTRAY_S = 60
"""Readings so far from the window are not late: their clock is another."""
UPDATES = 40
"""Each border may be off by one update of the meter, so forty keep the figure within DISAGREEMENT.
At one reading a second that is 40 s; MLPerf Power asks for 60 s (arXiv 2410.12032)."""
DISAGREEMENT = 0.05
"""Counter and polled power are within 1 % where both work (ml-energy/zeus#12), and 75 % apart where not (zeus#181)."""
NOTES = frozenset({"shared_meter", "idle_not_measured", "below_idle"})
FAULTS = {"counter_reset": "its counter was set back", "zero_reading": "its counter stood still"}
FIGURES = ("energy_j", "net_energy_j", "idle_w", "check_j", "gap_max_ns", "power_valid", "readings_file")

P = TypeVar("P", bound="tuple[int, float | None]")
Point = tuple[int, float]
"""CLOCK_MONOTONIC in ns, and joules or watts."""


@dataclass(frozen=True)
class Series:
    """What one meter read: (t_ns, joules or watts or None), `fault` is why the last None was one.

    The other attributes are those of `backends.contract.Meter`.
    """

    meter: str
    quantity: Literal["energy_j", "power_w"]
    scope: str
    readings: Sequence[tuple[int, float | None]]
    period_s: float = 0.1
    update_s: float = 0.1
    wrap_j: float | None = None
    shared: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Integral:
    """Energy between two moments from `readings` within them; where there is none, `why` says so."""

    energy_j: float | None
    readings: int = 0
    gap_max_ns: int | None = None
    reasons: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Idle:
    """What the idle machine draws by a meter; None has its reason."""

    power_w: float | None
    why: str = ""


NO_IDLE = Idle(None, "idle power was not measured")


def integrate(series: Series, opened_ns: int, closed_ns: int) -> Integral:
    """The energy from `opened_ns` to `closed_ns`. Raises ValueError where the second is not later."""
    if closed_ns <= opened_ns:
        raise ValueError(f"the window ends {opened_ns - closed_ns} ns before it begins")
    points = _points(series)
    if not points or points[0][0] > opened_ns or points[-1][0] < closed_ns:
        side = "after" if points and points[0][0] <= opened_ns else "before"
        why = f"{series.meter} gave no usable reading {side} the window{_astray(series, points, opened_ns, closed_ns)}"
        return Integral(None, reasons=("border_not_covered",), why=why)
    around = _around(points, opened_ns, closed_ns)
    readings = sum(opened_ns <= t_ns <= closed_ns for t_ns, _ in around)
    gap_max_ns = max((b - a for (a, _), (b, _) in pairwise(around)))
    energy_j, fault = (_difference if _counts(series) else _trapezoid)(series, around, opened_ns, closed_ns)
    if fault:
        return Integral(None, readings, gap_max_ns, (fault,), f"{series.meter}: {FAULTS[fault]} in the window")
    flags = {
        "zero_reading": any(around[0][0] < t_ns < around[-1][0] for t_ns in _zeros(series)),
        "gap": gap_max_ns > max(GAP_S, GAP_PERIODS * series.period_s) * 1e9,
        "too_few_readings": closed_ns - opened_ns < UPDATES * _update_s(series, around) * 1e9,
    }
    return Integral(energy_j, readings, gap_max_ns, tuple(code for code, is_so in flags.items() if is_so))


def account(
    series: Sequence[Series],
    idle: Mapping[str, Idle],
    absent: Mapping[str, str],
    opened_ns: int,
    closed_ns: int,
    forbidden: bool = False,
) -> Energy:
    """The record's section. `series` are of one device, the most trusted first; `idle` is by meter.

    `absent` says why other meters were not read; `forbidden`: one of them is there and may not be. The first meter that
    gives a figure is the record's, the next one of the same scope its check. Raises ValueError as `integrate` does.
    """
    found = [(one, integrate(one, opened_ns, closed_ns)) for one in series]
    figures = [(one, integral) for one, integral in found if integral.energy_j is not None]
    if not figures:
        return _without_figure(found, absent, forbidden)
    (primary, integral), others = figures[0], figures[1:]
    unusable = "; ".join(other.why for _, other in found if other.why)
    check = next(
        ((other.energy_j, "") for one, other in others if one.scope == primary.scope),
        (None, unusable or "no second meter of the same scope"),
    )
    return _figure(primary, integral, check, idle.get(primary.meter, NO_IDLE), (closed_ns - opened_ns) / 1e9)


def readings_text(series: Sequence[Series], opened_ns: int, closed_ns: int) -> str:
    """The readings that a figure comes from, as CSV; `t_ns` counts from the window's start. "" where there are none."""
    rows = [
        (one.meter, one.quantity, one.scope, t_ns - opened_ns, "" if value is None else value)
        for one in series
        for t_ns, value in _around(sorted(one.readings, key=_moment), opened_ns, closed_ns)
    ]
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([("meter", "quantity", "scope", "t_ns", "value"), *rows])
    return text.getvalue() if rows else ""


def _figure(
    primary: Series, integral: Integral, check: tuple[float | None, str], idle: Idle, duration_s: float
) -> Energy:
    energy_j, (check_j, unchecked) = integral.energy_j or 0.0, check
    net_j = None if idle.power_w is None else energy_j - idle.power_w * duration_s
    below = net_j is not None and net_j < 0
    flags = {
        "disagrees": check_j is not None and abs(check_j - energy_j) > DISAGREEMENT * energy_j,
        "shared_meter": primary.shared,
        "idle_not_measured": idle.power_w is None,
        "below_idle": below,
    }
    reasons = (*integral.reasons, *(code for code, is_so in flags.items() if is_so))
    missing = {"readings_file": "raw readings were not kept"}
    if check_j is None:
        missing["check_j"] = unchecked
    if idle.power_w is None:
        missing |= dict.fromkeys(("idle_w", "net_energy_j"), idle.why)
    elif below:
        missing["net_energy_j"] = f"{energy_j:.4g} J are less than the idle machine's {idle.power_w:.4g} W in that time"
    return Energy(
        method="counter" if _counts(primary) else "sampled",
        meter=primary.meter,
        scope=primary.scope,
        energy_j=energy_j,
        net_energy_j=None if below else net_j,
        idle_w=idle.power_w,
        check_j=check_j,
        readings=integral.readings,
        gap_max_ns=integral.gap_max_ns,
        power_valid=set(reasons) <= NOTES,
        power_reasons=reasons,
        missing=missing,
    )


def _without_figure(found: Sequence[tuple[Series, Integral]], absent: Mapping[str, str], forbidden: bool) -> Energy:
    why = "; ".join([*(integral.why for _, integral in found), *(f"{name}: {text}" for name, text in absent.items())])
    reasons = dict.fromkeys(code for _, integral in found for code in integral.reasons)
    return Energy(
        meter=found[0][0].meter if found else "none",
        power_valid=False if found else None,
        power_reasons=(*reasons, *(("no_permission",) if forbidden else ())),
        missing={
            **dict.fromkeys(FIGURES, "there is no energy figure"),
            **dict.fromkeys(FIGURES[:2], why or "no meter was asked for"),
        },
    )


def _counts(series: Series) -> bool:
    return series.quantity == "energy_j"


def _moment(point: tuple[int, float | None]) -> int:
    return point[0]


def _astray(series: Series, points: Sequence[Point], opened_ns: int, closed_ns: int) -> str:
    """What may be wrong with a meter whose readings do not reach the window; "" where that is not known."""
    if series.fault:
        return f": {series.fault}"
    if not points:
        return ": it read 0 W or less" if _zeros(series) else ""
    early_ns, late_ns = opened_ns - points[-1][0], points[0][0] - closed_ns
    if max(early_ns, late_ns) < ASTRAY_S * 1e9:
        return ""
    off = f"{early_ns / 1e9:,.0f} s before" if early_ns > late_ns else f"{late_ns / 1e9:,.0f} s after"
    return f": its nearest is {off} it; check the clock and the time zone of its rows"


def _zeros(series: Series) -> list[int]:
    """When sampled power was 0 or less, which no machine that is on draws."""
    return [] if _counts(series) else [t_ns for t_ns, value in series.readings if value is not None and value <= 0]


def _points(series: Series) -> list[Point]:
    """Usable readings in order, one for each moment."""
    known = {t_ns: value for t_ns, value in series.readings if value is not None and (_counts(series) or value > 0)}
    return sorted(known.items())


def _around(points: Sequence[P], opened_ns: int, closed_ns: int) -> Sequence[P]:
    """From the last point that is not after the window's start to the first that is not before its end."""
    first = max(0, bisect_right(points, opened_ns, key=_moment) - 1)
    return points[first : bisect_left(points, closed_ns, key=_moment) + 1]


def _cut(points: Sequence[Point], opened_ns: int, closed_ns: int) -> list[Point]:
    """The points within the window, and one on each of its borders."""
    inside = [(t_ns, value) for t_ns, value in points if opened_ns < t_ns < closed_ns]
    start = _between(points[0], points[1], opened_ns)
    return [(opened_ns, start), *inside, (closed_ns, _between(points[-2], points[-1], closed_ns))]


def _between(one: Point, other: Point, t_ns: int) -> float:
    (t0_ns, start), (t1_ns, end) = one, other
    return start + (end - start) * ((t_ns - t0_ns) / (t1_ns - t0_ns))


def _trapezoid(_: Series, around: Sequence[Point], opened_ns: int, closed_ns: int) -> tuple[float, str]:
    cut = _cut(around, opened_ns, closed_ns)
    return fsum((b - a) * (one + other) / 2e9 for (a, one), (b, other) in pairwise(cut)), ""


def _difference(series: Series, around: Sequence[Point], opened_ns: int, closed_ns: int) -> tuple[float | None, str]:
    """Between two readings less than half the counter's range passes: a smaller fall is no wrap (RFC 1982's rule)."""
    steps = [after - before for (_, before), (_, after) in pairwise(around)]
    if series.wrap_j is not None:
        steps = [step + series.wrap_j if step < -series.wrap_j / 2 else step for step in steps]
    if min(steps) < 0:
        return None, "counter_reset"
    risen = zip((t_ns for t_ns, _ in around), accumulate(steps, initial=0.0), strict=True)
    (_, start), *_, (_, end) = _cut(list(risen), opened_ns, closed_ns)
    return (end - start, "") if end > start else (None, "zero_reading")


def _update_s(series: Series, around: Sequence[Point]) -> float:
    """How often the meter gives something new: as it says, or slower if it was seen to be.

    A counter that was never read twice the same updates faster than it is read.
    """
    moves = [after != before for (_, before), (_, after) in pairwise(around)]
    seen = len(moves) if not _counts(series) else 0 if all(moves) else sum(moves)
    span_s = (around[-1][0] - around[0][0]) / 1e9
    return max(series.update_s, span_s / seen if seen else 0.0)
