"""The section of techniques: the table, every trial below it, and the picture."""

import re
from pathlib import Path

import pytest

from results import join
from results.join import Table
from results.report import page, palette
from results.report.lines import lines
from results.report.svg import Mark
from results.report.techniques import DRAWN, Shown, techniques
from results.report.tradeoff import Tried, tradeoff, tradeoff_front
from results.store import Run
from tests.fakes import techniques as fake
from tests.fakes.records import write_root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("techniques")
    with Run.open(root, fake.RUN) as run:
        fake.write(run)
    return join.table(root)


@pytest.fixture(scope="module")
def shown(table: Table) -> Shown:
    found = techniques(table, lines(table))
    assert found is not None
    (device,) = found.devices
    return device


@pytest.fixture(scope="module")
def html(table: Table) -> str:
    return page.build(table)


def point(speed: float, lost: float, *, ranked: bool = True, size: float = 0.3, label: str = "") -> Tried:
    return Tried(speed, lost, size, 0, Mark(label), label, ranked, (speed, speed), (lost, lost))


def test_a_page_without_techniques_has_no_such_section(tmp_path: Path) -> None:
    write_root(tmp_path, identities=4, runs=1, repeats=1, mixed=False)
    html = page.build(join.table(tmp_path))
    assert 'id="techniques"' not in html
    assert 'href="#techniques"' not in html


def test_every_claim_has_its_row_whether_it_was_tried_or_not(shown: Shown) -> None:
    assert [row.kind for row in shown.rows] == [
        "INT8", "pruning 50 %, structured", "pruning 50 %, zeros", "distillation", "weight compression",
        "operator fusion", "mixed precision",
    ]  # fmt: skip
    assert [cell.verdict for cell in shown.rows[0].found] == ["holds"] * 4
    (absent,) = shown.rows[-1].found
    assert (absent.absent, absent.text, absent.span) == (
        "not measured",
        "no technique of its kind is among these results",
        4,
    )


def test_every_trial_stands_below_and_leads_to_its_row(shown: Shown, html: str) -> None:
    rows = [row for group in shown.groups for row in group.rows]
    assert len(rows) == shown.count
    assert {"control", "speaks"} == {tag for row in rows for tag in row.tags}
    for row in rows:
        assert f"<tr id={row.row_id}>" in html
    assert [group.name for group in shown.groups][-1] == "no claim is about these"


def test_a_ruined_technique_is_struck_from_the_ranking_with_why(shown: Shown) -> None:
    (ruined,) = (row for group in shown.groups for row in group.rows if row.name == "int3-rounded, bytelm-small")
    assert "above its floor" in ruined.invalid
    assert ruined.cells[2].text.startswith("40.00 % lost")


def test_random_weights_have_no_quality_and_no_picture(shown: Shown) -> None:
    (row,) = (row for group in shown.groups for row in group.rows if row.name == "int8-weights, resnet50")
    assert (row.cells[2].text, row.cells[2].detail) == ("", "not measurable: random weights")
    assert [figure.name for figure in shown.figures] == ["bytelm-small, single stream", "digits-small, single stream"]


def test_losers_are_drawn_grey_and_labelled(shown: Shown) -> None:
    svg = str(shown.figures[0].svg)
    for name in ("int3-rounded", "distill-scratch", "fuse-off", "fp32, openvino"):
        assert f">{name}</text>" in svg
    ruined = re.search(r'<g class="pt"[^>]*><title>int3-rounded.*?</g>', svg, re.S)
    assert ruined is not None
    assert "below the quality floor" in ruined[0]
    assert "fill:var(--rule)" in ruined[0]
    best = re.search(r'<g class="pt"[^>]*><title>int8-static, onnxruntime.*?</g>', svg, re.S)
    assert best is not None
    assert "fill:var(--s0)" in best[0]


def test_fusion_is_on_another_scale_and_in_no_picture(shown: Shown) -> None:
    assert "default fusion" not in "".join(str(figure.svg) for figure in shown.figures)


def test_the_front_is_what_nothing_beats_in_speed_and_in_loss() -> None:
    fast, slow, beaten = point(3, 2.0), point(2, 0.1), point(1.9, 0.2)
    control, slower = point(4, 0.0, ranked=False), point(0.8, -1.0)
    assert tradeoff_front([beaten, slow, control, fast, slower]) == [slow, fast]
    assert tradeoff_front([control]) == []


@pytest.mark.parametrize("lost", [-4.0, 0.0, 0.3, 95.0])
def test_any_loss_can_be_drawn(lost: float) -> None:
    svg = str(tradeoff([point(2, lost, label="x")], "a picture", "p"))
    assert 'aria-label="a picture"' in svg
    assert "nan" not in svg.lower()


def test_the_size_is_the_area() -> None:
    """A quarter of the bytes has half the width."""
    svg = str(tradeoff([point(2, 0.1, size=0.25), point(3, 0.2, size=1.0)], "sizes", "p"))
    widths = sorted({float(radius) for radius in re.findall(r'<path d="M0 ([\d.]+)C', svg)})
    assert widths == [4.2, 8.5]


def test_every_kind_of_technique_has_a_colour_of_its_own() -> None:
    assert len(DRAWN) + 1 == palette.SERIES
