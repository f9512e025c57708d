"""What is asked after the window: does the session remember answers, and where does a query's time go."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import Executed, Session
from bench import audit, intervals, queries
from bench.audit import caching, stages
from tests.fakes.fake_workloads import FakeGraded, FakeMemory, FakeProject, project
from workloads.contract import Unsupported

WORKLOADS = [FakeProject(), FakeGraded(), FakeMemory()]


class Programmed(Session):
    """Takes `run_ns` of its own clock; what it remembers takes `hit_ns`. `noise` multiplies run number n."""

    def __init__(self, function, key=None, run_ns=1_000_000, hit_ns=100_000, noise=lambda number: 1.0, device_ns=None):
        self.function, self.key, self.run_ns, self.hit_ns, self.noise = function, key, run_ns, hit_ns, noise
        self.now_ns, self.runs, self.memory, self.of_device_ns = 0, 0, {}, device_ns

    def clock(self):
        return self.now_ns

    def put(self, arrays):
        self.now_ns += 300
        return arrays

    def run(self, values):
        self.runs += 1
        key = self.key(values) if self.key else None
        took_ns = self.hit_ns if key in self.memory else self.run_ns
        if self.key:
            self.memory[key] = values
        self.now_ns += round(took_ns * self.noise(self.runs))
        return self.function(**values)

    def get(self, values):
        self.now_ns += 70
        return values

    def device_ns(self):
        return self.of_device_ns

    def executed(self, values):
        return Executed("programmed", {"fp32": 2}, {"product": 2})


def by_bytes(values):
    return tuple(array.tobytes() for array in values.values())


def by_object(values):
    return tuple(id(array) for array in values.values())


def ask(session, workload=None, batch=1, budget_s=1.0):
    return caching.Audit(workload or FakeProject(), session, batch, budget_s, session.clock)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.card.name)
@pytest.mark.parametrize("batch", [1, 4])
def test_an_honest_session_takes_as_long_for_a_repeated_input(workload, batch):
    found = ask(Programmed(type(workload).function), workload, batch).same_input()
    assert found == {"ratio": 1.0, "low": 1.0, "high": 1.0, "pairs": caching.PAIRS}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.card.name)
@pytest.mark.parametrize("key", [by_bytes, by_object])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_session_that_remembers_is_seen_even_if_it_already_knows_every_input_of_the_window(workload, key, batch):
    session = Programmed(type(workload).function, key)
    for query in queries.rotation(workload, batch):
        session.run(query)
    found = ask(session, workload, batch).same_input()
    assert found["ratio"] == pytest.approx(100_370 / 1_000_370)
    assert found["high"] < 1 / 1.10


@pytest.mark.parametrize("key", [by_bytes, by_object])
def test_a_slow_session_that_remembers_is_seen_with_the_fewest_pairs(key):
    found = ask(Programmed(project, key, run_ns=80_000_000)).same_input()
    assert found["pairs"] <= caching.PAIRS
    assert found["high"] < 1 / 1.10


def test_an_alarm_that_is_not_raised_again_is_none():
    """The first time, every repeated input happens to come quickly."""

    class Lucky(Programmed):
        def run(self, values):
            if self.runs > 2 * caching.PAIRS * caching.BLOCK_MAX:
                self.memory, self.key = {}, None
            return super().run(values)

    found = ask(Lucky(project, by_bytes)).same_input()
    assert found["low"] <= 1.0 <= found["high"]


@given(st.integers(0, 1000))
def test_noise_in_the_order_of_a_quarter_does_not_make_a_cache_of_an_honest_session(seed):
    rng = np.random.default_rng(seed)
    found = ask(Programmed(project, noise=lambda _: rng.lognormal(0.0, 0.25)), budget_s=0.1).same_input()
    assert found["low"] <= found["ratio"] <= found["high"]
    assert found["high"] >= 1 / 1.10


def test_a_slow_session_is_not_asked_for_longer_than_is_given_and_says_so():
    session = Programmed(project, run_ns=200_000_000)
    with pytest.raises(Unsupported, match=r"6 pairs of queries take 2.4 s, and 1 s are given; use a profile with"):
        ask(session).same_input()
    assert session.runs == caching.TRIALS


def test_the_slowest_session_is_asked_once():
    session = Programmed(project, run_ns=2_000_000_000)
    asked = ask(session)
    assert asked.stages()["queries"] == session.runs == 1


def test_queries_that_become_slower_during_the_audit_end_it_after_the_pairs_that_an_interval_needs():
    session = Programmed(project, run_ns=20_000_000, noise=lambda number: 1 if number <= 3 else 10)
    assert ask(session).same_input()["pairs"] == intervals.VALUES_MIN


@pytest.mark.parametrize("run_ns", [1, 1000, 50_000, 5_000_000, 80_000_000])
def test_the_time_that_is_given_is_kept(run_ns):
    session = Programmed(project, run_ns=run_ns)
    ask(session).same_input()
    assert session.now_ns <= 1.2e9 + 3 * run_ns


def test_a_workload_without_further_inputs_is_not_blamed():
    class Few(FakeProject):
        def samples(self, split, n, seed):
            few = super().samples(split, n, seed)
            return dataclasses.replace(few, inputs={"x": np.ones_like(few.inputs["x"])})

    session = Programmed(project, by_bytes)
    with pytest.raises(Unsupported, match=r"fake-project has no .* different inputs"):
        ask(session, Few()).same_input()


@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 5))
def test_new_inputs_are_new_and_hold_the_values_of_real_ones(batch, count, seed):
    workload = FakeMemory()
    real = workload.samples("perf", batch * count, seed).inputs
    made = caching.new_inputs(workload, batch, count, seed)
    assert len({query["x"].tobytes() for query in made}) == count == len(made)
    for name, array in real.items():
        found = np.concatenate([query[name] for query in made])
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(array, axis=1))
    assert not {row.tobytes() for row in real["x"]} <= {row.tobytes() for query in made for row in query["x"]}


@given(st.integers(6, 40), st.integers(0, 2**32))
def test_the_interval_is_made_of_order_statistics_that_cover_the_median(n, seed):
    ratios = np.random.default_rng(seed).random(n)
    low, high = intervals.of_median(ratios)
    below = int((ratios < low).sum())
    assert sorted(ratios)[below] == low
    assert sorted(ratios)[n - 1 - below] == high
    tails = [2 * sum(math.comb(n, k) for k in range(rank + 1)) / 2**n for rank in (below, below + 1)]
    assert tails[0] <= 0.05 < tails[1]


def test_stages_are_told_apart_and_are_medians():
    session = Programmed(project, run_ns=1000, noise=lambda number: 100 if number == 2 else 1)
    assert ask(session, budget_s=0.0).stages() == {
        "queries": 1, "put_ns": 300, "run_ns": 1000, "get_ns": 70, "device_ns": None,
        "enqueue_ns": None, "missing": stages.SILENT,
    }  # fmt: skip
    assert ask(session).stages()["run_ns"] == 1000


def test_a_device_that_knows_its_time_is_asked_for_it():
    found = ask(Programmed(project, device_ns=800_000)).stages()
    assert (found["device_ns"], found["missing"]) == (800_000, {"enqueue_ns": stages.SILENT["enqueue_ns"]})


def window(session, workload, count=100):
    witness = queries.Witness(workload, 1, "fp32")
    feed = queries.feed(queries.rotation(workload, 1), workload.feedback, workload.golden().steps, witness=witness)
    witness.open()
    query = next(feed)
    for _ in range(count):
        query = feed.send(session.run(query))
    witness.close()
    return witness


def after(session, count=100, budget_s=1.0):
    workload = FakeProject()
    witness = window(session, workload, count)
    return audit.asked(audit.after(workload, session, 1, witness, budget_s, session.clock))


def test_an_honest_window_has_all_evidence():
    found = after(Programmed(project))
    assert found["missing"] == {}
    assert found["kernels"]["kernels"] == {"fp32": 2}
    assert found["kernels"]["missing"] == {"time_share": "the profile has no times"}
    assert found["timed_outputs"]["identity_hits"] == found["timed_outputs"]["n"] >= 3
    assert found["same_input"]["ratio"] == 1.0
    assert found["stages"]["queries"] > caching.TRIALS


def test_what_there_was_no_time_for_is_none_with_a_reason():
    found = after(Programmed(project), count=0, budget_s=0.001)
    assert found["timed_outputs"] is found["same_input"] is None
    assert set(found["missing"]) == {"timed_outputs", "same_input"}
    assert found["stages"]["queries"] == 1


def test_a_session_that_fails_after_the_window_does_not_lose_it():
    class Failing(Programmed):
        def put(self, arrays):
            raise RuntimeError("device lost\nand more")

    found = after(Failing(project))
    assert found["timed_outputs"]["identity_hits"] == found["timed_outputs"]["n"]
    assert found["same_input"] is found["stages"] is found["kernels"] is None
    lost = ("same_input", "stages", "kernels")
    assert found["missing"] == dict.fromkeys(lost, "RuntimeError after the window: device lost")
