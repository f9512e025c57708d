"""The clock check, on clocks whose faults are known."""

from __future__ import annotations

import os
import time
from itertools import count

import pytest

from bench.selfcheck import clock
from bench.selfcheck.clock import epoch, gaps, lateness, rates, readings


def ticking(step_ns, start_ns=0):
    """A clock that advances by `step_ns` with each reading."""
    values = count(start_ns, step_ns)
    return lambda: next(values)


class Time:
    """A clock of its own that only sleeping, and each reading, advances."""

    def __init__(self, reading_ns=0, late_ns=0):
        self.now_ns, self.reading_ns, self.late_ns = 0, reading_ns, late_ns

    def __call__(self):
        self.now_ns += self.reading_ns
        return self.now_ns

    def sleep(self, duration_s):
        self.now_ns += round(duration_s * 1e9) + self.late_ns


def by_what(rows):
    return {row.what: row for row in rows}


@pytest.mark.parametrize(("step_ns", "verdict"), [(30, "agrees"), (500, "agrees"), (501, "differs")])
def test_two_readings_may_cost_a_microsecond(step_ns, verdict):
    row = by_what(readings(ticking(step_ns)))["two readings, as a sample takes"]
    assert (row.found, row.verdict) == (f"{2 * step_ns} ns", verdict)


def test_a_coarse_clock_differs_however_cheap_it_is():
    """Eight readings in ten give the same value, as a clock that only the timer interrupt advances."""
    coarse = ticking(1)
    rows = by_what(readings(lambda: coarse() // 10 * 4_000_000))
    assert rows["smallest step of perf_counter"].found == "4000000 ns"
    assert rows["smallest step of perf_counter"].verdict == "differs"
    assert rows["two readings, as a sample takes"].verdict == "agrees"


def test_a_clock_that_goes_back_once_differs():
    steady = ticking(100)
    back_at = clock.READINGS + 50
    values = (steady() - (10_000 if number >= back_at else 0) for number in count())
    row = by_what(readings(lambda: next(values)))["readings that went back"]
    assert (row.found, row.verdict) == ("1", "differs")


def test_moving_over_processors_leaves_the_process_where_it_was_allowed():
    usable = os.sched_getaffinity(0)
    rows = by_what(readings(ticking(100)))
    assert rows["readings that went back"].verdict == "agrees"
    assert os.sched_getaffinity(0) == usable


def test_one_clock_by_two_names_has_one_epoch_and_two_clocks_have_not():
    one = ticking(10)
    assert (epoch(one, one).verdict, epoch(one, one).found) == ("agrees", "0 ns")
    assert epoch(ticking(10, 5_000_000), ticking(10)).verdict == "differs"
    assert epoch(time.perf_counter_ns, time.monotonic_ns).verdict == "agrees"


@pytest.mark.parametrize(("ppm", "verdict"), [(0, "agrees"), (300, "agrees"), (-400, "agrees"), (600, "differs")])
def test_the_rate_is_given_in_parts_per_million_and_ntp_may_slew_500(ppm, verdict):
    reference = Time()
    (row,) = rates(lambda: round(reference.now_ns * (1 + ppm / 1e6)), {"CLOCK": reference}, reference.sleep)
    assert (row.found, row.verdict) == (f"{ppm:+.1f} ppm", verdict)


@pytest.mark.parametrize(("late_ns", "verdict"), [(60_000, "agrees"), (1_500_000, "noisy")])
def test_lateness_is_what_sleeping_takes_longer_than_asked(late_ns, verdict):
    slow = Time(late_ns=late_ns)
    row = lateness(slow, slow.sleep)
    assert (row.found, row.verdict) == (f"{late_ns / 1e3:.0f} µs", verdict)


def test_a_process_that_is_kept_from_running_sees_how_long_and_how_much():
    """100 ms away after every 900 ms of readings that take 1 µs."""
    steps = (100_000_000 if number % 900_000 == 899_999 else 1_000 for number in count())
    now = 0

    def interrupted():
        nonlocal now
        now += next(steps)
        return now

    row = gaps(interrupted)
    assert (row.found, row.verdict) == ("10.00 %", "noisy")
    assert row.detail.startswith("longest 100000 µs of 1 gaps")


def test_a_process_that_always_runs_has_no_gaps():
    row = gaps(ticking(1_000))
    assert (row.found, row.verdict) == ("0.00 %", "agrees")
    assert row.detail.startswith("longest 0 µs of 0 gaps")
