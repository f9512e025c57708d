"""How far each backend and engine was proved, and on what: the table that the tests write and README shows.

`pytest --support=docs/support.toml` (tests/support.py) replaces the rows of what it ran; the others stay, as no single
environment has every toolchain and no single machine every device. A row is one suite's evidence at one level.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench import ROOT

TABLE = ROOT / "docs" / "support.toml"
LEVELS = {
    "verified on device": "it computed on that device, and was compared with right answers",
    "real compiler": "the vendor's own compiler took the networks; no device ran them",
    "simulator": "the vendor's own simulator computed them; its time is never shown",
    "fake": "tried against a stand-in written from the vendor's documentation",
    "not at all": "written, and never tried by anything that resembles it",
}
"""From the most that can be said to the least, with what it means."""
NEVER = "not at all"
BEGIN, END = "<!-- support: accelmark support --write README.md -->", "<!-- /support -->"
HEADER = """\
# What the tests proved of each backend and engine, at which level, on what and when. Generated, never written by hand:
#     python -m pytest --support=docs/support.toml      in each environment: the rows of what it runs are replaced
#     accelmark support --write README.md               the same as a table
"""
COLUMNS = ("backend", "engine", "level", "on", "when", "checks", "precisions")


@dataclass(frozen=True)
class Row:
    """Evidence of one pair at one level. `suite` is the marker under which it ran; `gaps` are known, with reasons."""

    backend: str
    engine: str
    level: str
    suite: str = ""
    on: str = ""
    date: str = ""
    commit: str = ""
    passed: int = 0
    gaps: int = 0
    failed: int = 0
    precisions: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.backend, self.engine, list(LEVELS).index(self.level), self.suite


def read(path: Path = TABLE) -> list[Row]:
    """The rows of a table; raises ValueError for what is none."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("row", [])
        return [_row(values) for values in rows]
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no support table: {error}; write one with pytest --support FILE.toml") from error


def _row(values: dict[str, object]) -> Row:
    """Raises TypeError for a field that is missing, unknown or of another type."""
    kinds = {one.name: {"int": int, "str": str}.get(str(one.type), list) for one in fields(Row)}
    for name, value in values.items():
        if not isinstance(value, kinds.get(name, object)):
            raise TypeError(f"{name} = {value!r}")
    if values.get("level") not in LEVELS:
        raise TypeError(f"level {values.get('level')!r} is none of {', '.join(LEVELS)}")
    precisions = values.get("precisions")
    told: dict[str, Any] = {**values, "precisions": tuple(precisions) if isinstance(precisions, list) else ()}
    return Row(**told)


def write(path: Path, rows: Iterable[Row]) -> None:
    """In one order, whatever ran first, so that a change reads well in a diff."""
    blocks = (
        "\n[[row]]\n" + "".join(_line(*pair) for pair in asdict(row).items() if pair[1])
        for row in sorted(rows, key=_key)
    )
    path.write_text(HEADER + "".join(blocks), encoding="utf-8")


def _key(row: Row) -> tuple[str, str, int, str]:
    return row.key


def _line(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(_quoted(one) for one in value)}]\n"
    return f"{name} = {value if isinstance(value, int) else _quoted(str(value))}\n"


def _quoted(text: str) -> str:
    """A basic string of TOML, whose control characters are nowhere of interest here."""
    kept = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    return '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'


def merged(old: Iterable[Row], new: Iterable[Row], pairs: Iterable[tuple[str, str]] = ()) -> list[Row]:
    """`old` with the rows of `new` in place of theirs; of `pairs`, those without evidence are listed as such."""
    rows = {row.key: row for row in (*old, *new)}
    tried = {(row.backend, row.engine) for row in rows.values() if row.level != NEVER}
    untried = {pair for pair in pairs if pair not in tried}
    evidence = [row for row in rows.values() if row.level != NEVER or (row.backend, row.engine) not in tried]
    listed = {(row.backend, row.engine) for row in evidence}
    return [*evidence, *(Row(*pair, NEVER) for pair in untried - listed)]


def take(path: Path, table: Path = TABLE) -> None:
    """Put the evidence of another machine's table into this one, in place of older rows of the same kind."""
    write(table, merged(read(table), [row for row in read(path) if row.level != NEVER]))


def strongest(rows: Sequence[Row]) -> list[Row]:
    """One row for each pair: its best level, the evidence of all suites at that level added up."""
    pairs = {(row.backend, row.engine): row for row in sorted(rows, key=_key, reverse=True)}
    return [_summed([one for one in rows if one.key[:3] == best.key[:3]]) for _, best in sorted(pairs.items())]


def _summed(rows: Sequence[Row]) -> Row:
    newest = max(rows, key=lambda row: row.date)
    return replace(
        newest,
        suite=" ".join(sorted(row.suite for row in rows)),
        on="; ".join(dict.fromkeys(row.on for row in rows)),
        passed=sum(row.passed for row in rows),
        gaps=sum(row.gaps for row in rows),
        failed=sum(row.failed for row in rows),
        precisions=tuple(dict.fromkeys(name for row in rows for name in row.precisions)),
    )


def proved(backend: str) -> str:
    """In a few words, how far the engines of a backend were proved; "" where the table has none, or is not here."""
    if not TABLE.exists():
        return ""
    levels = [f"{row.engine}: {row.level}" for row in strongest(read()) if row.backend == backend]
    return f"proved so far: {', '.join(levels)}" if levels else ""


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table as text, in COLUMNS, a line for each pair."""
    return [
        (row.backend, row.engine, row.level, row.on, row.date, _checks(row), " ".join(row.precisions))
        for row in strongest(rows)
    ]


def _checks(row: Row) -> str:
    counts = {"passed": row.passed, "known gaps": row.gaps, "FAILED": row.failed}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def markdown(rows: Sequence[Row]) -> str:
    """What README has between its marks, the meaning of each level included."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *cells(rows)]
    table = "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
    seen = {row.level for row in strongest(rows)}
    meanings = "".join(f"- **{level}**: {meaning}.\n" for level, meaning in LEVELS.items() if level in seen)
    return f"{BEGIN}\n{table}\n{meanings}{END}"


def between_marks(text: str) -> str:
    """The block of a page that is this table, marks included; raises ValueError where there is none."""
    found = re.search(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no place for the support table: put these two lines where it belongs: {BEGIN} and {END}")
    return found.group()


def rewrite(page: Path, rows: Sequence[Row]) -> None:
    """Put the table into a page between its marks."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace(between_marks(text), markdown(rows)), encoding="utf-8")
