from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import Session
from bench import queries
from tests.fakes.fake_workloads import DISTINCT, FakeMemory, FakeProject, remember


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
