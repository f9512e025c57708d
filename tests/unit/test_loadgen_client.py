"""The system under test that LoadGen sees, without LoadGen: who is answered, in which order, and how often."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from backends.contract import Facts, Placement, Session
from bench import queries
from bench.loadgen.client import Overlapped, Samples, Serial
from tests.fakes.fake_workloads import DISTINCT, FakeProject, project


class Watched(Session):
    """Answers rightly after 0.2 ms, notes how many runs overlap, and fails from run number `good` on."""

    facts = Facts({}, Placement("Fake 1", 1.0, "it says so"), import_ns=0, load_ns=0, compile_ns=0)

    def __init__(self, inflight: int, good: int = 10**9) -> None:
        self.inflight, self.good = inflight, good
        self.lock = threading.Lock()
        self.seen: list[Any] = []
        self.under_way = self.most = 0

    def run(self, values: Any) -> Any:
        with self.lock:
            self.seen.append(values["x"])
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            good = len(self.seen) <= self.good
        time.sleep(0.0002)
        with self.lock:
            self.under_way -= 1
        if not good:
            raise RuntimeError("the device is gone")
        return project(**values)


class Asked:
    """A client of `kind` on a watched session; `replied` has the ids in the order in which they were answered."""

    def __init__(self, kind: Any, batch: int = 1, inflight: int = 1, good: int = 10**9) -> None:
        workload = FakeProject()
        self.session = Watched(inflight, good)
        self.witness = queries.Witness(workload, batch, "fp32")
        self.samples = Samples(queries.rotation(workload, batch), batch, self.witness)
        self.replied: list[int] = []
        self.lock = threading.Lock()
        self.client = kind(self.session, self.samples, self.reply)

    def reply(self, ids: Any) -> None:
        with self.lock:
            self.replied += ids

    def answered(self, count: int) -> list[int]:
        """Wait until `count` ids are answered; then no more may come."""
        until = time.monotonic() + 20
        while len(self.replied) < count and time.monotonic() < until:
            time.sleep(0.001)
        self.session.close()
        return self.replied


@pytest.fixture(params=[Serial, Overlapped])
def kind(request):
    return request.param


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_every_id_is_answered_once(kind, batch):
    asked = Asked(kind, batch, inflight=3)
    ids = list(range(1000, 1050))
    asked.client.issue(ids[:40], [one % DISTINCT for one in ids[:40]])
    asked.client.issue(ids[40:], [one % DISTINCT for one in ids[40:]])
    assert Counter(asked.answered(50)) == Counter(ids)
    assert len(asked.session.seen) == sum(-(-size // batch) for size in (40, 10))
    assert asked.session.most <= 3
    assert asked.client.error is None


def test_first_come_is_first_served():
    asked = Asked(Overlapped, inflight=1)
    for number in range(20):
        asked.client.issue([number], [number])
    assert asked.answered(20) == list(range(20))


def test_as_many_runs_overlap_as_are_useful():
    asked = Asked(Overlapped, inflight=4)
    asked.client.issue(list(range(200)), [number % DISTINCT for number in range(200)])
    asked.answered(200)
    assert asked.session.most == 4


@pytest.mark.parametrize("batch", [1, 4])
def test_a_run_has_the_inputs_of_the_samples_that_are_asked_for(kind, batch):
    asked = Asked(kind, batch)
    inputs = np.concatenate([query["x"] for query in queries.rotation(FakeProject(), batch)])
    asked.client.issue([1, 2, 3, 4], [5, 0, 5, 17])
    asked.answered(4)
    assert np.array_equal(np.concatenate(asked.session.seen), inputs[[5, 0, 5, 17]])


def test_a_batch_that_is_not_full_is_filled_up(kind):
    asked = Asked(kind, batch=4)
    asked.client.issue([1, 2], [7, 9])
    assert asked.answered(2) == [1, 2]
    (query,) = asked.session.seen
    assert query.shape == (4, 6)
    assert np.array_equal(query[2], query[0])


@pytest.mark.parametrize("batch", [1, 5])
def test_the_witness_is_shown_the_answers_that_are_known(kind, batch):
    asked = Asked(kind, batch)
    asked.witness.open()
    asked.client.issue(list(range(asked.samples.count)), list(range(asked.samples.count)))
    asked.answered(asked.samples.count)
    golden = FakeProject().golden().outputs["y"]
    seen = [row for answer in asked.witness.kept for row in answer.golden]
    assert sorted(seen) == list(range(len(golden)))
    for answer in asked.witness.kept:
        np.testing.assert_allclose(answer.outputs["y"], golden[list(answer.golden)], rtol=1e-5)


def test_after_a_failure_all_are_answered_and_nothing_more_is_run(kind):
    asked = Asked(kind, inflight=2, good=10)
    asked.client.issue(list(range(5000)), [number % DISTINCT for number in range(5000)])
    assert Counter(asked.answered(5000)) == Counter(range(5000))
    assert 10 < len(asked.session.seen) <= 12
    assert str(asked.client.error) == "the device is gone"


def test_inputs_that_cannot_be_put_are_a_failure(kind):
    asked = Asked(kind)
    asked.session.put = None
    asked.client.issue([1, 2, 3], [1, 2, 3])
    assert asked.answered(3) == [1, 2, 3]
    assert isinstance(asked.client.error, TypeError)


def test_what_the_witness_cannot_take_is_a_failure(kind):
    asked = Asked(kind)
    asked.witness.offer = None
    numbers = list(range(DISTINCT))
    asked.client.issue(numbers, numbers)
    assert asked.answered(DISTINCT) == numbers
    assert isinstance(asked.client.error, TypeError)
