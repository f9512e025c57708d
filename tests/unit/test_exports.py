"""Exports carry every row, stored units in their names, and the reason of everything that is missing."""

import csv
import dataclasses
import io
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import exports, join
from results.cost import Pricing
from results.exports import csv as csv_export
from results.exports import md
from results.join import Table
from results.metrics import ESTIMATED, METRICS
from tests.fakes import showcase
from tests.fakes.records import HOSTILE_TEXT, TOOL, write_root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("runs")
    write_root(root, identities=64, runs=1, repeats=2)
    return join.table(root, Pricing())


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Every scenario, LoadGen, energy, notes."""
    root = tmp_path_factory.mktemp("showcase")
    showcase.write(root, repeats=2)
    return join.table(root, Pricing())


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_formats_are_the_files_of_the_shelf() -> None:
    assert {"csv", "json", "md"} <= set(exports.formats())


def test_an_unknown_format_lists_the_known_ones(table: Table) -> None:
    with pytest.raises(ValueError, match=r"unknown format 'xls'; there are: csv, json, md"):
        exports.render("xls", table)


@pytest.mark.parametrize("name", ["csv", "json", "md"])
def test_the_same_table_gives_the_same_text(table: Table, name: str) -> None:
    assert exports.render(name, table) == exports.render(name, table)


def test_csv_gives_every_number_back(table: Table) -> None:
    rows = read_csv(exports.render("csv", table))
    assert len(rows) == len(table.rows)
    for row, stored in zip(rows, table.rows.to_dict("records"), strict=True):
        for metric in METRICS:
            value = stored[metric.key]
            known = value is not None and not math.isnan(value)
            assert (float(row[metric.key]) == value) if known else (row[metric.key] == "")


def test_csv_says_why_a_number_is_missing(table: Table) -> None:
    for row in read_csv(exports.render("csv", table)):
        missing = json.loads(row["missing"])
        for metric in METRICS:
            assert row[metric.key] or missing[metric.key], metric.key


def test_whatever_is_empty_in_a_csv_says_why(every: Table) -> None:
    """The ends of an interval, the unit of a quality and an instance type too; a text that is empty says it all."""
    texts = ("reason", "remedy", "stderr_tail", "options", "members", "power_reasons", "bounds", "engine")
    for row in read_csv(exports.render("csv", every)):
        empty = {name for name, value in row.items() if value == "" and name not in texts}
        assert empty <= json.loads(row["missing"]).keys()


def test_csv_has_what_schema_2_brought(every: Table) -> None:
    rows = read_csv(exports.render("csv", every))
    found = {(row["workload"], row["scenario"], row["engine"], row["rules"]): row for row in rows}
    server = found["kws", "server", "onnxruntime", "accelmark"]
    assert server["load_bound"] == "p99 <= 10 ms"
    assert float(server["offered_per_s"]) > 1000
    assert (server["bounds_met"], server["usd_is_floor"]) == ("true", "false")
    assert (server["power_valid"], server["energy_meter"], server["energy_scope"]) == ("true", "rapl", "package")
    assert float(server["power_w"]) == pytest.approx(35.0)
    driven = found["kws", "single_stream", "onnxruntime", "mlperf"]
    assert (driven["loadgen"], driven["official"]) == ("VALID", "false")
    assert float(driven["early_p90_ns"]) > float(driven["latency_p50_ns"])
    cold = found["kws", "cold_start(page_cache=cold)", "openvino", "accelmark"]
    assert float(cold["page_cache_share"]) == pytest.approx(0.02)
    assert float(cold["steady_ns"]) > float(cold["cold_start_ns"]) > float(cold["import_ns"])
    multi = found["kws", "multi_stream", "onnxruntime", "accelmark"]
    assert (multi["power_valid"], multi["power_reasons"]) == ("false", "too_few_readings")
    assert found["my-model", "single_stream", "onnxruntime", "accelmark"]["achieved_flops_per_s"] == ""


def test_estimates_have_columns_of_their_own_and_no_host(every: Table) -> None:
    rows = read_csv(exports.render("csv", every))
    predicted = [row for row in rows if row["provenance"] in ("estimate", "simulator")]
    assert {row["provenance"] for row in predicted} == {"estimate", "simulator"}
    for row in predicted:
        missing = json.loads(row["missing"])
        for name in ("throughput_per_s", "latency_p50_ns", "usd_per_million", "usd_per_hour", "cold_start_ns"):
            assert row[name] == ""
            assert missing[name].startswith(row["provenance"]), name
        for name in ("hostname", "cpu", "cores", "instance_type"):
            assert row[name] == ""
            assert "only compiled for" in missing[name]
    for row in rows:
        if row["provenance"] == "measured" and row["status"] == "ok":
            assert all(row[metric.key] == "" for metric in ESTIMATED)
            assert json.loads(row["missing"])["estimated_cycles"] == "measured, not estimated"
    kws = next(row for row in predicted if (row["workload"], row["device"]) == ("kws", "Arm Ethos-U55-128"))
    assert (kws["estimated_cycles"], kws["estimated_clock_mhz"], kws["estimate_source"]) == (
        "91000.0",
        "500.0",
        "vela 5.2.0",
    )
    assert float(kws["estimated_flops_ratio"]) == pytest.approx(1.0)


def test_markdown_of_estimates_has_tool_caveat_and_reasons(every: Table) -> None:
    section = exports.render("md", every).partition("## Estimated and simulated")[2]
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    (kws,) = [line for line in table if line.startswith("| kws (simulator)")]
    assert kws.count("n/a (") == 8
    assert "onnxruntime-qnn 2.7.0" in kws
    assert f"{TOOL} says: " in section
    assert re.search(r"^\d+\. a simulator's time and memory are this processor's$", section, re.M)


def test_others_figures_are_in_the_json_whole_and_in_markdown_where_the_network_is_ours(every: Table) -> None:
    told = json.loads(exports.render("json", every))["published"]
    assert {row["provenance"] for row in told} == {"published"}
    assert {row["file"] for row in told} == {"tables.csv", "summary_results.json", "summary.csv"}
    assert len(told) == 20
    section = exports.render("md", every).partition("## Published by others")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if "(published)" in line]
    assert {row.split(" (")[0] for row in rows} == {"| bert-base", "| kws", "| mobilenetv2", "| resnet50", "| resnet8"}
    assert not [line for line in read_csv(exports.render("csv", every)) if line["provenance"] == "published"]


def test_csv_names_carry_units(table: Table) -> None:
    names = next(csv.reader(io.StringIO(exports.render("csv", table))))
    assert {"throughput_per_s", "latency_p99_ns", "usd_per_hour", "energy_j", "peak_memory_bytes"} <= set(names)
    assert "entries" not in names


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1"])
def test_csv_text_is_never_a_formula(text: str) -> None:
    assert csv_export.field(text) == f"'{text}"


def test_csv_negative_numbers_stay_numbers() -> None:
    assert csv_export.field(-1.5) == "-1.5"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_csv_keeps_every_digit(value: float) -> None:
    assert float(csv_export.field(value)) == value


@given(st.text())
def test_csv_fields_survive_a_reader(text: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([csv_export.field(text), "end"])
    (cells,) = csv.reader(io.StringIO(buffer.getvalue(), newline=""))
    assert cells == [csv_export.field(text), "end"]


def test_json_gives_rows_reasons_and_units(table: Table) -> None:
    value = json.loads(exports.render("json", table))
    assert value["format"] == "accelmark.table/1"
    assert len(value["rows"]) == len(table.rows)
    units = {metric["key"]: metric["unit"] for metric in value["metrics"]}
    assert units["latency_p50_ns"] == "ms"
    for row in value["rows"]:
        assert row["fingerprint"] in value["machines"]
        for metric in METRICS:
            assert row[metric.key] is not None or row["missing"][metric.key], metric.key


def test_json_has_no_nan(table: Table) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(exports.render("json", table), parse_constant=refuse)


def test_json_tells_what_could_not_be_read(table: Table) -> None:
    from results.log import Problem

    broken = dataclasses.replace(table, problems=(Problem(Path("runs/records.log"), 7, "checksum differs"),))
    assert json.loads(exports.render("json", broken))["problems"] == ["runs/records.log, record 7: checksum differs"]


def test_markdown_has_a_table_per_scenario_with_units(table: Table) -> None:
    text = exports.render("md", table)
    heads = [line for line in text.splitlines() if line.startswith("| Workload")]
    assert len(heads) == 3
    assert "p50 (ms)" in heads[0]
    assert "Throughput (samples/s)" in heads[1]
    assert "Latency (ms, predicted)" in heads[2]
    assert "Not measured" in text


def test_markdown_of_every_scenario_keeps_them_apart_and_labels_notes(every: Table) -> None:
    text = exports.render("md", every)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert [title.split(":")[0] for title in titles] == [
        "## Single stream", "## Multi-stream", "## Server", "## Offline", "## Cold start",
        "## Estimated and simulated, not measured", "## Published by others, not measured here", "## Not measured",
    ]  # fmt: skip
    assert "valid (LoadGen: VALID, host bound, not official)" in text
    assert "| Power (W) |" in text
    assert re.search(r"~~35\.0~~", text)


def test_markdown_names_what_was_not_measured_and_its_place_once(table: Table) -> None:
    gaps = exports.render("md", table).partition("## Not measured")[2].strip().splitlines()
    assert gaps
    for gap in gaps:
        assert re.match(r"- (?!none )[^:]+?( on [^:]+)?: (failed|unsupported|absent): ", gap), gap
        assert gap.partition(":")[0].count(" on ") <= 1, gap


def test_markdown_rows_have_as_many_cells_as_their_head(table: Table) -> None:
    widths = [
        line.replace(r"\|", "").count("|") for line in exports.render("md", table).splitlines() if line.startswith("|")
    ]
    heads = [line.count("|") for line in exports.render("md", table).splitlines() if line.startswith("| Workload")]
    assert set(widths) == set(heads)


def test_markdown_numbers_its_reasons(table: Table) -> None:
    text = exports.render("md", table)
    numbers = {int(number) for number in re.findall(r"(?:n/a \(|\(note )(\d+)\)", text)}
    notes = [line for line in text.splitlines() if line.split(". ")[0].isdigit()]
    assert numbers == set(range(1, len(notes) + 1))


def test_markdown_text_is_only_text() -> None:
    escaped = md.escaped(HOSTILE_TEXT + "|`**[x](javascript:1)")
    assert "\n" not in escaped
    assert r"\<script\>" in escaped
    for letter in "<>|`*[]":
        assert all(escaped[i - 1] == "\\" for i, found in enumerate(escaped) if found == letter)


@pytest.mark.parametrize("name", ["csv", "json", "md"])
def test_an_empty_table_is_no_fault(table: Table, name: str) -> None:
    empty = dataclasses.replace(table, rows=table.rows.iloc[:0], machines={}, ceilings={})
    assert exports.render(name, empty)
