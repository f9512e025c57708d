"""The open loop against sessions in virtual time, and against what queueing theory says of them."""

from __future__ import annotations

import ctypes
import gc
import heapq
import itertools
import threading
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import Session
from bench import queries
from bench.arrivals import DRAIN_MAX_S, PR_GET_TIMERSLACK, fine_timer, open_loop, schedule

MS = 1_000_000
SECOND = 1_000_000_000


class Alone:
    """Virtual time of one thread: it stands still unless that waits or works."""

    def __init__(self):
        self.now_ns = 5 * SECOND

    def __call__(self):
        return self.now_ns

    def wait(self, t_ns):
        self.now_ns = max(self.now_ns, t_ns)


class Together:
    """Virtual time of several threads: it goes on to the earliest waking once all of them wait."""

    def __init__(self, threads):
        self.now_ns, self.threads = 5 * SECOND, threads
        self.sleepers, self.numbers = [], itertools.count()
        self.changed = threading.Condition()

    def __call__(self):
        return self.now_ns

    def wait(self, t_ns):
        with self.changed:
            me = (t_ns, next(self.numbers))
            heapq.heappush(self.sleepers, me)
            self.changed.notify_all()
            while not (self.sleepers[0] == me and len(self.sleepers) == self.threads):
                self.changed.wait()
            heapq.heappop(self.sleepers)
            self.now_ns = max(self.now_ns, t_ns)
            self.changed.notify_all()

    def leave(self):
        with self.changed:
            self.threads -= 1
            self.changed.notify_all()


class Serving(Session):
    """Run number i takes the i-th of `services_ns`; `leave` is called where a chain finds nothing more to do."""

    def __init__(self, clock, services_ns, inflight=1):
        self.clock, self.services, self.inflight = clock, iter(services_ns), inflight
        self.under_way, self.most, self.asked = 0, 0, []

    def run(self, values):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.asked.append(values)
        self.clock.wait(self.clock.now_ns + next(self.services))
        self.under_way -= 1
        return values


def feeds(count=1, clock=None):
    made = [{"x": np.array([[i]])} for i in range(5)]
    return [(queries.feed(made, {}, 1, start)) for start in range(count)]


def run(services_ns, offsets_ns, **options):
    clock = Alone()
    session = Serving(clock, services_ns)
    return open_loop(session, feeds(), array("q", offsets_ns), clock=clock, wait=clock.wait, **options), session


def lindley(services_ns, offsets_ns):
    """Latencies of a queue with one server, first come first served: D. V. Lindley, 1952."""
    latencies, free_ns = [], 0
    for due_ns, service_ns in zip(offsets_ns, services_ns, strict=False):
        free_ns = max(due_ns, free_ns) + service_ns
        latencies.append(free_ns - due_ns)
    return latencies


def kiefer_wolfowitz(service_ns, offsets_ns, servers):
    """As `lindley` with several servers: J. Kiefer and J. Wolfowitz, 1955."""
    free, latencies = [0] * servers, []
    for due_ns in offsets_ns:
        done_ns = max(due_ns, heapq.heappop(free)) + service_ns
        heapq.heappush(free, done_ns)
        latencies.append(done_ns - due_ns)
    return latencies


# --- the schedule


@given(st.floats(0.01, 1e5), st.integers(1, 3000), st.integers())
def test_the_rate_that_is_offered_is_the_one_that_was_asked_for(rate_per_s, count, seed):
    offsets = schedule(rate_per_s, count, seed)
    assert len(offsets) == count
    assert list(offsets) == sorted(offsets)
    assert offsets[0] >= 0
    assert offsets[-1] == pytest.approx(count / rate_per_s * SECOND, abs=1, rel=1e-12)


@given(st.integers(), st.integers())
def test_a_seed_is_a_schedule_and_no_two_are_alike(one, other):
    assert schedule(100, 50, one) == schedule(100, 50, one)
    assert one == other or schedule(100, 50, one) != schedule(100, 50, other)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_exponential_and_independent(seed):
    """Kolmogorov-Smirnov at 0.1 %, and the correlation of neighbours; 40,000 gaps need more than one chunk."""
    count, rate_per_s = 40_000, 250.0
    gaps = np.diff(np.array(schedule(rate_per_s, count, seed))) * rate_per_s / SECOND
    expected = 1 - np.exp(-np.sort(gaps))
    ranks = np.arange(len(gaps)) / len(gaps)
    assert np.abs(expected - ranks).max() < 1.95 / np.sqrt(len(gaps))
    assert gaps.mean() == pytest.approx(1, rel=1e-3)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / np.sqrt(len(gaps))


# --- latencies


def test_a_stall_shows_in_every_query_that_was_due_in_it():
    """Coordinated omission: 100 queries per second, one run takes 1 s; a closed loop would show one late query."""
    offsets = [10 * MS * i for i in range(300)]
    services = [SECOND if i == 50 else MS for i in range(300)]
    arrived, _session = run(services, offsets)
    late = [latency for latency in arrived.latencies if latency > 2 * MS]
    assert len(late) == 111  # 100 were due in the stall, and its queue is worked off at 9 ms a query
    assert late[0] == SECOND
    assert late[1] == SECOND - 10 * MS + MS
    assert list(arrived.latencies) == lindley(services, offsets)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50 * MS), st.integers(0, 30 * MS)), min_size=1, max_size=60))
def test_one_chain_is_a_queue_with_one_server(pairs):
    offsets = list(itertools.accumulate(gap for gap, _service in pairs))
    services = [service for _gap, service in pairs]
    arrived, _session = run(services, offsets)
    assert list(arrived.latencies) == lindley(services, offsets)
    assert set(arrived.lags) == {0}
    assert arrived.closed_ns - arrived.opened_ns == offsets[-1] + arrived.latencies[-1]


def test_waiting_is_what_theory_says():
    """M/D/1 at 80 %: the mean wait is rho / (2 (1 - rho)) services (Pollaczek 1930, Khinchine 1932)."""
    count, rho, service_ns = 200_000, 0.8, MS
    offsets = schedule(rho * SECOND / service_ns, count, seed=3)
    arrived, _session = run(itertools.repeat(service_ns), offsets)
    waits = np.array(arrived.latencies) - service_ns
    assert waits.mean() / service_ns == pytest.approx(rho / (2 * (1 - rho)), rel=0.05)


@pytest.mark.parametrize("chains", [2, 3])
def test_several_chains_are_a_queue_with_as_many_servers(chains):
    clock = Together(chains)

    class Leaving(Serving):
        """A chain that asks for the next query after the last one has left."""

        def get(self, values):
            if next(numbers) > 400 - chains:
                clock.leave()
            return values

    numbers = itertools.count(1)
    session = Leaving(clock, itertools.repeat(10 * MS), chains)
    offsets = schedule(chains * 85, 400, seed=1)
    arrived = open_loop(session, feeds(chains), offsets, clock=clock, wait=clock.wait)
    assert list(arrived.latencies) == kiefer_wolfowitz(10 * MS, offsets, chains)
    assert session.most == chains
    assert max(arrived.latencies) > 10 * MS


def test_inputs_rotate_and_chains_with_feedback_keep_to_themselves():
    clock = Alone()

    class Adding(Serving):
        def run(self, values):
            super().run(values)
            return {"y": values["x"] + 1}

    session = Adding(clock, itertools.repeat(MS))
    made = [{"x": np.array([[100 * i]])} for i in range(3)]
    feed = queries.feed(made, {"y": "x"}, 4)
    open_loop(session, [feed], schedule(10, 9, 1), clock=clock, wait=clock.wait)
    assert [int(values["x"][0, 0]) for values in session.asked] == [0, 1, 2, 3, 100, 101, 102, 103, 200]


# --- lags


def test_a_timer_that_is_late_is_our_own_lag_and_counts_in_the_latency():
    clock = Alone()
    session = Serving(clock, itertools.repeat(MS))
    offsets = array("q", [10 * MS * i for i in range(1, 50)])
    late_ns = [70_000 if i == 20 else 5_000 for i in range(50)]
    waits = iter(late_ns)
    arrived = open_loop(session, feeds(), offsets, clock=clock, wait=lambda t_ns: clock.wait(t_ns + next(waits)))
    assert list(arrived.lags) == late_ns[:49]
    assert list(arrived.latencies) == [MS + lag for lag in arrived.lags]


def test_waiting_in_the_queue_is_no_lag():
    arrived, _session = run(itertools.repeat(7 * MS), [0] * 20)
    assert set(arrived.lags) == {0}
    assert list(arrived.latencies) == [7 * MS * i for i in range(1, 21)]


def test_an_engine_that_holds_the_interpreter_makes_the_load_late():
    class Hogging(Session):
        inflight = 2

        def run(self, values):
            ctypes.PyDLL(None).usleep(5000)
            return values

    arrived = open_loop(Hogging(), feeds(2), schedule(150, 60, seed=2))
    assert max(arrived.lags) > 2 * MS


# --- ends


def test_a_run_that_is_given_up_starts_nothing_more():
    told = []

    def third(latency_ns):
        told.append(latency_ns)
        return len(told) == 3

    offsets = [10 * MS * i for i in range(100)]
    services = [25 * MS if i in (10, 20, 30) else MS for i in range(100)]
    arrived, session = run(services, offsets, give_up=third, over_ns=20 * MS)
    assert told == [25 * MS] * 3
    assert len(arrived.latencies) == len(arrived.lags) == len(session.asked) == 31


def test_a_queue_that_is_not_worked_off_in_time_has_waited_for_as_long_as_we_know():
    """500 queries come in a second, and each takes one."""
    rate_per_s, service_ns = 500, SECOND
    offsets = [SECOND // rate_per_s * i for i in range(1, rate_per_s + 1)]
    arrived, session = run(itertools.repeat(service_ns), offsets)
    assert len(arrived.latencies) == rate_per_s
    assert len(session.asked) == pytest.approx(DRAIN_MAX_S + 1, abs=1)
    answered = len(session.asked)
    elapsed_ns = arrived.closed_ns - arrived.opened_ns
    assert list(arrived.latencies[answered:]) == [elapsed_ns - offset for offset in offsets[answered:]]
    assert min(arrived.latencies[answered:]) >= DRAIN_MAX_S * SECOND


@pytest.mark.parametrize("chains", [1, 3])
def test_what_a_run_raises_is_raised_and_no_thread_is_left(chains):
    class Failing(Session):
        inflight = chains
        count = 0

        def run(self, values):
            self.count += 1
            if self.count > 10:
                raise RuntimeError("device lost")
            return values

    with pytest.raises(RuntimeError, match="device lost"):
        open_loop(Failing(), feeds(chains), schedule(5000, 200, seed=1))
    assert [thread for thread in threading.enumerate() if thread.name == "arrivals"] == []
    assert gc.isenabled()


def test_a_session_that_overlaps_in_its_own_way_is_asked_in_that_way():
    class Submitting(Session):
        inflight = 2

        def run(self, values):
            raise AssertionError("submit is overridden")

        def submit(self, values, done):
            threading.Thread(target=done, args=({"y": values["x"]}, None)).start()

    arrived = open_loop(Submitting(), feeds(2), schedule(2000, 50, seed=1))
    assert len(arrived.latencies) == 50


def test_an_error_of_such_a_session_is_raised():
    class Submitting(Session):
        inflight = 2

        def run(self, values):
            raise AssertionError("submit is overridden")

        def submit(self, values, done):
            done(None, OSError("no power"))

    with pytest.raises(OSError, match="no power"):
        open_loop(Submitting(), feeds(2), schedule(2000, 50, seed=1))


def test_the_timer_is_fine_inside_and_as_before_after():
    prctl = ctypes.CDLL(None).prctl
    nothing = (ctypes.c_ulong(0),) * 4
    before = prctl(PR_GET_TIMERSLACK, *nothing)
    with fine_timer():
        assert prctl(PR_GET_TIMERSLACK, *nothing) == 1
    assert prctl(PR_GET_TIMERSLACK, *nothing) == before
