"""Every scenario on the page: its own sheet and charts, LoadGen, notes, energy, and what needs an explanation."""

import json
import re
from typing import Any

import pytest

from results import join, lints
from results.cost import Pricing
from results.join import Table
from results.lints.kinds import Level
from results.report import cold, page, sheets
from results.report.lines import DEFAULT_BASELINE, Line, baselines, lines
from tests.fakes import showcase
from tests.fakes.records import HOSTILE_TEXT


def embedded(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert match
    value: dict[str, Any] = json.loads(match[1])
    return value


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("showcase")
    showcase.write(root)
    return join.table(root, Pricing())


@pytest.fixture(scope="module")
def shown(every: Table) -> dict[str, sheets.Sheet]:
    context = sheets.Context(baselines(lines(every))[1], DEFAULT_BASELINE)
    return {sheet.slug: sheet for sheet in sheets.sheets(lines(every), context)}


def column(sheet: sheets.Sheet, key: str) -> list[sheets.Cell]:
    index = [column.key for column in sheet.columns[1:]].index(key)
    return [row.cells[index] for row in sheet.rows]


def test_each_has_a_sheet_and_its_own_figures(shown: dict[str, sheets.Sheet]) -> None:
    assert list(shown) == ["single_stream", "multi_stream", "server", "offline", "cold_start"]
    keys = {slug: {column.key for column in sheet.columns} for slug, sheet in shown.items()}
    assert {"throughput_per_s", "offered_per_s", "latency_p99_ns", "early_p99_ns", "bounds"} <= keys["server"]
    assert {"start_ns", "import_ns", "steady_ns", "page_cache_share"} <= keys["cold_start"]
    assert not keys["cold_start"] & {"throughput_per_s", "latency_p50_ns", "usd_per_million", "bounds"}


def test_no_ratio_crosses_a_scenario_a_load_generator_or_a_bound(every: Table) -> None:
    _, base = baselines(found := lines(every))
    assert base
    by_id = {line.id: line for line in found}
    for name, other in base.items():
        for part in ("scenario", "rules", "load_bound", "workload"):
            assert by_id[name].row[part] == other.row[part]


def test_energy_and_power_have_columns_where_they_were_measured(shown: dict[str, sheets.Sheet]) -> None:
    for slug in ("single_stream", "multi_stream", "server", "offline"):
        assert {"energy_j", "net_energy_j", "power_w"} <= {column.key for column in shown[slug].columns}
        assert "Energy and power" not in shown[slug].caption
    assert {cell.text for cell in column(shown["offline"], "power_w") if cell.text} == {"35.0"}


def test_energy_that_is_not_to_be_believed_is_struck_through(shown: dict[str, sheets.Sheet]) -> None:
    for key in ("energy_j", "power_w"):
        assert {cell.css for cell in column(shown["multi_stream"], key) if cell.text} == {"num doubt"}
        assert {cell.css for cell in column(shown["offline"], key) if cell.text} == {"num"}


def test_notes_are_labels_and_no_reasons(shown: dict[str, sheets.Sheet]) -> None:
    cells = [cell for sheet in shown.values() for cell in column(sheet, "verdict")]
    assert {tag for cell in cells for tag in cell.tags} == {
        "host bound", "power invalid", "LoadGen: VALID", "not official",
    }  # fmt: skip
    assert {cell.tail for cell in cells if cell.text == "valid"} == {""}


def test_a_row_that_loadgen_drove_says_so(shown: dict[str, sheets.Sheet]) -> None:
    for slug in ("single_stream", "offline"):
        rules = [cell.text for cell in column(shown[slug], "rules")]
        for rule, cell in zip(rules, column(shown[slug], "verdict"), strict=True):
            assert ("LoadGen: VALID" in cell.tags) == ("not official" in cell.tags) == (rule == "mlperf")


def test_a_servers_cost_is_a_floor_only_where_its_bound_is_not_proved(shown: dict[str, sheets.Sheet]) -> None:
    sheet = shown["server"]
    for row, bound, cost in zip(sheet.rows, column(sheet, "bounds"), column(sheet, "usd_per_million"), strict=True):
        assert (bound.text, cost.text.startswith("≥")) == (("no", True) if row.name == "resnet50" else ("yes", False))


def test_a_set_rate_is_compared_by_p99(every: Table) -> None:
    rated = [line for line in lines(every) if line.row["scenario"] == "server(rate=400)"]
    assert rated
    assert {line.headline for line in rated} == {"latency_p99_ns"}


def test_rows_unfold_to_load_stages_energy_and_loadgen(every: Table) -> None:
    data = embedded(page.build(every))
    texts = {}
    for line in lines(every):
        if line.id in data["rows"]:
            numbers = dict(zip(data["sections"], data["rows"][line.id]["d"], strict=True))
            key = line.row["scenario"], line.row["rules"], line.row["engine"], line.row["workload"]
            texts[key] = {name: data["pool"][n] for name, n in numbers.items() if n is not None}
    server = texts["server", "accelmark", "onnxruntime", "kws"]
    assert server["Load offered"]["bound"] == "p99 ≤ 10 ms, 0 of 1500 over it"
    assert len(server["Load offered"]["probes"].splitlines()) == 5
    assert server["Stages of a query, medians"]["device"] == "82.8 µs"
    assert server["Energy and power"]["read"] == "counter of rapl, covers the package, 120 readings"
    assert server["Worth knowing"].keys() == {"host bound"}
    assert "LoadGen's verdict" not in server
    driven = texts["single_stream", "mlperf", "onnxruntime", "kws"]
    assert driven["LoadGen's verdict"]["result"] == "VALID, not official: shorter than the rules ask"
    assert " --rules=mlperf" in driven["Run it again"]
    own = texts["single_stream", "accelmark", "onnxruntime", "my-model"]
    assert own["Workload"]["work"].startswith("operations that cannot be counted")


def test_charts_keep_scenarios_apart(every: Table) -> None:
    ranked = [line for line in lines(every) if not line.unranked and line.row["role"] == "model"]
    name, base = baselines(ranked)
    drawn = page.charts(ranked, every, base, name)
    assert drawn is not None
    latency = "".join(figure.svg for figure in drawn["facets"])
    roof = drawn["roofs"][0].svg
    for line in ranked:
        assert (f'"{line.id} ' in latency or f' {line.id}"' in latency) == (
            line.kind in ("single_stream", "offline")
            and line.row["workload"] not in ("my-model", "digits-small", "bytelm-small", "resnet50")
            and line.row["rules"] == "accelmark"
        )
        assert (f'data-k="{line.id}"' in roof) == (line.kind == "offline")
        assert (f'data-k="{line.id}"' in drawn["cold"][0].svg) == (line.kind == "cold_start")
    titles = [figure.name for figure in drawn["heats"]]
    assert len(titles) == len(set(titles)) == 6


def test_the_phases_of_a_cold_start_add_up_to_its_bar(every: Table) -> None:
    line = next(line for line in lines(every) if line.kind == "cold_start")
    parts = cold._parts(line)
    assert sum(length for _, length, _ in parts) == pytest.approx((line.value or 0) / 1e6, rel=1e-3)
    assert [mark.title.split()[-3] for _, _, mark in parts][:2] == ["start", "import"]


class TestFindings:
    def built(self, every: Table, monkeypatch: pytest.MonkeyPatch, *found: lints.Finding) -> str:
        monkeypatch.setattr(lints, "find", lambda _: list(found))
        return page.build(every)

    def finding(self, line: Line, level: Level = "suspect", detail: str = "3 GFLOP/s") -> lints.Finding:
        return lints.Finding(level, "over_peak", line.row["key"], detail, line.row["fingerprint"])

    def test_each_is_listed_with_what_it_means_and_leads_to_its_row(
        self, every: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, roof = (
            next(line for line in lines(every) if line.row["status"] == "ok" and line.row["role"] == role)
            for role in ("model", "ceiling_flops")
        )
        html = self.built(every, monkeypatch, self.finding(model, "impossible"), self.finding(roof))
        section = html[html.index('<section id="findings"') : html.index('<section id="charts"')]
        assert f'data-row="{model.id}"' in section
        assert f'data-row="{roof.id}"' not in section
        assert section.count("over peak") == 2
        assert section.count("<td>3 GFLOP/s</td>") == 2
        assert lints.WHY["over_peak"].partition("'")[0] in section
        assert section.index("impossible</span>") < section.index("suspect</span>")

    def test_without_any_the_page_has_no_such_section(self, every: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        assert 'id="findings"' not in self.built(every, monkeypatch)

    def test_very_many_are_cut_and_hostile_ones_are_text(self, every: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        line = next(line for line in lines(every) if line.row["status"] == "ok")
        html = self.built(every, monkeypatch, *[self.finding(line, detail=HOSTILE_TEXT)] * 100)
        assert "and 88 more rows" in html
        assert html.count("<script") == 2
