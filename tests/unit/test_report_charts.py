"""The charts: legible in both themes, deterministic, safe with any name, and right about who is on the front."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.report import charts, palette
from results.report.charts import Point, Roof, Tile
from results.report.svg import Mark

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;$\\frac{a}{b}$ -->'


def point(x: float, y: float, title: str = "t", label: str = "") -> Point:
    return Point(x, y, 0, 0, Mark(title, ("r0",)), label)


def tiles() -> dict[tuple[int, int], Tile]:
    return {(0, 0): Tile(1.0, "1.00×", Mark("as fast", ("r0",))), (0, 1): Tile(None, "absent", Mark(HOSTILE))}


def every_chart(text: str) -> list[str]:
    return [
        str(charts.pareto([point(1, 10, text), point(2, 20, text)], text, "a")),
        str(charts.roofline([Roof(text, 1e11, 1e10)], [point(5, 1e10, text, text)], text, "b")),
        str(charts.heat_map([text], ["x\ny", text], tiles(), text, "c")),
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_heat_map_text_has_aa_contrast_on_every_fill(theme: str) -> None:
    colours = palette.variables(theme)
    for index in range(palette.BINS):
        assert palette.contrast(colours[f"h{index}"], colours[f"t{index}"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_series_stand_out_from_the_background(theme: str) -> None:
    colours = palette.variables(theme)
    for surface in ("bg", "card"):
        for name in ("fg", "mut", "acc", "good", "warn", "bad"):
            assert palette.contrast(colours[name], colours[surface]) >= 4.5, name
        for index in range(palette.SERIES):
            assert palette.contrast(colours[f"s{index}"], colours[surface]) >= 3.0, index


def test_contrast_knows_black_and_white() -> None:
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert palette.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_both_themes_define_the_same_variables() -> None:
    assert palette.variables("light").keys() == palette.variables("dark").keys()


def test_hostile_text_stays_text() -> None:
    for drawn in every_chart(HOSTILE):
        root = ET.fromstring(drawn)
        assert not [e.tag for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "img", "style", "image")]
        assert "<script" not in drawn
        assert HOSTILE in {root.get("aria-label"), *(e.text for e in root.iter())}


def test_colours_come_from_the_page_alone() -> None:
    for drawn in every_chart("plain"):
        assert not re.search(r"#[0-9a-f]{6}", drawn)
        assert "currentColor" in drawn or "var(--mut)" in drawn
        assert "font-family" not in drawn


def test_the_same_figures_give_the_same_bytes() -> None:
    assert every_chart("plain") == every_chart("plain")


def test_ids_begin_with_the_prefix_so_that_charts_can_share_a_page() -> None:
    ids = [re.findall(r' id="([^"]+)"', drawn) for drawn in every_chart("plain")]
    assert all(name.startswith(prefix) for prefix, names in zip("abc", ids, strict=True) for name in names)
    references = re.findall(r'href="#([^"]+)"', every_chart("plain")[0])
    assert references
    assert set(references) <= set(ids[0])


def test_marks_carry_tooltip_and_rows() -> None:
    drawn = str(charts.pareto([Point(1, 10, 0, 0, Mark("12 ms & more", ("r3", "r4")))], "x", "p"))
    assert 'data-k="r3 r4"' in drawn
    assert "<title>12 ms &amp; more</title>" in drawn


def test_front_keeps_what_nothing_beats() -> None:
    a, b, c, d = point(1, 10), point(2, 9), point(3, 30), point(3, 20)
    assert charts.front([d, c, b, a]) == [a, c]


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e9)), min_size=1, max_size=30))
def test_front_is_exactly_the_undominated_points(pairs: list[tuple[float, float]]) -> None:
    best = {(p.x, p.y) for p in charts.front([point(*pair) for pair in pairs])}
    beaten = {(x, y) for x, y in pairs if any((u <= x and v >= y and (u, v) != (x, y)) for u, v in pairs)}
    assert best == set(pairs) - beaten


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, 4), (2.0, 6), (0.5, 2), (4.0, 8), (100.0, 8), (0.001, 0), (0.0, 0)]
)
def test_heat_bins_are_half_doublings(ratio: float, expected: int) -> None:
    assert charts.heat_bin(ratio) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-4, 1e7), st.floats(1e-3, 1e12)), min_size=1, max_size=6))
def test_any_positive_figures_can_be_drawn(pairs: list[tuple[float, float]]) -> None:
    drawn = str(charts.pareto([point(*pair) for pair in pairs], "x", "p"))
    assert drawn.count('class="pt"') == len(pairs)
    assert "nan" not in drawn
