from __future__ import annotations

import math

import pytest

from results.metrics import BY_KEY, ESTIMATED, METRICS, PHASES, Metric, figure_of, look
from results.record import Estimate, Phases, Summary
from results.stats import summarise
from tests.fakes import records


def test_keys_and_labels_are_unique_and_every_metric_says_how() -> None:
    every = (*METRICS, *ESTIMATED)
    assert len(BY_KEY) == len(every) == len({metric.label for metric in every})
    assert all(metric.how for metric in every)
    assert not any(metric.headline for metric in ESTIMATED)
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


def test_every_figure_of_an_estimate_is_a_metric() -> None:
    shown = {metric.path.removeprefix("estimate.") for metric in ESTIMATED if metric.path}
    assert set(Estimate.model_fields) - shown == {"missing", "source", "caveat"}


@pytest.mark.parametrize("metric", ESTIMATED, ids=lambda m: m.key)
def test_every_figure_of_an_estimate_has_a_value_or_a_reason(metric: Metric) -> None:
    gaps = [name for name, field in Estimate.model_fields.items() if field.default is None]
    bare = records.estimated(**dict.fromkeys(gaps), missing=dict.fromkeys(gaps, "the tool does not say"))
    for made, expected in ((records.estimated(), ""), (bare, "the tool does not say"), (records.record(), "measured")):
        value, reason = look(metric, made, None)
        assert (value is None) == bool(expected)
        assert reason.startswith(expected)


def test_compiled_work_is_held_against_batch_times_the_card() -> None:
    identity = records.compiled(batch="8")
    made = records.estimated(identity, flops=9 * records.CARDS["kws"].flops)
    assert look(BY_KEY["estimated_flops_ratio"], made, None) == (9 / 8, "")
    uncounted = made.model_copy(update={"card": made.card.model_copy(update={"flops": None})})
    assert look(BY_KEY["estimated_flops_ratio"], uncounted, None) == (
        None, "the workload's operations cannot be counted",
    )  # fmt: skip


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
    assert look(BY_KEY["latency_p99_ns"], made, summary) == (None, "10 queries; p99 needs 1000")
    assert look(BY_KEY["quality"], made, summary) == (None, "random weights: quality is not measurable")
    assert look(BY_KEY["energy_j"], made, summary) == (None, records.NO_METER)


def test_derived_from_a_repeat() -> None:
    phases = phases_of(start_ns=1, build_ns=2, import_ns=3, load_ns=4, compile_ns=5, first_run_ns=6)
    energy = records.energy(energy_j=30.0, net_energy_j=None, missing={"net_energy_j": "no idle reading"})
    made = records.record(queries=100, phases=phases, energy=energy)
    assert made.window is not None
    assert look(BY_KEY["cold_start_ns"], made, None) == (19.0, "")
    assert look(BY_KEY["energy_j"], made, None) == (pytest.approx(0.3), "")
    assert look(BY_KEY["net_energy_j"], made, None) == (None, "no idle reading")
    assert look(BY_KEY["power_w"], made, None) == (pytest.approx(30e9 / made.window.duration_ns), "")


def phases_of(**values: int | None) -> Phases:
    every = {**dict.fromkeys((*PHASES, "build_ns", "steady_ns", "page_cache_share")), **values}
    return Phases.model_validate({**every, "missing": {name: f"no {name}" for name, v in every.items() if v is None}})


def test_a_phase_that_another_one_holds_leaves_no_gap_in_a_cold_start() -> None:
    """An engine that loads and compiles in one call; a record of schema 1, whose load held the import."""
    for held in ("import_ns", "load_ns"):
        made = records.record(phases=phases_of(**{**dict.fromkeys(PHASES, 10), held: None}))
        assert look(BY_KEY["cold_start_ns"], made, None) == (40.0, "")
    for lost in ("start_ns", "compile_ns", "first_run_ns"):
        made = records.record(phases=phases_of(**{**dict.fromkeys(PHASES, 10), lost: None}))
        assert look(BY_KEY["cold_start_ns"], made, None) == (None, f"{lost}: no {lost}")


def test_a_cold_start_is_as_long_as_it_took_whatever_its_phases_say() -> None:
    made = records.record(records.of("cold_start"))
    assert made.window is not None
    assert look(BY_KEY["cold_start_ns"], made, None) == (float(made.window.duration_ns), "")


@pytest.mark.parametrize(
    ("scenario", "goal", "figure"),
    [
        ("single_stream", "throughput", "latency_p50_ns"), ("offline", "latency", "throughput_per_s"),
        ("server", "throughput", "throughput_per_s"), ("server(rate=40)", "throughput", "latency_p99_ns"),
        ("cold_start(page_cache=cold)", "latency", "cold_start_ns"),
        ("multi_stream", "latency", "latency_p50_ns"), ("bursts", "latency", "latency_p50_ns"),
    ],
)  # fmt: skip
def test_the_scenario_says_what_is_compared_and_not_what_was_compiled_for(
    scenario: str, goal: str, figure: str
) -> None:
    assert figure_of(scenario, goal) == figure


def test_shown() -> None:
    p50 = BY_KEY["latency_p50_ns"]
    assert p50.shown(1_234_567.0) == "1.23"
    assert p50.title == "latency p50 (ms)"
    assert p50.shown(None) == p50.shown(math.nan) == ""
    assert BY_KEY["quality"].title == "quality"
