from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import Session
from bench import queries
from tests.fakes.fake_workloads import DISTINCT, FakeMemory, FakeProject, remember
from workloads.contract import Unsupported


@given(st.integers(1, 200), st.integers(1, 40))
def test_rows_use_every_sample_and_fill_every_query(count, batch):
    rows = queries.rows(count, batch)
    assert all(len(query) == batch for query in rows)
    assert {row for query in rows for row in query} == set(range(count))
    assert [row for query in rows for row in query][:count] == list(range(count))


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 32])
def test_a_rotation_has_all_distinct_inputs_and_never_the_same_query_twice(batch):
    rotation = queries.rotation(FakeProject(), batch)
    seen = [row.tobytes() for query in rotation for row in query["x"]]
    assert len(set(seen)) == len(seen) >= DISTINCT
    assert len(rotation) >= queries.QUERIES_MIN
    assert all(len(query["x"]) == batch and query["x"].flags.c_contiguous for query in rotation)


@pytest.mark.parametrize("batch", [1, 3, 7, 8, 32])
def test_a_rotation_holds_the_samples_that_the_workload_gives_and_each_golden_one_where_its_spot_says(batch):
    workload = FakeProject()
    rotation, spots = queries.rotation(workload, batch), queries.Witness(workload, batch, "fp32").spots
    given = workload.samples("perf", len(rotation) * batch, 0).inputs["x"]
    assert {row.tobytes() for query in rotation for row in query["x"]} == {row.tobytes() for row in given}
    found = [
        (g, rotation[n]["x"][row]) for n, spot in spots.items() for row, g in zip(spot.rows, spot.golden, strict=True)
    ]
    assert sorted(g for g, _ in found) == list(range(12))
    for number, row in found:
        np.testing.assert_array_equal(row, given[number])


@given(st.integers(1, 64), st.integers(1, 5000))
def test_golden_samples_are_spread_so_that_no_stretch_of_queries_is_without(batch, distinct):
    class Sized(FakeProject):
        card = dataclasses.replace(FakeProject.card, distinct_inputs=distinct)

    spots = queries.Witness(Sized(), batch, "fp32").spots
    count = max(math.ceil(distinct / batch), queries.QUERIES_MIN)
    gaps = [later - number for number, later in itertools.pairwise([*sorted(spots), count])]
    assert max(gaps) <= max(1, math.ceil(count / 12))
    assert sum(len(spot.rows) for spot in spots.values()) == min(12, count * batch)


def test_a_feed_starts_where_it_is_told_and_goes_round():
    made = [{"x": np.array([i])} for i in range(3)]
    feed = queries.feed(made, {}, 1, start=2)
    asked = [next(feed)] + [feed.send({}) for _ in range(5)]
    assert [int(query["x"][0]) for query in asked] == [2, 0, 1, 2, 0, 1]


def test_a_feed_gives_outputs_back_for_the_steps_of_golden_and_then_starts_afresh():
    made = [{"x": np.array([i]), "state": np.array([0])} for i in range(2)]
    feed = queries.feed(made, {"new_state": "state"}, steps=3)
    states, query = [], next(feed)
    for _ in range(7):
        states.append((int(query["x"][0]), int(query["state"][0])))
        query = feed.send({"new_state": query["state"] + 1, "y": np.array([9])})
    assert states == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 0)]


class Watched:
    """Queries asked through a feed with a witness; outputs `y` carry the number of the query in the rotation."""

    def __init__(self, workload=None, batch=1):
        self.workload = workload or FakeProject()
        self.witness = queries.Witness(self.workload, batch, "fp32")
        self.rotation = queries.rotation(self.workload, batch)
        self.asked = 0

    def ask(self, count, start=0):
        numbers = {id(query): number for number, query in enumerate(self.rotation)}
        feed = queries.feed(self.rotation, {}, 1, start, self.witness)
        query = next(feed)
        for _ in range(count):
            self.asked += 1
            shape = (len(query["x"]), 5)
            query = feed.send({"y": np.full(shape, numbers[id(query)]), "other": np.full(shape, self.asked)})

    def kept(self):
        return [(answer.golden, answer.outputs["y"][0, 0]) for answer in self.witness.kept]


def test_a_witness_keeps_the_golden_rows_of_golden_outputs_in_an_open_window_only():
    watched = Watched(batch=3)
    watched.ask(30)
    assert watched.witness.kept == []
    watched.witness.open()
    watched.ask(8)
    watched.witness.close()
    watched.ask(30)
    spots = watched.witness.spots
    assert watched.kept() == [(spots[number].golden, number) for number in sorted(spots)]
    assert all(set(answer.outputs) == {"y"} for answer in watched.witness.kept)
    assert all(len(answer.outputs["y"]) == len(answer.golden) for answer in watched.witness.kept)
    watched.witness.open()
    assert watched.witness.kept == []


@given(st.integers(0, 3000))
@settings(deadline=None)
def test_what_a_witness_keeps_is_few_and_spread_over_a_window_of_any_length(count):
    class Every(FakeProject):
        card = dataclasses.replace(FakeProject.card, distinct_inputs=12)

    watched = Watched(Every())
    watched.witness.open()
    watched.witness._copied = lambda spot, outputs: int(outputs["other"][0, 0])
    watched.ask(count)
    places = [answer.outputs for answer in watched.witness.kept]
    assert places == sorted(set(places))
    assert min(count, queries.KEPT_MAX // 2) <= len(places) < queries.KEPT_MAX
    gaps = [later - place for place, later in itertools.pairwise([0, *places, count + 1])]
    assert max(gaps) <= max(1, 4 * count / queries.KEPT_MAX)


def test_a_witness_copies_what_the_engine_may_write_over():
    workload, buffer = FakeProject(), np.zeros((1, 5))
    witness = queries.Witness(workload, 1, "fp32")
    feed = queries.feed(queries.rotation(workload, 1), {}, 1, witness=witness)
    witness.open()
    next(feed)
    for number in range(4):
        buffer[:] = number
        feed.send({"y": buffer})
    assert [answer.outputs["y"][0, 0] for answer in witness.kept] == [0, 2]


def test_a_witness_sees_only_the_end_of_a_chain_that_began_in_the_window():
    workload = FakeMemory()
    witness = queries.Witness(workload, 1, "fp32")
    feed = queries.feed(queries.rotation(workload, 1), workload.feedback, 3, witness=witness)
    next(feed)
    outputs = [{"y": np.full((1, 5), n), "new_state": np.zeros((1, 5))} for n in range(12)]
    feed.send(outputs[0])
    witness.open()
    for each in outputs[1:]:
        feed.send(each)
    assert [answer.outputs["y"][0, 0] for answer in witness.kept] == [8]
    assert set(witness.kept[0].outputs) == {"y", "new_state"}


def test_feeds_on_several_threads_may_show_a_witness_their_outputs():
    watched = Watched()
    watched.witness.open()
    threads = [threading.Thread(target=watched.ask, args=(5000, 6 * n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = watched.kept()
    assert queries.KEPT_MAX // 2 <= len(kept) < queries.KEPT_MAX
    assert all(watched.witness.spots[number].golden == golden for golden, number in kept)


def test_a_workload_without_golden_outputs_has_a_rotation_and_a_witness_of_nothing():
    class Unknown(FakeProject):
        def golden(self):
            raise Unsupported("nobody computed them")

    watched = Watched(Unknown())
    watched.witness.open()
    watched.ask(100)
    assert len(watched.rotation) == DISTINCT
    assert watched.witness.kept == []


class Threaded(Session):
    """Slower for some samples, so that overlapped answers come in another order than asked."""

    def __init__(self, inflight):
        self.inflight, self.threads = inflight, set()

    def run(self, values):
        self.threads.add(threading.get_ident())
        time.sleep(0.001 * (int(abs(values["x"][0, 0]) * 10) % 3))
        return remember(**values)


@pytest.mark.parametrize("inflight", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_answers_come_in_order_with_feedback_whatever_overlaps(inflight, batch):
    workload, session = FakeMemory(), Threaded(inflight)
    asked = queries.split(workload.samples("perf", 12, 0).inputs, batch)
    replies = queries.answers(session, asked, workload.feedback, workload.golden().steps)
    session.close()
    found = np.concatenate([reply["y"] for reply in replies])
    np.testing.assert_allclose(found, workload.golden().outputs["y"], atol=1e-6)
    assert len(session.threads) <= inflight


def test_answers_are_kept_when_the_engine_writes_over_its_own_memory():
    class Reusing(Session):
        buffer = np.zeros((1, 1))

        def run(self, values):
            self.buffer[:] = values["x"]
            return {"y": self.buffer}

    replies = queries.answers(Reusing(), [{"x": np.array([[float(i)]])} for i in range(4)], {})
    assert [float(reply["y"][0, 0]) for reply in replies] == [0, 1, 2, 3]


@pytest.mark.parametrize("inflight", [1, 3])
def test_answers_raise_what_the_session_raises(inflight):
    class Failing(Session):
        def run(self, values):
            raise OSError("device lost")

    session = Failing()
    session.inflight = inflight
    with pytest.raises(OSError, match="device lost"):
        queries.answers(session, [{"x": np.zeros((1, 1))}] * 5, {})
    session.close()
