from __future__ import annotations

import pytest

from bench import measure
from bench.scenarios import SCENARIOS, Offline, SingleStream, UnknownScenarioError, parse


@pytest.mark.parametrize("scenario", [SingleStream(), Offline()])
def test_the_canonical_string_leads_back_to_the_scenario(scenario):
    assert parse(str(scenario)) == scenario


def test_goals_and_samples_are_those_of_the_definitions():
    assert (SingleStream.goal, SingleStream.samples_kind) == ("latency", "latency_ns")
    assert (Offline.goal, Offline.samples_kind) == ("throughput", "done_ns")


@pytest.mark.parametrize("name", ["server2", "", "Offline", "offline ", "single-stream"])
def test_an_unknown_name_lists_the_names(name):
    with pytest.raises(UnknownScenarioError, match="there are: single_stream, offline"):
        parse(name)


def test_every_scenario_has_a_driver():
    assert set(SCENARIOS) == set(measure.DRIVERS)
