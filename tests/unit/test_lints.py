"""Every lint finds what it is for and nothing else, and honest results have no finding."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import lints
from results.cost import Pricing
from results.join import table
from results.lints import physics
from results.record import Energy
from results.roofline import ceilings
from results.rows import COLUMNS, NUMBERS, put_under_roof, row_of
from results.stats import summarise
from tests.fakes.records import of, record, samples, write_root

CUDA = {"backend": "cuda", "device": "NVIDIA T4"}
PLAIN = of("single_stream", "resnet50")


@dataclass
class Rows:
    """As much of a table as lints look at."""

    rows: pd.DataFrame


def entry(identity=PLAIN, figures=None, context=None, stages=None, outputs=None, **changes):
    """A record with its summary; `figures` replace the summary's, the others the record's."""
    made = record(identity, **changes)
    evidence = made.evidence
    if stages:
        evidence = evidence.model_copy(update={"stages": evidence.stages.model_copy(update=stages)})
    if outputs:
        evidence = evidence.model_copy(update={"outputs": evidence.outputs.model_copy(update=outputs)})
    whole = {"evidence": evidence, "context": made.context.model_copy(update=context or {})}
    made = made.model_copy(update=whole)
    return made, summarise(made, samples(identity, made.window.queries)).model_copy(update=figures or {})


def tabled(*groups, columns=None):
    """Each group of entries a row, some of whose columns are replaced."""
    rows = [row_of(group, "run", Pricing(), ()) for group in groups]
    roofs = ceilings(rows)
    for row in rows:
        put_under_roof(row, roofs)
        row |= columns or {}
    return Rows(pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(dict.fromkeys(NUMBERS, float)))


def codes(table):
    return [(finding.level, finding.code) for finding in lints.find(table)]


def achieved(identity=PLAIN):
    return tabled([entry(identity)]).rows.at[0, "achieved_flops_per_s"]


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "offline", "server", "cold_start"])
@pytest.mark.parametrize("workload", ["resnet50", "kws", "llama-decode", "ceiling-flops", "ceiling-bytes"])
def test_an_honest_result_has_no_finding(scenario, workload):
    assert codes(tabled([entry(of(scenario, workload))])) == []


@pytest.mark.parametrize("mixed", [False, True])
def test_honest_results_of_many_kinds_have_no_finding(tmp_path, mixed):
    write_root(tmp_path, identities=300, runs=1, repeats=5, mixed=mixed)
    assert lints.find(table(tmp_path)) == []


@pytest.mark.parametrize(
    ("workload", "factor", "level"),
    [
        ("resnet50", 1.0, None), ("resnet50", 1.2, "note"), ("resnet50", 3.0, "suspect"),
        ("resnet50", 4.3, "impossible"), ("ceiling-flops", 1.0, None),
        ("ceiling-flops", 1.1, "impossible"),
    ],
)  # fmt: skip
def test_more_operations_than_the_data_sheet_has_are_a_matter_of_how_many_more(workload, factor, level):
    identity = of("single_stream", workload)
    peak = achieved(identity) / factor
    found = codes(tabled([entry(identity)], columns={"datasheet_flops_per_s": peak}))
    assert found == ([(level, "over_peak")] if level else [])


@pytest.mark.parametrize(("factor", "level"), [(1.0, None), (1.2, "note"), (3.0, "suspect"), (100.0, "suspect")])
def test_more_operations_than_the_measured_ceiling_are_never_impossible(factor, level):
    found = codes(tabled([entry()], columns={"ceiling_flops_per_s": achieved() / factor}))
    assert found == ([(level, "over_measured_roof")] if level else [])


def memory_bound(workload="llama-decode", llc_bytes=100_000_000, **columns):
    made, summary = entry(of("single_stream", workload))
    machine = made.context.machine.model_copy(update={"llc_bytes": llc_bytes})
    made = made.model_copy(update={"context": made.context.model_copy(update={"machine": machine})})
    return codes(tabled([(made, summary)], columns=columns))


def read_per_s(cached_bytes=100_000_000):
    made, summary = entry(of("single_stream", "llama-decode"))
    return (made.card.weight_bytes - cached_bytes) * summary.throughput_per_s


@pytest.mark.parametrize(("factor", "level"), [(1.0, None), (1.2, "suspect"), (50.0, "suspect")])
def test_weights_read_faster_than_the_data_sheet_s_memory_are_suspect(factor, level):
    found = memory_bound(datasheet_bytes_per_s=read_per_s() / factor)
    assert found == ([(level, "over_bandwidth")] if level else [])


@pytest.mark.parametrize(("factor", "level"), [(1.0, None), (1.2, "note"), (3.0, "suspect")])
def test_weights_read_faster_than_the_measured_ceiling_are_noted(factor, level):
    found = memory_bound(ceiling_bytes_per_s=read_per_s() / factor)
    assert found == ([(level, "over_bandwidth")] if level else [])


def test_weights_that_a_cache_holds_need_no_memory():
    slow = {"datasheet_bytes_per_s": 1.0, "ceiling_bytes_per_s": 1.0}
    assert memory_bound("resnet50", 110_000_000, **slow) == []
    assert memory_bound("llama-decode", None, **slow) == []
    assert memory_bound("llama-decode", physics.HOST_CACHE_BYTES, **slow) == []


def test_the_bandwidth_probe_itself_cannot_read_faster_than_the_data_sheet_allows():
    assert memory_bound("ceiling-bytes", 0, datasheet_bytes_per_s=1.0) == [("impossible", "over_bandwidth")]


def test_inputs_and_outputs_do_not_cross_a_link_faster_than_it_is():
    made, summary = entry(of("single_stream", **CUDA))
    swollen = round(1.1 * physics.LINK_BYTES_PER_S / summary.throughput_per_s)
    made = made.model_copy(update={"card": made.card.model_copy(update={"io_bytes": swollen})})
    assert codes(tabled([(made, summary)])) == [("suspect", "over_link")]
    local = made.model_copy(update={"identity": of("single_stream")})
    assert codes(tabled([(local, summary)])) == []


@pytest.mark.parametrize(
    ("scope", "power_w", "valid", "expected"),
    [
        ("board", 60.0, True, []), ("board", 90.0, True, [("suspect", "over_tdp")]), ("package", 90.0, True, []),
        ("package", 200.0, True, [("suspect", "over_tdp")]), ("wall", 900.0, True, []), ("board", 90.0, False, []),
        ("board", 20.0, True, [("suspect", "below_idle")]), ("board", 24.5, True, []),
    ],
)  # fmt: skip
def test_power_is_neither_over_the_data_sheet_s_nor_under_the_idle_machine_s(scope, power_w, valid, expected):
    gaps = dict.fromkeys(("energy_j", "net_energy_j", "check_j", "gap_max_ns", "power_valid", "readings_file"), "none")
    columns = {
        "datasheet_tdp_w": 70.0, "power_w": power_w, "power_valid": valid, "energy_scope": scope, "energy_meter": "m",
    }  # fmt: skip
    measured = entry(energy=Energy(idle_w=25.0, missing=gaps))
    assert codes(tabled([measured], columns=columns)) == expected


def mean_ns():
    return entry()[1].latency_mean_ns


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"latency_mean_ns": 1.10 * mean_ns(), "latency_max_ns": 9e9}, [("impossible", "overlapping")]),
        ({"latency_mean_ns": 0.7 * mean_ns(), "latency_min_ns": 1.0}, [("note", "idle_between")]),
        ({"latency_mean_ns": 0.9 * mean_ns(), "latency_min_ns": 1.0}, []),
        ({"latency_p90_ns": 1.0}, [("impossible", "unordered")]),
        ({"latency_max_ns": 1.0, "latency_mean_ns": None}, [("impossible", "unordered")]),
        ({"throughput_per_s": 1.2e9 / mean_ns(), "latency_mean_ns": None}, [("impossible", "miscounted")]),
    ],
)  # fmt: skip
def test_figures_agree_with_each_other(figures, expected):
    assert codes(tabled([entry(figures=figures)])) == expected


@pytest.mark.parametrize(("inflight", "times", "expected"), [(1, 2.9, []), (1, 3.2, ["slower_alone"]), (2, 3.2, [])])
def test_a_query_alone_is_not_far_slower_than_the_rate_of_a_window(inflight, times, expected):
    identity = of("offline", "resnet50")
    alone_ns = round(times * 1e9 / entry(identity)[1].throughput_per_s)
    measured = entry(identity, stages={"run_ns": alone_ns}, context={"settings": {"inflight": inflight}})
    assert [code for _, code in codes(tabled([measured]))] == expected


def test_a_remembered_answer_is_suspect_by_the_time_that_new_inputs_take_alone():
    measured = entry(stages={"run_ns": round(10 * mean_ns())})
    assert codes(tabled([measured])) == [("suspect", "slower_alone")]


@pytest.mark.parametrize(("device_ns", "expected"), [(1_000_000, []), (1_100_000, [("impossible", "early_return")])])
def test_a_run_does_not_return_before_the_device_is_done(device_ns, expected):
    measured = entry(stages={"run_ns": 1_000_000, "device_ns": device_ns, "missing": {}})
    assert codes(tabled([measured])) == expected


@pytest.mark.parametrize(("issued", "expected"), [(1.0, []), (0.8, [("impossible", "over_offered")])])
def test_a_server_does_not_answer_more_than_is_issued(issued, expected):
    made, summary = entry(of("server"))
    load = made.load.model_copy(update={"issued_per_s": issued * made.load.issued_per_s})
    assert codes(tabled([(made.model_copy(update={"load": load}), summary)])) == expected


@pytest.mark.parametrize(
    ("inflight", "over", "expected"), [(2, 0, []), (1, 0, [("suspect", "always_waiting")]), (1, 500, [])]
)
def test_a_server_that_keeps_up_serves_as_many_at_a_time_as_there_are_runs(inflight, over, expected):
    made, summary = entry(of("server"))
    least_ns = 2.5e9 * made.window.query_samples / summary.throughput_per_s
    figures = {name: least_ns for name, value in summary if name.startswith("latency_") and value is not None}
    load = made.load.model_copy(update={"over": over})
    measured = entry(of("server"), figures=figures, context={"settings": {"inflight": inflight}}, load=load)
    assert codes(tabled([measured])) == expected


@pytest.mark.parametrize(("precision", "error", "expected"), [
    ("fp16", 2e-6, [("suspect", "too_exact")]), ("bf16", 1e-3, []), ("fp32", 2e-6, []),
])  # fmt: skip
def test_a_lower_precision_is_not_as_exact_as_fp32(precision, error, expected):
    identity = of("single_stream", precision=precision)
    assert codes(tabled([entry(identity, outputs={"relative_error_max": error})])) == expected


@pytest.mark.parametrize(("speed", "expected"), [(1.0, []), (7.0, []), (10.0, ["batch_for_free"])])
def test_a_larger_batch_does_not_answer_sooner(speed, expected):
    small, large = entry(of("single_stream", "resnet50")), entry(of("single_stream", "resnet50", batch="8"))
    quick = {name: value / speed for name, value in large[1] if name.startswith("latency_") and value is not None}
    quick["throughput_per_s"] = large[1].throughput_per_s * 0.9
    both = tabled([small], [(large[0], large[1].model_copy(update=quick))])
    assert [code for level, code in codes(both) if level == "suspect"] == expected


def test_a_finding_of_some_repeats_says_of_how_many():
    early = entry(stages={"run_ns": 1_000_000, "device_ns": 2_000_000, "missing": {}})
    (finding,) = lints.find(tabled([entry(), early, early]))
    assert finding.detail == "2 of 3 repeats: 2 ms by the device's clock, 1 ms by ours"
    assert (finding.row_key, finding.fingerprint) == (PLAIN.key, early[0].context.machine.fingerprint)


def test_the_worst_findings_come_first_and_each_has_its_why():
    broken = entry(figures={"latency_p90_ns": 1.0}, stages={"run_ns": round(10 * mean_ns())})
    found = lints.find(tabled([broken], columns={"ceiling_flops_per_s": achieved() / 1.2}))
    assert [finding.level for finding in found] == ["impossible", "suspect", "note"]
    assert all(lints.WHY[finding.code] for finding in found)


def test_what_was_not_measured_is_not_linted():
    impossible = {"figures": {"latency_p90_ns": 1.0}}
    assert codes(tabled([entry(**impossible, provenance="modelled")])) == []


@given(st.sampled_from(sorted(NUMBERS)))
@settings(deadline=None, max_examples=40)
def test_a_missing_figure_is_no_finding(column):
    assert codes(tabled([entry()], columns={column: None})) == []


EDGE = of("single_stream", "resnet50", backend="edgetpu", device="Coral Edge TPU (USB 5000 Mb/s)", precision="int8")


@pytest.mark.parametrize(("times", "level"), [(0.9, None), (1.1, "suspect"), (1.3, "impossible")])
def test_weights_that_do_not_fit_on_the_chip_come_over_the_link(times, level):
    """resnet50 in int8: 25.6 MB of weights, of which 8 MB stay, and 152 kB of inputs and outputs at 500 MB/s."""
    roof = 500e6 / (102_228_128 / 4 - 8e6 + 606_112 / 4)
    found = tabled([entry(EDGE, figures={"throughput_per_s": times * roof})])
    row = found.rows.iloc[0]
    assert row["link_roof_per_s"] == pytest.approx(roof)
    assert row["link_share"] == pytest.approx(times)
    assert [one for one in codes(found) if one[1] == "over_link_roof"] == ([(level, "over_link_roof")] if level else [])


def test_a_device_with_memory_has_no_link_roof():
    row = tabled([entry(of("single_stream", "resnet50", **CUDA))]).rows.iloc[0]
    assert row["datasheet_link_bytes_per_s"] == pytest.approx(15.75e9, rel=1e-3)
    assert row["missing"]["link_share"] == "NVIDIA T4 is no device that the catalog knows to be fed over its link"


def test_a_usb_2_port_is_a_lower_roof():
    slow = EDGE.model_copy(update={"device": "Coral Edge TPU (USB 480 Mb/s)"})
    fast, low = (tabled([entry(one)]).rows.at[0, "link_roof_per_s"] for one in (EDGE, slow))
    assert fast / low == pytest.approx(500 / 60)
