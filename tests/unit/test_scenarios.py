from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scenarios import (
    SCENARIOS,
    ColdStart,
    MultiStream,
    Offline,
    Server,
    SingleStream,
    UnknownScenarioError,
    parse,
)
from results.names import is_name


@pytest.mark.parametrize(
    ("text", "scenario"),
    [
        ("single_stream", SingleStream()),
        ("multi_stream", MultiStream()),
        ("offline", Offline()),
        ("server", Server()),
        ("server(rate=40)", Server(40.0)),
        ("server(rate=0.25)", Server(0.25)),
        ("cold_start", ColdStart()),
        ("cold_start(page_cache=cold)", ColdStart("cold")),
    ],
)
def test_the_canonical_string_leads_back_to_the_scenario(text, scenario):
    assert str(scenario) == text
    assert parse(text) == scenario
    assert is_name(text)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("server(rate=40.0)", "server(rate=40)"),
        ("server(rate=4e1)", "server(rate=40)"),
        ("cold_start(page_cache=warm)", "cold_start"),
        ("server()", "server"),
    ],
)
def test_what_is_written_differently_is_the_same_row(written, canonical):
    assert str(parse(written)) == canonical


@given(st.floats(1e-9, 1e6))
def test_any_rate_comes_back(rate_per_s):
    scenario = Server(rate_per_s)
    assert parse(str(scenario)).rate_per_s == pytest.approx(rate_per_s, rel=1e-14)
    assert is_name(str(scenario))


def test_goals_and_samples_are_those_of_the_definitions():
    assert {name: (kind.goal, kind.samples_kind) for name, kind in SCENARIOS.items()} == {
        "single_stream": ("latency", "latency_ns"),
        "multi_stream": ("latency", "latency_ns"),
        "offline": ("throughput", "done_ns"),
        "server": ("throughput", "latency_ns"),
        "cold_start": ("latency", "cold_ns"),
    }


def test_a_run_that_names_none_measures_two():
    assert [name for name, kind in SCENARIOS.items() if kind.default] == ["single_stream", "offline"]


@pytest.mark.parametrize("name", ["server2", "", "Offline", "offline ", "single-stream", "server(", "(rate=4)"])
def test_an_unknown_name_lists_the_names(name):
    with pytest.raises(UnknownScenarioError, match="there are: single_stream, multi_stream, offline, server, cold"):
        parse(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offline(rate=3)", "scenario offline has no parameter rate; it has: none"),
        ("server(rat=3)", "scenario server has no parameter rat; it has: rate"),
        ("server(rate=fast)", "a rate is queries per second, more than 0"),
        ("server(rate=0)", "a rate is queries per second, more than 0"),
        ("server(rate=nan)", "a rate is queries per second, more than 0"),
        ("server(rate=inf)", "a rate is queries per second, more than 0"),
        ("server(rate=1e300)", "more than 0 and up to 1,000,000"),
        ("cold_start(page_cache=hot)", "page_cache is warm or cold"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused_in_one_line(text, message):
    with pytest.raises(UnknownScenarioError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "batch", "bounded", "refusal"),
    [
        ("single_stream", "32", False, ""),
        ("multi_stream", "4", False, ""),
        ("multi_stream", "auto", False, ""),
        ("multi_stream", "3", False, "which runs of 3 do not make: give --batch=1, 2, 4 or 8"),
        ("multi_stream", "16", True, "which runs of 16 do not make"),
        ("server", "1", False, "give --bound=MS@PERCENTILE"),
        ("server(rate=9)", "1", False, "give --bound=MS@PERCENTILE"),
        ("server", "auto", True, "give --batch a number"),
        ("server", "8", True, ""),
        ("cold_start", "auto", False, "give --batch a number"),
        ("cold_start", "2", False, ""),
    ],
)
def test_what_a_scenario_cannot_measure_it_refuses_with_a_remedy(text, batch, bounded, refusal):
    answer = parse(text).refusal(batch, bounded)
    assert refusal in answer
    assert bool(answer) == bool(refusal)
