"""Is the clock that times everything fine, cheap, monotonic and right, and does the machine let this process run?"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from statistics import median

from bench.measure import CLOCK, Clock, no_collections
from bench.selfcheck.contract import Asked, Check, Row, judged

FINE_NS = 1_000
"""A hundredth of 100 µs, about the shortest query that is worth timing: both of its readings together."""
SLEW_MAX_PPM = 500.0
"""The most that the kernel slews a clock by for NTP (adjtimex(2); MAXFREQ in linux/timex.h)."""
LATE_MAX_NS = 1_000_000
"""A query that is issued later than this is late by more than 5 % of a bound of 20 ms: too late for `server`."""
GAP_NS = 10_000
"""An interrupt takes less, another process that is given the processor more."""
AWAY_MAX_SHARE = 0.05
"""What results/checks.py lets others take of the processor's time."""
REFERENCES = {"CLOCK_MONOTONIC_RAW": time.CLOCK_MONOTONIC_RAW, "CLOCK_REALTIME": time.CLOCK_REALTIME}
READINGS = 20_000
SPAN_S = 1.0
SLEEP_S, SLEEPS = 0.001, 500


class ClockCheck(Check):
    name = "clock"
    doing = "reading clocks, sleeping and spinning"

    def takes_s(self, asked: Asked) -> float:
        return 2 * SPAN_S + 1.2 * SLEEPS * SLEEP_S

    def rows(self, asked: Asked) -> Iterator[Row]:
        yield from readings(CLOCK)
        yield epoch(CLOCK, time.monotonic_ns)
        yield from rates(CLOCK, {name: partial(time.clock_gettime_ns, number) for name, number in REFERENCES.items()})
        yield lateness(CLOCK, time.sleep)
        yield gaps(CLOCK)


def readings(clock: Clock) -> Iterator[Row]:
    """How far apart two readings are, and whether one ever goes back, on one processor and from one to the next."""
    values = array("q", (clock() for _ in range(READINGS)))
    steps = [after - before for before, after in pairwise(values)]
    claimed_ns = time.get_clock_info("perf_counter").resolution * 1e9
    yield _at_most(
        "smallest step of perf_counter",
        min((step for step in steps if step > 0), default=values[-1]),
        f"resolution as claimed: {claimed_ns:g} ns",
    )
    yield _at_most("two readings, as a sample takes", 2 * median(steps), f"median of {READINGS}")
    values.extend(clock() for _ in _processors() for _ in range(100))
    back = sum(after < before for before, after in pairwise(values))
    where = f"of {len(values)}, moving over {len(os.sched_getaffinity(0))} processors"
    yield Row("readings that went back", judged(back == 0), str(back), bound="0", detail=where)


def _at_most(what: str, found_ns: float, detail: str) -> Row:
    bound = f"at most {FINE_NS} ns"
    return Row(what, judged(found_ns <= FINE_NS), f"{found_ns:.0f} ns", bound=bound, detail=detail)


def _processors() -> Iterator[int]:
    """Stay on one usable processor after the other, three times around; then on any of them again."""
    usable = os.sched_getaffinity(0)
    try:
        for number in sorted(usable) * 3:
            os.sched_setaffinity(0, {number})
            yield number
    finally:
        os.sched_setaffinity(0, usable)


def epoch(clock: Clock, monotonic: Clock) -> Row:
    """A worker's marks are joined with its parent's readings of CLOCK_MONOTONIC: the two have to be one clock."""
    bracketed = [(clock(), monotonic(), clock()) for _ in range(1000)]
    apart_ns = max(max(before - other, other - after, 0) for before, other, after in bracketed)
    what = "perf_counter from CLOCK_MONOTONIC"
    return Row(what, judged(apart_ns == 0), f"{apart_ns} ns", bound="0 ns", detail="epoch, joined with the parent's")


def rates(
    clock: Clock, references: Mapping[str, Clock], sleep: Callable[[float], object] = time.sleep
) -> Iterator[Row]:
    """How much faster the clock runs than each reference. CLOCK_MONOTONIC_RAW is never slewed, CLOCK_REALTIME set."""
    before = {name: _together(clock, reference) for name, reference in references.items()}
    sleep(SPAN_S)
    for name, reference in references.items():
        (ours_ns, theirs_ns), (began_ns, theirs_began_ns) = _together(clock, reference), before[name]
        ppm = 1e6 * ((ours_ns - began_ns) / (theirs_ns - theirs_began_ns) - 1)
        what, bound = f"rate of perf_counter to {name}", f"{-SLEW_MAX_PPM:g} to {SLEW_MAX_PPM:g} ppm"
        yield Row(what, judged(abs(ppm) <= SLEW_MAX_PPM), f"{ppm:+.1f} ppm", bound=bound)


def _together(clock: Clock, reference: Clock) -> tuple[float, int]:
    """Readings of the two at one moment: the most closely bracketed ones of many."""
    bracketed = [(clock(), reference(), clock()) for _ in range(200)]
    before, other, after = min(bracketed, key=lambda one: one[2] - one[0])
    return (before + after) / 2, other


def lateness(clock: Clock, sleep: Callable[[float], object]) -> Row:
    """How much later than asked a sleeping process is woken: the least by which an open loop issues late."""
    late = []
    for _ in range(SLEEPS):
        due_ns = clock() + round(SLEEP_S * 1e9)
        sleep(SLEEP_S)
        late.append(clock() - due_ns)
    late.sort()
    p50_ns, p99_ns = late[SLEEPS // 2], late[SLEEPS * 99 // 100]
    verdict = judged(p99_ns <= LATE_MAX_NS, "noisy")
    detail = f"p50 {p50_ns / 1e3:.0f} µs, longest {late[-1] / 1e3:.0f} µs of {SLEEPS} sleeps of {SLEEP_S * 1e3:g} ms"
    bound = f"at most {LATE_MAX_NS / 1e3:g} µs"
    return Row("lateness of waking up, p99", verdict, f"{p99_ns / 1e3:.0f} µs", bound=bound, detail=detail)


def gaps(clock: Clock) -> Row:
    """How much of the time a process that never waits was kept from running, by others or by the host."""
    away = array("q", [0])
    with no_collections():
        began = last = clock()
        end = began + round(SPAN_S * 1e9)
        while last < end:
            now = clock()
            if now - last > GAP_NS:
                away.append(now - last)
            last = now
    share = sum(away) / (last - began)
    verdict = judged(share <= AWAY_MAX_SHARE, "noisy")
    detail = f"longest {max(away) / 1e3:.0f} µs of {len(away) - 1} gaps over {GAP_NS / 1e3:g} µs in {SPAN_S:g} s"
    found, bound = f"{100 * share:.2f} %", f"at most {100 * AWAY_MAX_SHARE:g} %"
    return Row("kept from running while spinning", verdict, found, bound=bound, detail=detail)
