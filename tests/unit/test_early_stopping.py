"""Early stopping agrees with exact binomial odds, with LoadGen's source at large counts, and with LoadGen itself."""

from __future__ import annotations

import json
import random
import re
import time
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.early_stopping import discard, estimate, needed_queries, passes

PERCENTILES = (0.5, 0.9, 0.95, 0.97, 0.99, 0.999)


def exactly(queries: int, over: int, p: float) -> Fraction:
    """That `over` or fewer of `queries` are over the bound, each with probability 1 - p."""
    under, whole = Fraction(str(p)).as_integer_ratio()
    ways = sum(comb(queries, k) * (whole - under) ** k * under ** (queries - k) for k in range(over + 1))
    return Fraction(ways, whole**queries)


@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from(PERCENTILES))
def test_a_run_passes_when_the_exact_odds_are_below_one_percent(queries: int, over: int, p: float) -> None:
    assert passes(queries, over, p) == (over < queries and exactly(queries, over, p) < Fraction(1, 100))


@given(st.integers(0, 40), st.sampled_from((0.5, 0.9, 0.95)), st.sampled_from((0.9, 0.99)))
def test_the_needed_queries_are_the_fewest(over: int, p: float, confidence: float) -> None:
    found = needed_queries(over, p, confidence)
    assert exactly(found, over, p) < 1 - Fraction(str(confidence)) <= exactly(found - 1, over, p)


@given(st.integers(0, 10_000_000), st.sampled_from(PERCENTILES))
def test_what_may_be_discarded_is_the_most_that_still_passes(queries: int, p: float) -> None:
    most = discard(queries, p)
    if most is None:
        assert queries < needed_queries(1, p)
    else:
        assert most >= 1
        assert needed_queries(most, p) <= queries < needed_queries(most + 1, p)


@pytest.mark.parametrize(
    ("p", "table"),
    [
        (0.9, {0: 44, 1: 64, 1_024: 10_971, 1_025: 10_981, 12_000: 122_442, 99_268: 999_657, 990_000: 9_921_983}),
        (0.99, {0: 459, 1: 662, 1_024: 110_057, 1_025: 110_160, 12_000: 1_225_603, 99_268: 9_999_975}),
    ],
)
def test_counts_are_those_of_loadgens_source(p: float, table: dict[int, int]) -> None:
    """Printed by its MinPassingQueriesFinder. Beyond 1,024 it once gave up and said 1: mlcommons/inference#1083."""
    assert {over: needed_queries(over, p) for over in table} == table


def test_ten_million_queries_discard_what_loadgen_does() -> None:
    assert (discard(10_000_000, 0.9), discard(10_000_000, 0.99)) == (997_793, 99_268)


@given(st.lists(st.integers(0, 10**12), min_size=0, max_size=1500), st.sampled_from((0.9, 0.99)))
def test_the_estimate_is_the_largest_latency_left(latencies: list[int], p: float) -> None:
    ordered = np.sort(np.array(latencies, np.int64))
    found, over = estimate(ordered, p), discard(len(ordered), p)
    if over is None:
        assert found is None
    else:
        assert found == ordered[-over]
        assert found >= ordered[int(len(ordered) * p)]  # never below the plain percentile


@pytest.mark.parametrize(("p", "enough"), [(0.9, 64), (0.99, 662)])
def test_the_fewest_queries_with_an_estimate_give_the_highest_latency(p: float, enough: int) -> None:
    ordered = np.arange(enough)
    assert estimate(ordered[:-1], p) is None
    assert estimate(ordered, p) == enough - 1


@pytest.mark.parametrize(("scenario", "count"), [("SingleStream", 700), ("SingleStream", 2500), ("MultiStream", 900)])
def test_estimates_are_loadgens_own(tmp_path: Path, scenario: str, count: int) -> None:
    told, latencies = driven(tmp_path, scenario, count)
    ordered = np.sort(latencies)
    assert len(ordered) == told["result_query_count"]
    assert estimate(ordered, 0.99) == told["early_stopping_latency_ms"]
    assert scenario == "MultiStream" or estimate(ordered, 0.9) == told["early_stopping_latency_ss"]


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_a_server_run_passes_where_loadgen_lets_it(tmp_path: Path, p: float) -> None:
    told, latencies = driven(tmp_path, "Server", 700, p)
    over = int((latencies > BOUND_NS).sum())
    assert over == told["result_overlatency_query_count"]
    assert passes(len(latencies), over, p) == told["early_stopping_met"]
    more = re.search(r"at least (\d+) more", told["early_stopping_result"])
    assert max(needed_queries(over, p) - len(latencies), 0) == (int(more[1]) if more else 0)


BOUND_NS = 150_000


def driven(folder: Path, scenario: str, count: int, p: float = 0.99) -> tuple[dict[str, Any], Any]:
    """A run of LoadGen on exponential latencies of 50 microseconds: what it told, and the latencies in its trace."""
    rng = random.Random(count)

    def issue(samples: Any) -> None:
        until = time.perf_counter_ns() + round(rng.expovariate(1 / 50_000))
        while time.perf_counter_ns() < until:
            pass
        lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    settings, logs = lg.TestSettings(), lg.LogSettings()
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.min_query_count, settings.max_query_count, settings.min_duration_ms = count, count, 0
    settings.server_target_qps = 5000
    settings.server_target_latency_ns, settings.server_target_latency_percentile = BOUND_NS, p
    logs.log_output.outdir = str(folder)
    sut, qsl = lg.ConstructSUT(issue, lambda: None), lg.ConstructQSL(8, 8, lambda rows: None, lambda rows: None)
    lg.StartTestWithLogSettings(sut, qsl, settings, logs, str(folder / "no-audit.conf"))
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)
    lines = (folder / "mlperf_log_detail.txt").read_text().splitlines()
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    trace = (folder / "mlperf_log_trace.json").read_text()
    queries: dict[str, int] = {}
    for query, latency in re.findall(r'"query_seq":(\d+),.*?"complete_ns":(\d+)', trace):
        queries[query] = max(queries.get(query, 0), int(latency))
    return {entry["key"]: entry["value"] for entry in entries}, np.array(list(queries.values()))
