"""The page as text: safe with any name, complete about what is missing, the same for the same table."""

import base64
import dataclasses
import hashlib
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from results import join, report
from results.cost import Pricing
from results.join import Table
from results.log import Problem
from results.report import details, page, sheets
from results.report.lines import DEFAULT_BASELINE, Line, baselines, lines, place_names, ratio
from results.store import Run
from tests.fakes.records import CLOUD_MACHINE, HOSTILE_NAME, HOSTILE_TEXT, identities, record, write_root

GOLDEN = Path(__file__).parent.parent / "golden"
SCRIPTS = re.compile(r"<script[^>]*>(.*?)</script>", re.S)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """One in eight identities failed, was absent, hostile, invalid or estimated."""
    root = tmp_path_factory.mktemp("runs")
    write_root(root, identities=96, runs=1, repeats=2)
    return join.table(root, Pricing())


@pytest.fixture(scope="module")
def html(table: Table) -> str:
    return page.build(table)


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("two")
    write_root(root, identities=24, runs=1, repeats=5, mixed=False)
    write_root(root, identities=24, runs=1, repeats=5, mixed=False, machine=CLOUD_MACHINE, seed=1)
    return join.table(root, Pricing())


class Elements(HTMLParser):
    """Tags, attributes and the text of the page, as a browser's tokenizer would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_table(table: Table) -> Table:
    """Text where only names should be: what a forged record file could at worst bring past the schema."""
    rows = table.rows.copy()
    evil = '"><script>document.title=1</script><img src=x onerror=alert(1)>'
    for column in (
        "workload",
        "engine",
        "precision",
        "batch",
        "device",
        "cpu",
        "hostname",
        "profile",
        "commit",
        "policy",
    ):
        rows[column] = evil + column
    rows["missing"] = [dict.fromkeys(missing, evil) for missing in rows["missing"]]
    rows["backend"] = "cuda"
    return dataclasses.replace(table, rows=rows, problems=(Problem(Path(evil), 3, evil),), ceilings={})


def embedded(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert match
    value: dict[str, Any] = json.loads(match[1])
    return value


def test_the_same_table_gives_the_same_bytes(table: Table, html: str) -> None:
    assert page.build(table) == html


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    found = Elements(html)
    assert not {"link", "iframe", "img", "object", "embed", "base"} & set(found.tags)
    links = [value or "" for name, value in found.attributes if name in ("href", "xlink:href", "src", "action")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert "@import" not in html
    assert "url(" not in html


def test_the_policy_allows_exactly_the_script_that_is_there(html: str) -> None:
    script = SCRIPTS.findall(html)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html
    assert len(SCRIPTS.findall(html)) == 2


def test_stored_hostile_text_is_shown_and_not_run(html: str) -> None:
    assert HOSTILE_NAME not in (found := Elements(html)).tags
    assert "alert(1)" in found.text
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert found.tags.count("script") == 2
    assert HOSTILE_TEXT.split("\n")[0] not in html


def test_hostile_text_in_any_field_stays_text(table: Table) -> None:
    hostile = page.build(hostile_table(table))
    found = Elements(hostile)
    assert found.tags.count("script") == 2
    assert "img" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert all("<" not in script for script in SCRIPTS.findall(hostile)[:1])
    assert embedded(hostile)["rows"].keys() == embedded(page.build(table))["rows"].keys()


def test_embedded_json_cannot_leave_its_element() -> None:
    text = page.embedded({"a": "</script><!-- \u2028 &amp;"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- \u2028 &amp;"}


def test_embedded_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        page.embedded({"a": math.nan})


def test_every_missing_value_has_a_footnote_with_its_reason(table: Table) -> None:
    every = lines(table)
    name, base = baselines(every)
    context = sheets.Context(base, name)
    shown = sheets.sheets(every, context)
    notes = context.notes.texts()
    cells = [cell for sheet in shown for row in sheet.rows for cell in row.cells]
    assert cells
    for cell in cells:
        assert cell.text or cell.note is not None
        assert cell.note is None or notes[cell.note - 1]
    number = 1 + notes.index("energy and power: no power meter on this machine")
    assert all(f"Energy and power are not measured (note {number})" in sheet.caption for sheet in shown)
    assert not [cell for cell in cells if cell.text in ("0", "nan", "None")]


def test_each_sheet_has_its_own_scenario_and_no_foreign_figure(table: Table) -> None:
    every = lines(table)
    shown = {sheet.slug: sheet for sheet in sheets.sheets(every, sheets.Context({}, ""))}
    by_id = {line.id: line for line in every}
    assert list(shown) == ["single_stream", "offline"]
    for slug, sheet in shown.items():
        assert {by_id[row.id].kind for row in sheet.rows} == {slug}
    assert "throughput_per_s" not in [column.key for column in shown["single_stream"].columns]
    assert not [column.key for column in shown["offline"].columns if column.key.startswith("latency")]


def test_what_was_not_measured_and_what_probes_the_machine_is_not_compared(table: Table) -> None:
    compared = {row.id for sheet in sheets.sheets(lines(table), sheets.Context({}, "")) for row in sheet.rows}
    for line in lines(table):
        model = line.row["status"] == "ok" and line.row["role"] == "model"
        assert (line.id in compared) == (model and line.row["provenance"] == "measured")


def test_estimates_and_invalid_results_have_no_ratio(table: Table, html: str) -> None:
    every = lines(table)
    _, base = baselines(every)
    doubtful = [line for line in every if line.row["provenance"] != "measured" or line.row["verdict"] == "invalid"]
    assert {line.row["provenance"] for line in doubtful} == {"measured", "estimate"}
    assert not [line for line in doubtful if line.id in base or line in base.values()]
    rows = embedded(html)["rows"]
    assert all("v" not in rows[line.id] for line in doubtful if line.id in rows)
    for line in doubtful:
        if line.id in rows:
            assert f'data-k="{line.id}"' not in html.split("Workload × engine")[0]


def test_default_baseline_is_the_best_fp32_engine_of_each_group(two_machines: Table) -> None:
    every = [line for line in lines(two_machines) if line.row["role"] == "model"]
    name, base = baselines(every)
    assert name == DEFAULT_BASELINE
    for line in every:
        assert base[line.id].place == line.place
        assert base[line.id].group == line.group
        if line.row["precision"] == "fp32":
            assert ratio(line, base[line.id]) <= 1


def test_ratio_is_above_one_for_faster_whichever_way_the_metric_runs() -> None:
    def line(goal: str, value: float) -> Line:
        key = "latency_p50_ns" if goal == "latency" else "throughput_per_s"
        scenario = "single_stream" if goal == "latency" else "offline"
        return Line("r", {"scenario": scenario, "goal": goal, key: value}, "", "")

    assert ratio(line("latency", 5.0), line("latency", 10.0)) == 2
    assert ratio(line("throughput", 10.0), line("throughput", 5.0)) == 2


def test_a_chosen_baseline_is_found_by_its_words(two_machines: Table) -> None:
    every = [line for line in lines(two_machines) if line.row["role"] == "model"]
    host = "c7i.large"
    name, base = baselines(every, f"onnxruntime ({host}) fp32")
    assert name.startswith("onnxruntime fp32 on ")
    assert {line.config for line in base.values()} == {name}
    assert page.build(two_machines, name).count("1.00×") > 0


@pytest.mark.parametrize("wish", ["tensorrt", "fp32"])
def test_a_baseline_that_fits_none_or_several_is_one_clear_line(two_machines: Table, wish: str) -> None:
    with pytest.raises(ValueError, match=f"baseline '{wish}': .*choose one of: ") as error:
        page.build(two_machines, wish)
    assert "\n" not in str(error.value)


def test_machines_of_the_same_processor_are_told_apart(two_machines: Table) -> None:
    names = place_names(two_machines.rows.to_dict("records"))
    assert sorted(names.values()) == ["Intel Xeon Platinum 8488C (bench-1)", "Intel Xeon Platinum 8488C (c7i.large)"]
    assert '"hardware"' in page.build(two_machines)


def test_rows_unfold_to_command_files_and_checks(html: str) -> None:
    data = embedded(html)
    row = next(iter(data["rows"].values()))
    unfolded = dict(zip(data["sections"], row["d"], strict=True))
    command = data["pool"][unfolded["Run it again"]]
    assert command.startswith("pytest bench/ --backend=cpu --engine=")
    assert "--profile=standard" in command
    assert "records.log" in data["pool"][unfolded["Raw data, under the results folder"]]
    assert "outputs" in data["pool"][unfolded["Evidence"]]
    assert len(row["m"]) == len(data["metrics"])


def test_a_row_measured_with_options_is_measured_again_with_them(tmp_path: Path) -> None:
    identity = identities(1)[0].model_copy(update={"options": {"threads": "2", "note": "a b"}})
    with Run.open(tmp_path, "20261101T020000Z-000001") as run:
        run.append(record(identity, status="failed"))
    (line,) = lines(join.table(tmp_path))
    assert details.command(line).endswith(" --profile=standard --option='note=a b' --option=threads=2")


@pytest.mark.parametrize("words", ["--model net.onnx", "--bound=5@99 --scenario server"])
def test_what_no_identity_holds_is_measured_again_in_the_runs_own_words(tmp_path: Path, words: str) -> None:
    made = record(identities(1)[0], status="failed")
    context = made.context.model_copy(update={"command": f"pytest bench/ {words}"})
    with Run.open(tmp_path, made.context.run_id) as run:
        run.append(made.model_copy(update={"context": context}))
    (line,) = lines(join.table(tmp_path))
    assert details.command(line) == f"pytest bench/ {words}"


def test_shared_values_are_embedded_once(html: str) -> None:
    pool = [json.dumps(value) for value in embedded(html)["pool"]]
    assert len(pool) == len(set(pool))


def test_unreadable_records_are_told_first(table: Table) -> None:
    broken = dataclasses.replace(table, problems=tuple(Problem(Path("a/records.log"), n, "torn") for n in range(20)))
    text = Elements(page.build(broken)).text
    assert "20 records could not be read (the first 12 are named)" in text
    assert text.index("could not be read") < text.index("Hardware: claimed and measured")


def test_a_table_without_rows_says_what_to_run(table: Table) -> None:
    empty = dataclasses.replace(
        table, rows=table.rows.iloc[:0], machines={}, ceilings={}, oldest_utc=None, newest_utc=None
    )
    text = Elements(page.build(empty)).text
    assert "Nothing measured yet" in text
    assert "make bench" in text


def test_absent_hardware_alone_is_a_whole_page(table: Table) -> None:
    absent = dataclasses.replace(table, rows=table.rows[table.rows.status == "absent"], ceilings={})
    text = Elements(page.build(absent)).text
    assert "no NVIDIA driver: /dev/nvidiactl does not exist" in text
    assert "install the NVIDIA driver" in text


def test_write_replaces_the_page_and_leaves_nothing_else(table: Table, tmp_path: Path, html: str) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    assert report.write(table, out) == out
    assert out.read_text(encoding="utf-8") == html
    assert os.listdir(tmp_path) == ["report.html"]  # noqa: PTH208 - hidden files too


def test_a_failed_write_keeps_the_old_page(table: Table, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    with pytest.raises(ValueError, match="choose one of"):
        report.write(table, out, baseline="no such engine")
    assert out.read_text() == "old"


def test_five_hundred_identities_stay_under_a_megabyte(tmp_path: Path) -> None:
    write_root(tmp_path, identities=500, runs=1, repeats=1, mixed=False)
    table = join.table(tmp_path, Pricing(usd_per_hour=0.0892))
    assert len(table.rows) == 500
    assert len(page.build(table).encode()) <= 1_000_000


def test_comparison_is_as_on_the_golden_page(tmp_path: Path) -> None:
    """`UPDATE_GOLDEN=1 pytest tests/unit/test_report_page.py` accepts a wanted change."""
    write_root(tmp_path, identities=16, runs=1, repeats=5)
    built = page.build(join.table(tmp_path, Pricing(usd_per_hour=0.0892)))
    section = built[built.index('<section id="comparison"') :]
    section = section[: section.index("<section id=", 1)]
    golden = GOLDEN / "report_comparison.html"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(section, encoding="utf-8")
    assert section == golden.read_text(encoding="utf-8")


def test_identities_of_the_fakes_cover_both_scenarios() -> None:
    assert {identity.scenario for identity in identities(8)} == {"single_stream", "offline"}
