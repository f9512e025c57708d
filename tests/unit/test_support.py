"""The support table: what replaces what, which level counts, and how it is written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cli, support
from bench.support import LEVELS, NEVER, Row, merged, read, strongest, write

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
ROWS = st.builds(
    Row,
    backend=st.sampled_from(["cpu", "tpu"]),
    engine=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20),
    level=st.sampled_from(list(LEVELS)),
    suite=WORDS,
    on=WORDS,
    passed=st.integers(0, 999),
    failed=st.integers(0, 9),
    precisions=st.lists(WORDS, max_size=3).map(tuple),
)


def row(engine: str = "vela", level: str = "real compiler", suite: str = "asic", **more: object) -> Row:
    told = {"on": "Vela 5.2", "date": "2026-11-22", "commit": "c", "passed": 3, "precisions": ("int8",)}
    return Row("ethos_u", engine, level, suite, **{**told, **more})


def printable(text: str) -> str:
    return "".join(" " if ord(one) < 32 or ord(one) == 127 else one for one in text)


@given(st.lists(ROWS, max_size=5, unique_by=lambda one: one.key))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("support") / "support.toml"
    write(path, rows)
    again = read(path)
    write(path, reversed(again))
    assert read(path) == again
    assert len(again) == len(rows)
    assert sorted(one.passed for one in again) == sorted(one.passed for one in rows)


def test_control_characters_do_not_break_the_table(tmp_path: Path) -> None:
    write(tmp_path / "t.toml", [row(on='a "b" \\ c\nd\x00e')])
    assert read(tmp_path / "t.toml")[0].on == 'a "b" \\ c d e'


@pytest.mark.parametrize(
    "text",
    [
        "[[row]]\n", "[[row]", '[[row]]\nbackend = "a"\nengine = "b"\nlevel = "guessed"\n',
        '[[row]]\nbackend = "a"\nengine = "b"\nlevel = "fake"\npassed = "3"\n',
        '[[row]]\nbackend = "a"\nengine = "b"\nlevel = "fake"\ncolour = "red"\n',
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ValueError, match="no support table"):
        read(tmp_path / "t.toml")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00garbage", b"a,b\n1,2\n", b'row = "x"\n', b"row = [1]\n", b"row = 1\n"]
)
def test_taking_what_is_no_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "garbage.csv"
    path.write_bytes(content)
    assert cli.main(["support", "--take", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"accelmark: {path} is no support table: ")
    assert "write one with pytest --support FILE.toml" in line


def test_a_run_replaces_only_its_own_rows() -> None:
    old = [row(passed=3), row(suite="test", level="fake"), row("other")]
    after = merged(old, [row(passed=5)])
    assert {(one.engine, one.level, one.suite, one.passed) for one in after} == {
        ("vela", "real compiler", "asic", 5),
        ("vela", "fake", "test", 3),
        ("other", "real compiler", "asic", 3),
    }


def test_another_machine_brings_its_evidence_and_nothing_else(tmp_path: Path) -> None:
    table, other = tmp_path / "table.toml", tmp_path / "other.toml"
    write(table, [row(), row("later", NEVER, "")])
    write(other, [row("later", "verified on device", "torch"), row("vela", NEVER, "")])
    support.take(other, table)
    assert [(one.engine, one.level) for one in read(table)] == [
        ("later", "verified on device"),
        ("vela", "real compiler"),
    ]


def test_a_pair_that_nothing_tried_is_listed_until_something_does() -> None:
    pairs = [("ethos_u", "vela"), ("ethos_u", "later")]
    listed = merged([], [row()], pairs)
    assert [(one.engine, one.level) for one in listed] == [("vela", "real compiler"), ("later", NEVER)]
    assert merged(listed, [], pairs) == listed
    assert [one.level for one in merged(listed, [row("later", "fake", "test")], pairs)] == ["real compiler", "fake"]


def test_the_strongest_level_counts_with_all_of_its_suites() -> None:
    rows = [
        row(level="fake", suite="test", passed=50, on="a fake"),
        row(level="simulator", suite="asic", passed=4, gaps=1, on="a", precisions=("int8",)),
        row(
            level="simulator", suite="edge", passed=5, failed=2, on="b", precisions=("fp16", "int8"), date="2027-01-01"
        ),
    ]
    (best,) = strongest(rows)
    assert (best.level, best.suite, best.on, best.date) == ("simulator", "asic edge", "a; b", "2027-01-01")
    assert (best.passed, best.gaps, best.failed, best.precisions) == (9, 1, 2, ("int8", "fp16"))


def test_failures_are_never_hidden() -> None:
    assert "3 passed, 1 known gaps, 2 FAILED" in support.markdown([row(gaps=1, failed=2)])


def test_the_page_keeps_everything_else(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{support.BEGIN}\nold\n{support.END}\nafter\n")
    support.rewrite(page, [row()])
    assert page.read_text() == f"before\n{support.markdown([row()])}\nafter\n"
    assert "| ethos_u | vela | real compiler | Vela 5.2 | 2026-11-22 | 3 passed | int8 |" in page.read_text()
    support.rewrite(page, [row()])
    assert support.between_marks(page.read_text()) == support.markdown([row()])


def test_a_page_without_a_place_for_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing")
    assert cli.main(["support", "--write", str(page)]) == 2
    assert "no place for the support table" in capsys.readouterr().err
    assert page.read_text() == "nothing"


def test_the_command_shows_the_committed_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["support"]) == 0
    shown = capsys.readouterr().out
    assert all(one.engine in shown and one.level in shown for one in read())
