from __future__ import annotations

import threading
import time

import pytest

from bench.surroundings.sampler import Sampler, Source
from tests.fakes.fake_meters import Clock


def ticking(clock: Clock, period_s: float) -> Source:
    return Source(lambda: [clock.now_ns], period_s)


def test_each_source_is_read_at_its_own_period() -> None:
    clock = Clock(0)
    fast, slow = ticking(clock, 0.1), ticking(clock, 0.25)
    sampler = Sampler([fast, slow], clock)
    while clock.now_ns < 1_000_000_000:
        clock.sleep(sampler.step())
    assert [t // 1_000_000 for t in fast.seen] == list(range(0, 1000, 100))
    assert [t // 1_000_000 for t in slow.seen] == list(range(0, 1000, 250))


def test_readings_that_were_missed_are_not_made_up_for() -> None:
    clock = Clock(0)
    source = ticking(clock, 0.1)
    sampler = Sampler([source], clock)
    sampler.step()
    clock.sleep(1.03)
    assert sampler.step() == pytest.approx(0.1)
    assert sampler.step() == pytest.approx(0.1)
    assert len(source.seen) == 2


def test_a_slow_source_does_not_hide_from_the_others_that_time_has_passed() -> None:
    clock = Clock(0)

    def slow() -> list[int]:
        clock.sleep(0.5)
        return [clock.now_ns]

    quick = ticking(clock, 0.1)
    sampler = Sampler([Source(slow, 1.0), quick], clock)
    assert sampler.step() == pytest.approx(0.1)
    assert quick.seen == [500_000_000]


def test_a_block_has_readings_at_both_ends_whatever_the_period() -> None:
    source = Source(lambda: [time.monotonic_ns()], 3600)
    before_ns = time.monotonic_ns()
    with Sampler([source]):
        opened_ns = time.monotonic_ns()
    assert len(source.seen) == 2
    assert before_ns <= source.seen[0] <= opened_ns <= source.seen[1]


def test_it_reads_in_a_thread_of_its_own_and_ends_it() -> None:
    read = threading.Event()
    threads: list[threading.Thread] = []

    def look() -> list[int]:
        threads.append(threading.current_thread())
        if len(threads) >= 3:
            read.set()
        return [0]

    with Sampler([Source(look, 0.001)]):
        assert read.wait(30)
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()
    assert not threads[1].is_alive()


def test_the_error_of_the_block_is_not_swallowed() -> None:
    with pytest.raises(KeyError), Sampler([Source(list, 1.0)]):
        raise KeyError


def test_without_sources_there_is_no_thread() -> None:
    before = threading.active_count()
    with Sampler([]):
        assert threading.active_count() == before
