"""The search for the highest rate, against rates that are known."""

from __future__ import annotations

import itertools
import json
import math
from array import array
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import arrivals, server
from bench.arrivals import Arrived, open_loop, schedule
from bench.protocol import Effort
from bench.scenarios import Server
from bench.server import ATTEMPTS_MAX, PROBES_MAX, Bound, Probe, Run, Traffic, search
from results import record
from results.early_stopping import passes
from tests.unit.test_arrivals import MS, SECOND, Alone, Serving, feeds
from workloads.contract import Unsupported

EFFORT = Effort(warmup_max_s=0, min_duration_s=10, min_queries=2048, max_duration_s=60)


def known(limit_per_s, asked):
    """Every rate up to `limit_per_s` keeps the bounds."""

    def ask(rate_per_s):
        asked.append(rate_per_s)
        return Probe(rate_per_s, 100, 0, rate_per_s <= limit_per_s)

    return ask


@given(st.floats(1e-2, 1e6), st.floats(1 / 16, 0.999))
def test_the_search_finds_a_known_limit_in_six_probes(capacity_per_s, share):
    limit_per_s, asked = share * capacity_per_s, []
    rate_per_s, probes = search(capacity_per_s, known(limit_per_s, asked))
    assert [probe.rate_per_s for probe in probes] == asked
    assert len(probes) <= PROBES_MAX
    assert rate_per_s in asked
    assert rate_per_s <= limit_per_s * (1 + 1e-9)
    coarse = 1.06 if share > 0.25 else 1.2
    assert rate_per_s * coarse >= limit_per_s


@pytest.mark.parametrize("capacity_per_s", [0.5, 100, 1e5])
def test_where_no_rate_keeps_the_bound_four_probes_are_enough_to_say_so(capacity_per_s):
    asked = []
    rate_per_s, probes = search(capacity_per_s, known(0, asked))
    assert asked == [capacity_per_s / 2**n for n in (1, 2, 3, 4)]
    assert rate_per_s == asked[-1]
    assert not any(probe.met for probe in probes)


def test_rates_at_which_hardly_a_query_comes_are_not_tried():
    """An answer takes 5 s, and a probe 2 s at most: even half of the capacity is 0.2 queries in a probe."""
    assert search(0.2, known(0, []), least_per_s=1.0) == (0.2, [])
    rate_per_s, probes = search(3.0, known(0, []), least_per_s=1.0)
    assert (rate_per_s, len(probes)) == (0.75, 2)


@given(st.integers(1, 300_000), st.sampled_from(["50", "90", "95", "99", "99.5", "99.9", "99.99", "100"]))
def test_a_bound_allows_what_proves_it_and_in_a_short_run_its_share_of_queries(queries, percentile):
    allowed, p = Bound.of(10, float(percentile), queries).allowed, float(percentile) / 100
    share = math.floor(queries * (100 - Fraction(percentile)) / 100)
    if allowed < share:
        assert passes(queries, allowed, p)
        assert not passes(queries, allowed + 2, p)  # at most one fewer than LoadGen's exact count
    else:
        assert allowed == share
        assert not passes(queries, 1, p) or p == 1


@pytest.mark.parametrize(
    ("rate_per_s", "effort", "percentile", "queries"),
    [
        (1000, EFFORT, 99, 10_000),  # the duration decides
        (100, EFFORT, 99, 2048),  # the count decides
        (100, EFFORT, 99.9, 3000),  # the percentile decides: three may be over
        (10, EFFORT, 99, 600),  # the longest duration decides
        (0.001, EFFORT, 99, 1),
        (1000, replace(EFFORT, min_queries=64), 100, 10_000),
    ],
)
def test_a_run_is_as_long_as_its_effort_says(rate_per_s, effort, percentile, queries):
    assert server._queries(rate_per_s, effort, percentile) == queries


# --- traffic in virtual time


def traffic(services_ns, *bounds, seed=7):
    clock = Alone()
    session = Serving(clock, services_ns)
    asked = partial(open_loop, clock=clock, wait=clock.wait)
    return Traffic(session, feeds, bounds, seed, asked), session


def highest_rate_per_s(service_ns, bound_ns, share_over):
    """Of a queue with one server and deterministic services, by Lindley's recursion on 200,000 arrivals."""
    low, high = 0.0, SECOND / service_ns
    unit = np.array(schedule(1, 200_000, "reference")) / SECOND
    for _ in range(12):
        rate_per_s = (low + high) / 2
        late = np.arange(len(unit)) * service_ns
        due = unit / rate_per_s * SECOND
        done = np.maximum.accumulate(due - late) + late + service_ns
        if np.mean(done - due > bound_ns) <= share_over:
            low = rate_per_s
        else:
            high = rate_per_s
    return low


@pytest.mark.parametrize(("service_ms", "bound_ms"), [(10, 30), (2, 20), (5, 11)])
def test_the_search_finds_the_rate_that_queueing_theory_allows(service_ms, bound_ms):
    offered, _session = traffic(itertools.repeat(service_ms * MS), (bound_ms, 99.0))
    rate_per_s, probes = search(1000 / service_ms, lambda rate: offered.probe(rate, EFFORT))
    allowed_per_s = highest_rate_per_s(service_ms * MS, bound_ms * MS, 0.01)
    assert rate_per_s == pytest.approx(allowed_per_s, rel=0.15)
    assert len(probes) <= PROBES_MAX


def test_of_several_bounds_the_tightest_decides_and_is_the_one_that_is_told():
    offered, _session = traffic(itertools.repeat(10 * MS), (1000.0, 99.0), (30.0, 90.0), (30.0, 50.0))
    run = offered.run(90, EFFORT, to_the_end=True)
    late = sum(latency > 30 * MS for latency in run.arrived.latencies)
    assert (run.bound.latency_ms, run.bound.percentile, run.over) == (30.0, 90.0, late)
    assert not run.met


def test_no_two_runs_have_the_same_arrivals(monkeypatch):
    seeds = []
    monkeypatch.setattr(arrivals, "schedule", lambda *given: seeds.append(given[2]) or schedule(*given))
    first, _ = traffic(itertools.repeat(MS), (30.0, 99.0))
    second, _ = traffic(itertools.repeat(MS), (30.0, 99.0), seed=8)
    for offered in (first, second):
        search(1000, lambda rate, offered=offered: offered.probe(rate, EFFORT))
        offered.run(500, EFFORT, to_the_end=True)
    assert len(set(seeds)) == len(seeds) > 4


def test_a_probe_is_given_up_as_soon_as_too_many_are_late():
    offered, session = traffic(itertools.repeat(100 * MS), (5.0, 99.0))
    probe = offered.probe(5, EFFORT)
    assert (probe.queries, probe.over, probe.met) == (1, 1, False)
    offered, session = traffic(itertools.repeat(100 * MS), (5.0, 50.0))
    assert offered.probe(5, EFFORT).queries == 17  # 16 late ones of 50 prove a median
    assert len(session.asked) == 17


def test_an_over_saturated_probe_ends_when_its_queue_is_late():
    """150 queries per second on a server for 100: the wait passes 50 ms within a second."""
    offered, session = traffic(itertools.repeat(10 * MS), (50.0, 99.0))
    probe = offered.probe(150, EFFORT)
    assert not probe.met
    assert len(session.asked) < 100


def test_a_probe_is_no_longer_than_ten_seconds():
    offered, _session = traffic(itertools.repeat(MS), (50.0, 99.0))
    probe = offered.probe(20, replace(EFFORT, min_duration_s=600, max_duration_s=7200))
    assert probe == Probe(20, 200, 0, True)


# --- the window


class Witness:
    def __init__(self):
        self.calls = []

    def open(self):
        self.calls.append("open")

    def close(self):
        self.calls.append("close")


class Scripted:
    """Windows that keep the bounds or not, as told."""

    def __init__(self, *kept):
        self.kept, self.asked = iter(kept), []

    def run(self, rate_per_s, effort, to_the_end):
        self.asked.append((round(rate_per_s, 6), to_the_end))
        arrived = Arrived(array("q", [MS] * 10), array("q", range(10)), 0, SECOND)
        return Run(rate_per_s, rate_per_s, arrived, Bound(5.0, 99.0, 0), 0 if next(self.kept) else 3)


def windows(scripted, attempts_max):
    witness, phases = Witness(), []
    steps = server._windows(scripted, 100.0, EFFORT, attempts_max, witness)
    while True:
        try:
            phases.append(next(steps))
        except StopIteration as end:
            return *end.value, phases, witness.calls


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ([True], [(100.0, False)]),
        ([False, True], [(100.0, False), (90.0, False)]),
        ([False, False, True], [(100.0, False), (90.0, False), (81.0, True)]),
        ([False, False, False], [(100.0, False), (90.0, False), (81.0, True)]),
    ],
)
def test_a_window_that_does_not_confirm_the_rate_is_followed_by_a_slower_one(kept, asked):
    scripted = Scripted(*kept)
    run, attempts, phases, calls = windows(scripted, ATTEMPTS_MAX)
    assert scripted.asked == asked
    assert (attempts, run.met) == (len(kept), kept[-1])
    assert phases == ["measure"] * len(kept)
    assert calls == ["open", "close"] * len(kept)


def test_a_rate_that_was_given_has_one_window_whatever_comes():
    scripted = Scripted(False)
    run, attempts, _phases, _calls = windows(scripted, 1)
    assert scripted.asked == [(100.0, True)]
    assert (attempts, run.met, run.over) == (1, False, 3)


def test_a_rate_at_which_hardly_a_query_would_come_is_refused():
    sut = SimpleNamespace(job=SimpleNamespace(effort=EFFORT), scenario=Server(0.03))
    with pytest.raises(Unsupported, match=r"at 0.03/s .* 2 queries come in the profile's longest window, 60 s: give a"):
        next(server.drive(sut, None, 1, None))


def test_the_section_is_that_of_a_record():
    run = Scripted(False).run(50.0, EFFORT, to_the_end=True)
    load = run.load(True, 3, [Probe(60.0, 100, 7, False), Probe(30.0, 100, 0, True)])
    read = record.Load.model_validate_json(json.dumps(load), strict=True)
    assert (read.over, read.attempts, read.searched, read.lag_p99_ns, read.lag_max_ns) == (3, 3, True, 9, 9)
    assert [probe.met for probe in read.probes] == [False, True]
    assert record.Load.model_validate_json(json.dumps(run.load(False, 1, []))).searched is False


def test_what_was_issued_is_what_the_timer_let_out():
    """A timer that is 200 ms late at the last of 20 queries in two seconds: 20 were issued in 2.2 s."""
    clock = Alone()
    session = Serving(clock, itertools.repeat(MS))
    delays = iter([0] * 19 + [200 * MS])
    late = partial(open_loop, clock=clock, wait=lambda t_ns: clock.wait(t_ns + next(delays)))
    effort = Effort(0, 2, 20, 2)
    run = Traffic(session, feeds, [(500.0, 99.0)], 1, late).run(10, effort, to_the_end=True)
    assert run.issued_per_s == pytest.approx(20 / 2.2)
    assert run.met
