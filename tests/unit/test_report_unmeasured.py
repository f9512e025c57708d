"""What was not measured here: estimates and others' figures, each in a section of its own and in no other."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from results import join, published
from results.cost import Pricing
from results.join import Table
from results.report import claimed, estimated, market, page
from results.report.lines import Line, baselines, lines
from results.report.sheets import Cell, Context, sheets
from tests.fakes import market as made
from tests.fakes import records, showcase

OFFLINE = {"scenario": "Offline", "metric": "throughput", "batch": "", "source": "x"}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("showcase")
    showcase.write(root, repeats=2)
    return join.table(root, Pricing(usd_per_hour=0.0892))


@pytest.fixture(scope="module")
def html(every: Table) -> str:
    return page.build(every)


def only(table: Table, *provenances: str) -> Table:
    kept = table.rows["provenance"].isin(provenances) & (table.rows["status"] == "ok")
    return dataclasses.replace(table, rows=table.rows[kept], ceilings={}, published=())


def embedded(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert match
    value: dict[str, Any] = json.loads(match[1])
    return value


def part(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}"') :].partition("</section>")[0]


class TestEstimates:
    def test_a_row_for_each_with_its_badge_and_source(self, every: Table) -> None:
        section = estimated.section(lines(every))
        assert section is not None
        assert [row.badge for row in section.sheet.rows].count("simulator") == 1
        assert {row.badge for row in section.sheet.rows} == {"estimate", "simulator"}
        named = {(row.name, row.cells[0].text) for row in section.sheet.rows}
        assert len(named) == len(section.sheet.rows) == 9
        assert section.caveats == [(records.TOOL, records.CAVEAT)]

    def test_every_empty_cell_has_its_reason(self, every: Table) -> None:
        section = estimated.section(lines(every))
        assert section is not None
        cells = [cell for row in section.sheet.rows for cell in row.cells]
        gaps = [cell.note for cell in cells if cell.note is not None]
        assert set(gaps) == set(range(1, len(section.notes) + 1))
        assert all(cell.text for cell in cells if cell.note is None)
        assert "1 operator would run on the host's processor, whose time the tool does not count" in section.notes

    def test_a_column_that_no_tool_fills_is_a_note_of_the_caption(self, every: Table) -> None:
        bare = only(every, "simulator")
        section = estimated.section(lines(bare))
        assert section is not None
        assert "Not told: estimated latency, estimated cycles, assumed clock, " in section.sheet.caption
        assert not [column for column in section.sheet.columns if column.key.startswith("estimated_")]

    def test_they_share_no_sheet_ratio_or_ranking_with_what_was_measured(self, every: Table, html: str) -> None:
        found = lines(every)
        predicted = {line.id for line in found if line.estimated}
        name, base = baselines(found)
        compared = {row.id for sheet in sheets(found, Context(base, name)) for row in sheet.rows}
        assert len(predicted) == 9
        assert not predicted & (compared | base.keys() | {line.id for line in base.values()})
        rows = embedded(html)["rows"]
        assert all("v" not in rows[one] for one in predicted)
        charts = html[html.index('<section id="charts"') :].partition('<section id="ceilings"')[0]
        assert not [one for one in predicted if re.search(rf'data-k="(?:[^"]* )?{one}[" ]', charts)]

    def test_this_machine_is_not_their_hardware(self, every: Table, html: str) -> None:
        assert not [line for line in lines(every) if line.estimated and "Xeon" in line.hardware + line.config]
        assert "Xeon" not in part(html, "estimates")
        alone = page.build(only(every, "estimate"))
        assert "cores)" not in alone.partition("<main>")[0]
        assert "9 estimated" not in alone.partition("<main>")[0]
        assert "8 estimated" in alone.partition("<main>")[0]
        assert "Nothing was measured. What was estimated follows." in alone

    def test_details_have_source_and_command_but_no_machine(self, html: str) -> None:
        data = embedded(html)
        row = re.search(r"<tr id=(r\d+)>", part(html, "estimates"))
        assert row
        unfolded = dict(zip(data["sections"], data["rows"][row[1]]["d"], strict=True))
        told = {name: data["pool"][number] for name, number in unfolded.items() if number is not None}
        assert "Machine" not in told
        assert "Conditions" not in told
        assert told["Estimate"]["by"] == f"estimate by {records.TOOL}"
        assert told["Estimate"]["it warns"] == records.CAVEAT
        assert told["Run it again"] == "pytest bench/ --target ethos_u:all"

    def test_no_estimates_no_section(self, tmp_path: Path) -> None:
        records.write_root(tmp_path, identities=4, runs=1, repeats=1, mixed=False)
        built = page.build(join.table(tmp_path))
        assert 'id="estimates"' not in built
        assert 'id="market"' not in built


class TestMarket:
    @pytest.mark.parametrize("beside", [True, False])
    def test_others_figures_in_the_hardware_table_are_not_called_measured(self, tmp_path: Path, beside: bool) -> None:
        rows = [made.row("NVIDIA A100-SXM-80GB", "resnet50", 80_000, "Samples/s", n_accel="8", **OFFLINE)]
        if beside:
            rows.append(made.row("Some CPU", "resnet50", 1000, "Samples/s", n_accel="", dtype="fp32", **OFFLINE))
        (tmp_path / "x.csv").write_text(made.table(*rows))
        published.import_file(tmp_path / "x.csv", tmp_path)
        basis = {row.kind: row.basis for row in claimed.claims(join.table(tmp_path)).rows}
        assert basis["A100"] == ("published" if beside else "measured")
        assert basis["CPU"] == "measured"

    def test_networks_of_ours_stand_apart_from_others(self, every: Table) -> None:
        found = market.market(every.published)
        assert found is not None
        assert [group.name for group in found.same] == ["bert-base", "kws", "mobilenetv2", "resnet50", "resnet8"]
        others = {group.name: group.why for group in found.others}
        assert others["VGG16 (224x224)"] == "VGG16: no workload here is this network"
        assert "a language model" in others["llama2-70b-99"]

    def test_every_empty_cell_has_its_reason(self, every: Table) -> None:
        found = market.market(every.published)
        assert found is not None
        rows = [row for group in (*found.same, *found.others) for row in group.rows]
        gaps = {cell.note for row in rows for cell in row.cells if cell.note is not None}
        assert gaps == set(range(1, len(found.notes) + 1))

    def cells(self, every: Table, network: str, hardware: str) -> list[Cell]:
        found = market.market(every.published)
        assert found is not None
        groups = {group.name: group for group in (*found.same, *found.others)}
        return next(list(row.cells) for row in groups[network].rows if row.hardware == hardware)

    def test_a_rate_is_shared_out_over_all_accelerators_of_all_nodes(self, every: Table) -> None:
        _, _, figure, each, *_ = self.cells(every, "llama2-70b-99", "NVIDIA H200-SXM-141GB")
        assert (figure.text, each.text) == ("69,000 tokens/s", f"{69000 / 16:,.0f}")

    def test_power_and_energy_stand_beside_their_figure(self, every: Table) -> None:
        assert self.cells(every, "llama2-70b-99", "NVIDIA B200-SXM-180GB")[4].text == "10.4 kW"
        assert self.cells(every, "kws", "NDP9120 (Syntiant Core 2)")[4].text == "31.5 \u00b5J/inference"

    def test_what_cannot_be_is_marked_and_says_why(self, every: Table, html: str) -> None:
        section = part(html, "market")
        assert '<span class="v v-invalid">impossible</span>' in section
        assert "more operations a second than the data sheet" in section
        assert "over peak: 233 TFLOP/s on one Intel Core Ultra 7 165H iGPU, 18.8 TFLOP/s on the data sheet" in section

    def test_of_many_systems_the_best_is_shown_and_the_number_of_all(self, tmp_path: Path) -> None:
        rates = [made.row("X", "resnet50", rate, "Samples/s", note=str(rate)) for rate in (1000.5, 3000.5, 2000.5)]
        (tmp_path / "x.csv").write_text(made.table(*rates))
        published.import_file(tmp_path / "x.csv", tmp_path)
        found = market.market(published.read(tmp_path, []))
        assert found is not None
        assert (found.total, [row.cells[2].text for row in found.same[0].rows]) == (3, ["3,000 samples/s"])

    def test_the_energy_of_a_row_of_its_own_joins_its_run(self, tmp_path: Path) -> None:
        pair = [
            made.row("X", "tiny-kws", 229, "inf./sec."),
            made.row("X", "tiny-kws", 31.5, "uJ/inf.", metric="energy"),
        ]
        (tmp_path / "x.csv").write_text(made.table(*pair))
        published.import_file(tmp_path / "x.csv", tmp_path)
        found = market.market(published.read(tmp_path, []))
        assert found is not None
        (row,) = found.same[0].rows
        assert (row.cells[2].text, row.cells[4].text) == ("229.0 inferences/s", "31.5 \u00b5J/inference")

    def test_more_than_fit_are_counted(self, tmp_path: Path) -> None:
        rows = [made.row(f"card {n}", "net", n + 1.5, "ms") for n in range(market.OTHERS_MAX + 5)]
        (tmp_path / "x.csv").write_text(made.table(*rows))
        published.import_file(tmp_path / "x.csv", tmp_path)
        built = page.build(join.table(tmp_path))
        assert f"Other networks ({market.OTHERS_MAX} rows, and 5 more in --format json)" in built
        assert "Nothing measured yet" in built

    def test_hostile_text_stays_text(self, tmp_path: Path) -> None:
        evil = records.HOSTILE_TEXT.replace("\n", " ").replace("\0", "")
        rows = [made.row(evil, name, 2, "ms", scenario=evil, dtype=evil, source=evil, date=evil, note=evil)
                for name in (evil, "resnet50")]  # fmt: skip
        (tmp_path / "x.csv").write_text(made.table(*rows))
        assert published.import_file(tmp_path / "x.csv", tmp_path).new == 2
        built = page.build(join.table(tmp_path))
        assert built.count("<script") == 2
        assert "<img" not in built
        assert "&lt;/script&gt;" in part(built, "market")


def test_a_line_knows_whether_it_is_estimated(every: Table) -> None:
    kinds = {(line.estimated, line.comparable) for line in lines(every) if isinstance(line, Line)}
    assert (True, True) not in kinds
    assert {(True, False), (False, True)} <= kinds
