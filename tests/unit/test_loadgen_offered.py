"""A server under LoadGen: what makes a rate too high, and what is kept of the arrivals that were offered."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench.loadgen import offered
from bench.loadgen.logs import Told, Trace
from bench.loadgen.run import Ended
from bench.protocol import Effort
from results.record import Load
from tests.fakes.jobs import fake_job

EFFORT = Effort(warmup_max_s=1, min_duration_s=60, min_queries=7, max_duration_s=90)
JOB = fake_job(EFFORT, scenario="server", bounds=((10.0, 99.0),))


def ended(queries: int, over: int, valid: bool = False) -> Ended:
    """`over` of `queries`, one a millisecond, took 12 ms, the others 4; one was issued 2 ms late, the last 5 ms."""
    latency_ns = np.full(queries, 4_000_000)
    latency_ns[:over] = 12_000_000
    lag_ns = np.zeros(queries, np.int64)
    lag_ns[[0, -1]] = 2_000_000, 5_000_000
    return Ended(Told("6", valid, (), {}), Trace(np.arange(queries) * 1_000_000, lag_ns, latency_ns), 0)


class Scripted:
    """A test that gives what was prepared, and notes the settings that it was run with."""

    lg = SimpleNamespace(
        TestSettings=SimpleNamespace,
        TestScenario=SimpleNamespace(Server="server"),
        TestMode=SimpleNamespace(PerformanceOnly="performance"),
    )

    def __init__(self, *prepared: Ended) -> None:
        self.prepared = iter(prepared)
        self.seen = []

    def run(self, settings):
        self.seen.append(settings)
        return next(self.prepared)


def arrivals(*prepared: Ended) -> offered.Arrivals:
    return offered.Arrivals(Scripted(*prepared), JOB)


@pytest.mark.parametrize(
    ("queries", "over", "valid", "too_fast"),
    [
        (1000, 11, False, True),  # the percentile is missed
        (1000, 3, False, True),  # kept, and not proved: 1,001 queries would be needed
        (1000, 3, True, False),
        (400, 1, False, False),  # even with none over, 459 are needed
        (400, 5, False, True),
        (400, 0, False, False),
    ],
)
def test_a_rate_is_too_high_where_a_lower_one_might_be_valid(queries, over, valid, too_fast):
    assert arrivals().too_fast(ended(queries, over, valid)) == too_fast


@pytest.mark.parametrize(("over", "met"), [(2, True), (3, False)])
def test_a_probe_is_a_short_test_with_arrivals_of_its_own(over, met):
    asked = arrivals(ended(1000, over), ended(1000, over))
    probe, _ = asked.probe(500.0), asked.probe(500.0)
    first, second = asked.test.seen
    assert (probe.rate_per_s, probe.queries, probe.over, probe.met) == (500.0, 1000, over, met)
    assert (first.server_target_qps, first.min_duration_ms, first.max_duration_ms) == (500.0, 10_000, 10_000)
    assert (first.server_target_latency_ns, first.server_target_latency_percentile) == (10_000_000, 0.99)
    assert first.schedule_rng_seed != second.schedule_rng_seed


def test_what_was_offered_is_kept():
    asked = arrivals(ended(101, 1))
    driving = offered.drive(asked, 40.0, capacity_per_s=100.0)
    assert next(driving) == "measure"
    with pytest.raises(StopIteration) as stop:
        next(driving)
    kept, section = stop.value.value
    assert len(kept.trace.latency_ns) == 101
    assert Load.model_validate_json(json.dumps(section)) == Load(
        bound_ms=10.0,
        percentile=99.0,
        offered_per_s=1000.0,
        issued_per_s=100 / 0.105,
        lag_p99_ns=2_000_000,
        lag_max_ns=5_000_000,
        over=1,
        searched=False,
        attempts=1,
    )


def test_the_rate_that_was_found_is_lowered_until_it_is_valid(monkeypatch):
    monkeypatch.setattr(offered.server, "search", lambda capacity_per_s, ask: (80.0, [ask(80.0)]))
    asked = arrivals(ended(1000, 0), ended(1000, 20), ended(1000, 0, valid=True))
    phases = list(offered.drive(asked, None, capacity_per_s=100.0))
    assert phases == ["search", "measure", "measure"]
    assert [seen.server_target_qps for seen in asked.test.seen] == [80.0, 80.0, 72.0]
