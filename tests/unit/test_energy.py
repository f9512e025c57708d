"""Readings with known answers, and what holds for any readings."""

from __future__ import annotations

import csv
import io
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from results import energy
from results.energy import Idle, Series, account, integrate
from results.record import Energy

S = 1_000_000_000


def power(*readings: tuple[float, float | None], **more: Any) -> Series:
    """Readings at seconds, in watts."""
    return Series("p", "power_w", "board", [(round(t * S), w) for t, w in readings], **{"update_s": 0.001, **more})


def counter(*readings: tuple[float, float | None], **more: Any) -> Series:
    """Readings at seconds, in joules."""
    return Series("c", "energy_j", "board", [(round(t * S), j) for t, j in readings], **{"update_s": 0.001, **more})


def every(step_s: float, until_s: float, value: Any) -> list[tuple[float, Any]]:
    return [(n * step_s, value(n * step_s)) for n in range(round(until_s / step_s) + 1)]


def test_constant_power_is_power_times_time() -> None:
    found = integrate(power(*every(0.1, 20, lambda _: 50.0)), 5 * S, 15 * S)
    assert found.energy_j == pytest.approx(500)
    assert (found.readings, found.gap_max_ns, found.reasons) == (101, S // 10, ())


def test_a_ramp_is_integrated_with_values_interpolated_at_the_borders() -> None:
    found = integrate(power((0, 10), (10, 30)), 4 * S, 5 * S)
    assert found.energy_j == pytest.approx((18 + 20) / 2)


def test_a_counter_is_a_difference_with_values_interpolated_at_the_borders() -> None:
    found = integrate(counter((0, 100), (2, 120), (4, 180)), 1 * S, 3 * S)
    assert found.energy_j == pytest.approx(150 - 110)


def test_a_counter_that_wraps_is_unwound() -> None:
    found = integrate(counter((0, 900), (1, 980), (2, 60), (3, 140), wrap_j=1000), 0, 3 * S)
    assert found.energy_j == pytest.approx(240)


@pytest.mark.parametrize("wrap_j", [None, 10_000.0])
def test_a_counter_that_falls_without_wrapping_gives_no_figure(wrap_j: float | None) -> None:
    found = integrate(counter((0, 900), (1, 980), (2, 3), (3, 60), wrap_j=wrap_j), 0, 3 * S)
    assert (found.energy_j, found.reasons) == (None, ("counter_reset",))
    assert found.why == "c: its counter was set back in the window"


def test_a_reset_outside_of_the_window_does_not_concern_it() -> None:
    found = integrate(counter((0, 900), (1, 3), (2, 60), (3, 120)), 2 * S, 3 * S)
    assert (found.energy_j, found.reasons) == (pytest.approx(60), ())


def test_a_counter_that_stands_still_is_missing_not_zero() -> None:
    found = integrate(counter(*every(0.1, 20, lambda _: 7.0)), 5 * S, 15 * S)
    assert (found.energy_j, found.reasons) == (None, ("zero_reading",))


@pytest.mark.parametrize("blocked", [0.0, -0.1])
def test_readings_of_no_power_are_left_out_and_said(blocked: float) -> None:
    readings = every(0.1, 20, lambda t: blocked if round(t * 10) % 5 == 0 else 50.0)
    found = integrate(power(*readings), 5 * S, 15 * S)
    assert (found.energy_j, found.reasons) == (pytest.approx(500), ("zero_reading",))


def test_zeros_outside_of_the_window_do_not_concern_it() -> None:
    found = integrate(power(*every(0.1, 20, lambda t: 0.0 if t < 4 else 50.0)), 5 * S, 15 * S)
    assert found.reasons == ()


def test_nothing_but_zeros_is_no_figure() -> None:
    found = integrate(power(*every(0.1, 20, lambda _: 0.0)), 5 * S, 15 * S)
    assert (found.energy_j, found.reasons) == (None, ("border_not_covered",))


@pytest.mark.parametrize(
    ("opened", "closed", "side"), [(0.5, 5, "before"), (2, 9.5, "after"), (0, 20, "before"), (30, 31, "after")]
)
def test_readings_that_do_not_reach_a_border_give_no_figure(opened: float, closed: float, side: str) -> None:
    found = integrate(power(*[(t, 50.0) for t in range(1, 10)]), round(opened * S), round(closed * S))
    assert (found.energy_j, found.reasons) == (None, ("border_not_covered",))
    assert found.why == f"p gave no usable reading {side} the window"


def test_why_a_meter_gave_nothing_is_told() -> None:
    found = integrate(power((0, None), (1, None), fault="the bus is gone"), 0, S)
    assert found.why == "p gave no usable reading before the window: the bus is gone"
    assert integrate(power((0, 0.0), (1, 0.0)), 0, S).why.endswith("the window: it read 0 W or less")


@pytest.mark.parametrize(("first_s", "off"), [(7202, "7,200 s after"), (-7209, "7,200 s before")])
def test_a_clock_of_another_time_zone_is_told(first_s: int, off: str) -> None:
    found = integrate(power(*[(first_s + t, 50.0) for t in range(10)]), 0, 2 * S)
    assert found.reasons == ("border_not_covered",)
    assert found.why.endswith(f": its nearest is {off} it; check the clock and the time zone of its rows")


@pytest.mark.parametrize(
    ("hole_s", "period_s", "reasons"), [(2.9, 0.1, ()), (3.1, 0.1, ("gap",)), (9, 1.0, ()), (11, 1.0, ("gap",))]
)
def test_a_gap_is_longer_than_three_seconds_or_ten_periods(
    hole_s: float, period_s: float, reasons: tuple[str, ...]
) -> None:
    readings = [*every(0.1, 10, lambda _: 50.0), *((10 + hole_s + t, w) for t, w in every(0.1, 10, lambda _: 50.0))]
    found = integrate(power(*readings, period_s=period_s), 5 * S, round((15 + hole_s) * S))
    assert found.reasons == reasons
    assert found.gap_max_ns == pytest.approx(hole_s * S)


@pytest.mark.parametrize(("seconds", "reasons"), [(3.5, ("too_few_readings",)), (4.5, ())])
def test_a_window_needs_forty_updates_of_a_counter(seconds: float, reasons: tuple[str, ...]) -> None:
    slow = counter(
        *every(0.05, 20, lambda t: 100.0 + round(t * 10, 6) // 1), update_s=0.001
    )  # moves ten times a second
    fast = counter(*every(0.05, 20, lambda t: 100.0 + t), update_s=0.1)
    for series in (slow, fast):
        assert integrate(series, S, round((1 + seconds) * S)).reasons == reasons


def test_sampled_power_needs_forty_samples() -> None:
    assert integrate(power(*every(0.5, 60, lambda t: 50 + t)), S, 20 * S).reasons == ("too_few_readings",)
    assert integrate(power(*every(0.5, 60, lambda t: 50 + t)), S, 29 * S).reasons == ()


def test_readings_may_come_in_any_order_and_twice() -> None:
    ordered = every(0.1, 20, lambda t: 50 + t)
    assert integrate(power(*reversed(ordered), *ordered), S, 19 * S) == integrate(power(*ordered), S, 19 * S)


@pytest.mark.parametrize("closed_ns", [5, 4])
def test_a_window_that_does_not_end_after_its_start_is_an_error(closed_ns: int) -> None:
    with pytest.raises(ValueError, match="before it begins"):
        integrate(power((0, 1), (10, 1)), 5, closed_ns)


watts = st.floats(0.01, 1000, allow_nan=False)
knots = st.lists(st.tuples(st.integers(1, 5 * S), watts), min_size=2, max_size=30)
shares = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


def walk(steps: list[tuple[int, float]]) -> list[tuple[int, float]]:
    times = accumulate(step for step, _ in steps)
    return [(t_ns, value) for t_ns, (_, value) in zip(times, steps, strict=True)]


def exact(points: list[tuple[int, float]], t_ns: int) -> float:
    """Energy from the first knot to `t_ns` of a power that is linear between knots, by its antiderivative."""
    total = 0.0
    for (a, start), (b, end) in pairwise(points):
        reach = min(t_ns, b) - a
        if reach > 0:
            total += (start * reach + (end - start) * reach * reach / (2 * (b - a))) / S
    return total


@given(knots, shares)
def test_any_piecewise_linear_power_is_integrated_exactly(steps: list[tuple[int, float]], at: Any) -> None:
    points = walk(steps)
    first, last = points[0][0], points[-1][0]
    opened, closed = sorted(first + round((last - first) * share) for share in at[:2])
    assume(opened < closed)
    found = integrate(Series("p", "power_w", "board", points), opened, closed).energy_j
    assert found == pytest.approx(exact(points, closed) - exact(points, opened), rel=1e-6, abs=1e-6)


@given(knots, shares, st.booleans())
def test_adjacent_windows_add_up(steps: list[tuple[int, float]], at: Any, counts: bool) -> None:
    points = walk(steps)
    if counts:
        points = list(zip((t for t, _ in points), accumulate(v for _, v in points), strict=True))
    series = Series("m", "energy_j" if counts else "power_w", "board", points)
    first, last = points[0][0], points[-1][0]
    a, b, c = sorted(first + round((last - first) * share) for share in at)
    assume(a < b < c)
    parts = [integrate(series, *window).energy_j for window in ((a, b), (b, c), (a, c))]
    assume(None not in parts)  # a share of a step too small for a float stands still
    assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-6, abs=1e-6)  # type: ignore[operator]


@given(st.lists(st.floats(0, 49), min_size=2, max_size=60), st.floats(0, 99.9))
def test_a_counter_with_wraps_equals_the_unwrapped_one(rises: list[float], start: float) -> None:
    totals = list(accumulate(rises, initial=start))
    assume(totals[-1] - totals[0] > 0.01)
    window = (S // 2, (len(totals) - 1) * S)
    whole = integrate(counter(*enumerate(totals)), *window)
    wrapped = integrate(counter(*enumerate(total % 100 for total in totals), wrap_j=100), *window)
    assume(whole.energy_j is not None)
    assert wrapped.energy_j == pytest.approx(whole.energy_j, rel=1e-6, abs=1e-6)


WINDOW = (5 * S, 15 * S)


def test_net_energy_is_over_what_the_idle_machine_draws() -> None:
    series = counter(*every(0.1, 20, lambda t: 50.0 * t))
    section = account([series], {"c": Idle(20.0)}, {}, *WINDOW)
    assert (section.method, section.meter, section.scope) == ("counter", "c", "board")
    assert section.energy_j == pytest.approx(500)
    assert section.net_energy_j == pytest.approx(300)
    assert (section.idle_w, section.power_valid, section.power_reasons) == (20.0, True, ())
    assert section.missing["check_j"] == "no second meter of the same scope"


def test_net_energy_is_never_negative() -> None:
    section = account([power(*every(0.1, 20, lambda _: 10.0))], {"p": Idle(20.0)}, {}, *WINDOW)
    assert section.net_energy_j is None
    assert section.missing["net_energy_j"] == "100 J are less than the idle machine's 20 W in that time"
    assert (section.power_valid, section.power_reasons) == (True, ("below_idle",))


def test_without_idle_power_there_is_no_net_energy() -> None:
    series = power(*every(0.1, 20, lambda _: 10.0))
    section = account([series], {"p": Idle(None, "it was busy")}, {}, *WINDOW)
    assert (section.net_energy_j, section.missing["net_energy_j"]) == (None, "it was busy")
    assert (section.power_valid, section.power_reasons) == (True, ("idle_not_measured",))


@pytest.mark.parametrize(("watts", "reasons"), [(51.0, ()), (49.0, ()), (53.0, ("disagrees",)), (47.0, ("disagrees",))])
def test_a_counter_is_checked_by_sampled_power(watts: float, reasons: tuple[str, ...]) -> None:
    series = [counter(*every(0.1, 20, lambda t: 50.0 * t)), power(*every(0.1, 20, lambda _: watts))]
    section = account(series, {"c": Idle(1.0)}, {}, *WINDOW)
    assert section.energy_j == pytest.approx(500)
    assert section.check_j == pytest.approx(10 * watts)
    assert (section.power_valid, section.power_reasons) == (not reasons, reasons)


def test_meters_of_different_scope_are_no_check_of_each_other() -> None:
    wall = Series("wall", "power_w", "wall", power(*every(0.1, 20, lambda _: 400.0)).readings, shared=True)
    section = account([wall, counter(*every(0.1, 20, lambda t: 50.0 * t))], {"wall": Idle(1.0)}, {}, *WINDOW)
    assert (section.meter, section.check_j, section.power_reasons) == ("wall", None, ("shared_meter",))
    assert section.power_valid


def test_the_next_meter_stands_in_for_one_that_gives_no_figure() -> None:
    stuck = counter(*every(0.1, 20, lambda _: 7.0))
    section = account([stuck, power(*every(0.1, 20, lambda _: 50.0))], {}, {}, *WINDOW)
    assert (section.method, section.meter, section.energy_j) == ("sampled", "p", pytest.approx(500))
    assert section.missing["check_j"] == "c: its counter stood still in the window"


def test_meters_that_give_no_figure_say_why() -> None:
    stuck = counter(*every(0.1, 20, lambda _: 7.0))
    section = account([stuck], {}, {"rapl": "no RAPL here"}, *WINDOW)
    assert (section.method, section.meter, section.energy_j) == ("none", "c", None)
    assert (section.power_valid, section.power_reasons) == (False, ("zero_reading",))
    assert section.missing["energy_j"] == "c: its counter stood still in the window; rapl: no RAPL here"


@pytest.mark.parametrize(("forbidden", "reasons"), [(False, ()), (True, ("no_permission",))])
def test_without_meters_the_record_says_why_of_each(forbidden: bool, reasons: tuple[str, ...]) -> None:
    section = account([], {}, {"rapl": "no RAPL here", "nvml": "no library"}, *WINDOW, forbidden)
    assert (section.method, section.meter, section.power_valid) == ("none", "none", None)
    assert section.power_reasons == reasons
    assert section.missing["energy_j"] == "rapl: no RAPL here; nvml: no library"


def test_every_number_of_the_section_that_is_missing_has_a_reason() -> None:
    every_way = [
        account([], {}, {}, *WINDOW),
        account([power(*every(0.1, 20, lambda _: 10.0))], {}, {}, *WINDOW),
        account([power((0, 1.0))], {}, {}, *WINDOW),
    ]
    for section in every_way:
        again = Energy.model_validate_json(section.model_dump_json())
        assert {name for name, value in again if value is None} <= {name for name, why in again.missing.items() if why}


def test_the_readings_of_the_window_are_kept_as_a_table() -> None:
    scoped = Series("odd, name", "power_w", "board", [(t * S, float(t) if t != 7 else None) for t in range(20)])
    rows = list(csv.DictReader(io.StringIO(energy.readings_text([scoped], *WINDOW))))
    assert [int(row["t_ns"]) for row in rows] == [n * S for n in range(11)]
    assert [row["value"] for row in rows][:4] == ["5.0", "6.0", "", "8.0"]
    assert rows[0]["meter"] == "odd, name"
    assert energy.readings_text([], *WINDOW) == ""
