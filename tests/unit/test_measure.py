"""The timed loops against sessions and clocks whose times are programmed. No figure here depends on this machine."""

from __future__ import annotations

import gc
import heapq
import itertools
import random
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import Session
from bench import queries
from bench.measure import (
    WARMUP_BLOCKS,
    Enough,
    Steady,
    interval_level,
    latency_level,
    multi_stream,
    offline,
    settled,
    single_stream,
)
from bench.protocol import Effort

MS = 1_000_000


class Clock:
    """Stands still unless somebody works."""

    def __init__(self):
        self.now_ns = 1_000_000_000

    def __call__(self):
        return self.now_ns


class Programmed(Session):
    """Each run takes the next of `latencies_ns` on `clock`, of which put and get take 1000 each."""

    def __init__(self, clock, latencies_ns, inflight=1):
        self.clock, self.latencies, self.inflight = clock, iter(latencies_ns), inflight
        self.asked = []

    def put(self, arrays):
        self.clock.now_ns += 1000
        return arrays

    def run(self, values):
        self.asked.append(values)
        self.clock.now_ns += next(self.latencies) - 2000
        return values

    def get(self, values):
        self.clock.now_ns += 1000
        return values


class Overlapping(Session):
    """A device of `streams` in virtual time: earliest end first, callbacks from one thread of its own."""

    def __init__(self, clock, service_ns, streams):
        self.clock, self.service_ns, self.inflight = clock, service_ns, streams
        self.under_way, self.arrived = [], threading.Semaphore(0)
        self.count, self.most, self.fail_at = itertools.count(), 0, None
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def run(self, values):
        raise AssertionError("submit is overridden")

    def submit(self, values, done):
        with self.lock:
            number = next(self.count)
            heapq.heappush(self.under_way, (self.clock.now_ns + self.service_ns(number), number, values, done))
            self.most = max(self.most, len(self.under_way))
        self.arrived.release()

    def serve(self):
        for _ in range(self.inflight):  # the first completes once the pipeline is full
            self.arrived.acquire()
        while self.under_way:  # what a completion starts is submitted before `done` returns
            with self.lock:
                end_ns, number, values, done = heapq.heappop(self.under_way)
            self.clock.now_ns = max(self.clock.now_ns, end_ns)
            if number == self.fail_at:
                done(None, RuntimeError("device lost"))
            else:
                done(values, None)


def feeds(count=1, distinct=5):
    made = [{"x": np.array([[i]])} for i in range(distinct)]
    return [queries.feed(made, {}, 1, start) for start in range(count)]


def once(driver, session, feeds, limit, *clock):
    (timed,) = driver(session, feeds, [limit], *clock)
    return timed


def effort(min_s, queries_min, max_s):
    return Enough(Effort(0, min_s, queries_min, max_s))


def test_programmed_latencies_are_recovered_exactly():
    clock = Clock()
    programmed = [random.Random(i).randint(900_000, 1_100_000) for i in range(2000)]
    timed = once(single_stream, Programmed(clock, programmed), feeds(), effort(1, 1, 5), clock)
    assert list(timed.samples) == programmed[: len(timed.samples)]
    assert timed.duration_ns == sum(timed.samples)
    assert timed.duration_ns >= 1_000_000_000 > timed.duration_ns - timed.samples[-1]


def test_every_distinct_input_is_asked_for_in_turn():
    clock = Clock()
    session = Programmed(clock, itertools.repeat(MS))
    once(single_stream, session, feeds(distinct=7), effort(0.05, 1, 1), clock)
    assert [int(values["x"][0, 0]) for values in session.asked] == [i % 7 for i in range(50)]


@pytest.mark.parametrize(
    ("min_s", "queries_min", "max_s", "expected"),
    [
        (0.100, 1, 9, 100),  # the duration decides
        (0.001, 250, 9, 250),  # the count decides
        (0.100, 250, 0.150, 150),  # neither is met in time
        (0.0, 0, 0.0, 1),  # one query is always let through
        (5.0, 1, 0.02, 20),  # a maximum below the minimum wins
    ],
)
def test_the_window_closes_when_both_minima_are_met_and_never_later_than_the_maximum(
    min_s, queries_min, max_s, expected
):
    clock = Clock()
    timed = once(
        single_stream, Programmed(clock, itertools.repeat(MS)), feeds(), effort(min_s, queries_min, max_s), clock
    )
    assert len(timed.samples) == expected


def test_nothing_is_collected_in_the_window_and_collecting_is_as_before_after_it():
    clock, seen = Clock(), []

    class Watching(Programmed):
        def run(self, values):
            seen.append(gc.isenabled())
            return super().run(values)

    assert gc.isenabled()
    once(single_stream, Watching(clock, itertools.repeat(MS)), feeds(), effort(0.01, 1, 1), clock)
    assert gc.isenabled()
    assert not any(seen)


def test_collecting_is_as_before_after_an_error_too():
    class Broken(Programmed):
        def run(self, values):
            raise OSError("device lost")

    clock = Clock()
    with pytest.raises(OSError, match="device lost"):
        once(single_stream, Broken(clock, []), feeds(), effort(0.01, 1, 1), clock)
    assert gc.isenabled()


@pytest.mark.parametrize("streams", [1, 2, 3, 8])
def test_offline_counts_the_rate_of_a_device_with_overlap(streams):
    clock = Clock()
    session = Overlapping(clock, lambda _number: 4 * MS, streams)
    timed = once(offline, session, feeds(streams), effort(0.4, 1, 2), clock)
    session.close()
    assert len(timed.samples) / timed.duration_ns * 4 * MS == pytest.approx(streams)
    assert session.most == streams


def test_offline_completions_are_sorted_and_within_the_window():
    clock, rng = Clock(), random.Random(3)
    session = Overlapping(clock, lambda _number: rng.randint(MS, 9 * MS), 4)
    timed = once(offline, session, feeds(4), effort(2, 1, 9), clock)
    session.close()
    assert list(timed.samples) == sorted(timed.samples)
    assert timed.samples[0] > 0
    assert timed.samples[-1] <= timed.duration_ns
    # 4 streams of 5 ms on average: 800/s
    assert len(timed.samples) / timed.duration_ns * 1e9 == pytest.approx(800, rel=0.05)


def test_offline_opens_its_window_when_the_pipeline_is_full():
    """The first completions take 100 ms (a cold device), and none of them counts."""
    clock = Clock()
    session = Overlapping(clock, lambda number: 100 * MS if number < 3 else MS, 3)
    began = clock.now_ns
    timed = once(offline, session, feeds(3), effort(0.05, 1, 1), clock)
    session.close()
    assert timed.opened_ns == began + 100 * MS
    assert len(timed.samples) == 150


@pytest.mark.parametrize("fail_at", [0, 1, 2, 3, 50])
def test_an_error_in_a_callback_ends_offline_and_is_raised(fail_at):
    clock = Clock()
    session = Overlapping(clock, lambda _number: MS, 3)
    session.fail_at = fail_at
    with pytest.raises(RuntimeError, match="device lost"):
        once(offline, session, feeds(3), effort(10, 1, 20), clock)
    session.close()


def test_an_error_of_the_output_copy_ends_offline_and_is_raised():
    class Broken(Programmed):
        def get(self, values):
            raise OSError("copy failed")

    clock = Clock()
    session = Broken(clock, itertools.repeat(MS), inflight=2)
    with pytest.raises(OSError, match="copy failed"):
        once(offline, session, feeds(2), effort(0.01, 1, 1), clock)
    session.close()


def test_offline_on_a_session_with_plain_threads():
    class Plain(Session):
        inflight = 3

        def run(self, values):
            return values

    session = Plain()
    timed = once(offline, session, feeds(3), effort(0.0, 500, 5))
    session.close()
    assert len(timed.samples) >= 500
    assert (np.diff(timed.samples) >= 0).all()


def test_offline_stays_full_from_one_run_to_the_next():
    clock = Clock()
    session = Overlapping(clock, lambda _number: 4 * MS, 3)
    first, second = offline(session, feeds(3), [effort(0.4, 1, 2), effort(0.8, 1, 2)], clock)
    assert second.opened_ns == first.closed_ns
    assert (first.duration_ns, second.duration_ns) == (400 * MS, 800 * MS)
    assert (len(first.samples), len(second.samples)) == (300, 600)
    assert 0 < second.samples[0] <= 4 * MS


def test_single_stream_goes_on_with_the_next_input_in_the_next_run():
    clock = Clock()
    session = Programmed(clock, itertools.repeat(MS))
    limits = [effort(0.003, 1, 1), effort(0.004, 1, 1)]
    first, second = single_stream(session, feeds(distinct=5), limits, clock)
    assert (len(first.samples), len(second.samples)) == (3, 4)
    assert [int(values["x"][0, 0]) for values in session.asked] == [0, 1, 2, 3, 4, 0, 1]


def test_a_load_that_is_given_up_leaves_nothing_under_way():
    class Counting(Session):
        inflight, running, runs = 3, 0, 0

        def run(self, values):
            self.runs += 1
            return values

    session = Counting()
    load = offline(session, feeds(3), [effort(0.01, 1, 1), effort(60, 1, 60)])
    next(load)
    load.close()
    runs = session.runs
    session.close()
    assert session.runs == runs
    assert gc.isenabled()


# --- multi_stream


class Rounds(Overlapping):
    """As `Overlapping`, for queries of 8 runs each: nothing completes before as many as can are under way."""

    def serve(self):
        at_once = min(self.inflight, 8)
        while True:
            for _ in range(at_once):
                self.arrived.acquire()
            while self.under_way:
                with self.lock:
                    end_ns, number, values, done = heapq.heappop(self.under_way)
                self.clock.now_ns = max(self.clock.now_ns, end_ns)
                if number == self.fail_at:
                    done(None, RuntimeError("device lost"))
                    return
                last = not self.under_way and number % 8 == 7
                for _ in range(8 - at_once if last else 0):
                    self.arrived.acquire()
                done(values, None)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_a_query_of_multi_stream_takes_as_long_as_all_its_runs(parts):
    clock = Clock()
    session = Programmed(clock, itertools.repeat(3 * MS))
    timed = once(multi_stream, session, feeds(parts), effort(0.1, 10, 1), clock)
    assert set(timed.samples) == {parts * 3 * MS}
    assert len(session.asked) == parts * len(timed.samples)


@pytest.mark.parametrize(("inflight", "rounds"), [(2, 4), (3, 3), (4, 2), (8, 1), (20, 1)])
def test_runs_of_a_query_overlap_as_far_as_the_session_lets(inflight, rounds):
    clock = Clock()
    session = Rounds(clock, lambda _number: 4 * MS, inflight)
    timed = once(multi_stream, session, feeds(8), effort(0.1, 5, 1), clock)
    assert set(timed.samples) == {rounds * 4 * MS}
    assert session.most == min(inflight, 8)


@pytest.mark.parametrize("fail_at", [0, 5, 17])
def test_an_error_in_a_run_of_a_query_is_raised(fail_at):
    clock = Clock()
    session = Rounds(clock, lambda _number: MS, 2)
    session.fail_at = fail_at
    with pytest.raises(RuntimeError, match="device lost"):
        once(multi_stream, session, feeds(8), effort(10, 1, 20), clock)


@pytest.mark.parametrize("inflight", [1, 3])
def test_each_part_of_a_query_is_a_chain_of_its_own(inflight):
    """Four parts that begin at 0, 10, 20, 30; each run adds one and feeds the next, three steps long."""

    class Adding(Session):
        def __init__(self):
            self.inflight, self.asked = inflight, []

        def run(self, values):
            self.asked.append(int(values["x"][0, 0]))
            return {"y": values["x"] + 1}

    session = Adding()
    made = [{"x": np.array([[10 * i]])} for i in range(4)]
    parts = [queries.feed(made, {"y": "x"}, 3, start) for start in range(4)]
    once(multi_stream, session, parts, effort(0, 4, 5))
    session.close()
    asked = [sorted(session.asked[i : i + 4]) for i in range(0, 16, 4)]
    assert asked == [[0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32], [0, 10, 20, 30]]


# --- warming up


def run_warmup(latencies_ns, max_s=0.8, driver=single_stream, level=latency_level):
    clock = Clock()
    limit = Steady(max_s, level)
    timed = once(driver, Programmed(clock, latencies_ns), feeds(), limit, clock)
    return timed, limit


def test_a_steady_device_is_warm_after_six_blocks():
    timed, limit = run_warmup(itertools.repeat(MS))
    assert limit.stable
    assert timed.duration_ns == 6 * 50 * MS


def test_a_device_that_gets_faster_is_warm_when_it_has_stopped_to():
    cold = [MS * 3 - i * 10_000 for i in range(200)]  # 3 ms falling to 1 ms over 0.4 s
    timed, limit = run_warmup(itertools.chain(cold, itertools.repeat(MS)), max_s=1.6)
    assert limit.stable
    assert timed.duration_ns > sum(cold)


def test_a_trend_that_does_not_end_is_not_stable():
    timed, limit = run_warmup(int(MS * 1.002**i) for i in range(100_000))
    assert not limit.stable
    assert 0.8 <= timed.duration_ns / 1e9 < 0.85


def test_two_levels_in_turn_are_not_stable():
    slow_and_fast = itertools.cycle([MS] * 160 + [2 * MS] * 80)
    assert not run_warmup(slow_and_fast)[1].stable


def test_single_preempted_queries_do_not_keep_it_from_being_stable():
    spiky = (40 * MS if i % 97 == 50 else MS for i in itertools.count())
    assert run_warmup(spiky, max_s=1.6)[1].stable


def test_a_query_longer_than_a_block_is_a_block():
    timed, limit = run_warmup(itertools.repeat(120 * MS), max_s=2.0)
    assert limit.stable
    assert len(timed.samples) == WARMUP_BLOCKS * 2  # blocks of 125 ms are asked about after two queries each


def test_too_few_queries_are_not_called_stable():
    timed, limit = run_warmup(itertools.repeat(300 * MS), max_s=0.8)
    assert not limit.stable
    assert len(timed.samples) == 3


def test_offline_warms_up_by_the_time_between_completions():
    clock = Clock()
    session = Overlapping(clock, lambda number: 4 * MS if number > 100 else 12 * MS - number * 80_000, 2)
    limit = Steady(2.0, interval_level)
    timed = once(offline, session, feeds(2), limit, clock)
    session.close()
    assert limit.stable
    assert timed.duration_ns > 100 * 4 * MS + WARMUP_BLOCKS // 2 * 125 * MS


@given(st.lists(st.floats(1.0, 1e9), max_size=20))
def test_settled_never_depends_on_the_unit(levels):
    assert settled(levels) == settled([level * 1024 for level in levels])


@given(st.floats(1.0, 1e6), st.permutations(range(6)))
def test_settled_takes_levels_within_a_percent_in_any_order(level, order):
    assert settled([level * (1 + 0.002 * i) for i in order])


@given(st.lists(st.floats(1.0, 1e9), min_size=6, max_size=6), st.floats(0.2, 5))
def test_settled_refuses_a_step_between_the_halves(levels, step):
    base = levels[0]
    assert not settled([base] * 3 + [base * (1 + step)] * 3)


def test_the_samples_take_no_more_than_nine_bytes_each():
    clock = Clock()
    timed = once(single_stream, Programmed(clock, itertools.repeat(10_000)), feeds(), effort(2.0, 1, 2.0), clock)
    assert len(timed.samples) == 200_000
    _address, _count = timed.samples.buffer_info()
    assert timed.samples.__sizeof__() / len(timed.samples) < 9
