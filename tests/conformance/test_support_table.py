"""The committed support table: complete, about what there is, and the same as README shows."""

from __future__ import annotations

from pathlib import Path

from backends.contract import Backend, Engine
from bench import parts, support
from tests.conformance.pairs import pairs

README = Path(__file__).parents[2] / "README.md"
AGAIN = "run pytest --support docs/support.toml in each environment, then accelmark support --write README.md"


def test_every_engine_that_could_drive_a_backend_is_listed() -> None:
    listed = {(row.backend, row.engine) for row in support.read()}
    assert set(pairs()) - listed == set(), AGAIN


def test_what_a_target_alone_gives_an_address_is_a_pair_too() -> None:
    assert ("inferentia", "jax") in pairs()


def test_nothing_is_listed_that_is_no_more() -> None:
    backends = {one.name for one in parts.collect(Backend)}
    engines = {one.name for one in parts.collect(Engine)}
    stale = [row for row in support.read() if row.backend not in backends or row.engine not in engines]
    assert stale == [], "remove these rows from docs/support.toml"


def test_what_is_listed_has_evidence() -> None:
    for row in support.strongest(support.read()):
        if row.level != support.NEVER:
            assert row.passed, f"{row.engine} on {row.backend}: {AGAIN}"
            assert not row.failed, f"{row.engine} on {row.backend}: {AGAIN}"
            assert row.on
            assert row.date
            assert row.commit


def test_the_readme_shows_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert support.between_marks(text) == support.markdown(support.read()), AGAIN
