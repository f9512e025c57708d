from __future__ import annotations

import math

import pytest

from results.metrics import BY_KEY, METRICS, PHASES, look
from results.record import Energy, Phases, Summary
from results.stats import summarise
from tests.fakes import records


def test_keys_and_labels_are_unique_and_every_metric_says_how() -> None:
    assert len(BY_KEY) == len(METRICS) == len({metric.label for metric in METRICS})
    assert all(metric.how for metric in METRICS)
    assert all(not (metric.path and metric.of) for metric in METRICS)
    assert all(metric.better for metric in METRICS if metric.headline)


def test_every_figure_of_a_summary_is_a_metric() -> None:
    shown = {metric.path.removeprefix("summary.") for metric in METRICS}
    assert set(Summary.model_fields) - shown == {
        "missing",
        "record_id",
        "rules_version",
        "queries",
        "verdict",
        "reasons",
    }


@pytest.mark.parametrize("metric", [m for m in METRICS if m.path or m.of], ids=lambda m: m.key)
def test_every_metric_has_a_value_or_a_reason_on_every_record(metric: object) -> None:
    single, offline, *_ = records.identities(2)
    for identity in (single, offline):
        made = records.record(identity)
        summary = summarise(made, records.samples(identity, 1000))
        bare = made.model_copy(update={"evidence": None, "phases": None, "energy": None})
        for record, found in ((made, summary), (made, None), (bare, None)):
            value, reason = look(metric, record, found)  # type: ignore[arg-type]  # parametrised
            assert (value is None) == bool(reason)
        for status in ("absent", "unsupported", "failed"):
            ended = records.record(identity, status=status)
            assert look(metric, ended, None) == (None, f"{status}: {ended.reason}")  # type: ignore[arg-type]


def test_reasons_come_from_where_the_gap_is() -> None:
    made = records.record(queries=10)
    summary = summarise(made, records.samples(made.identity, 10))
    assert look(BY_KEY["latency_p99_ns"], made, summary) == (None, "10 queries; p99 needs 662")
    assert look(BY_KEY["quality"], made, summary) == (None, "random weights: quality is not measurable")
    assert look(BY_KEY["energy_j"], made, summary) == (None, records.NO_METER)


def test_derived_from_a_repeat() -> None:
    phases = Phases.model_validate({name: number for number, name in enumerate(PHASES, 1)})
    energy = Energy(method="counter", scope="package", energy_j=30.0, missing={"net_energy_j": "no idle reading"})
    made = records.record(queries=100, phases=phases, energy=energy)
    assert look(BY_KEY["cold_start_ns"], made, None) == (15.0, "")
    assert look(BY_KEY["energy_j"], made, None) == (pytest.approx(0.3), "")
    assert look(BY_KEY["net_energy_j"], made, None) == (None, "no idle reading")
    gap = made.model_copy(update={"phases": Phases.model_validate({
        **phases.model_dump(), "build_ns": None, "missing": {"build_ns": "built by another process"}})})  # fmt: skip
    assert look(BY_KEY["cold_start_ns"], gap, None) == (None, "build_ns: built by another process")


def test_shown() -> None:
    p50 = BY_KEY["latency_p50_ns"]
    assert p50.shown(1_234_567.0) == "1.23"
    assert p50.title == "latency p50 (ms)"
    assert p50.shown(None) == p50.shown(math.nan) == ""
    assert BY_KEY["quality"].title == "quality"
