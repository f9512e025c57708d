"""Files that lowerings keep: whole or not at all, made once, and made anew where what they depend on differs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from workloads.contract import Model
from workloads.forms._cache import cached


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return Model("m", "digest", (), (), "m")


def test_a_failure_leaves_nothing_that_is_taken_for_a_file(model: Model) -> None:
    def fail(to: Path) -> None:
        to.write_text("half a fi")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        cached(model, "x", (), "x.bin", fail)
    assert cached(model, "x", (), "x.bin", lambda to: to.write_text("whole") and None).read_text() == "whole"


def test_another_key_is_another_file(model: Model) -> None:
    for key in ((1, "a"), (1, "b"), (2, "a")):
        made = cached(model, "x", key, "x.bin", lambda to, key=key: to.write_text(repr(key)) and None)
        assert made.read_text() == repr(key)


def test_of_several_at_once_one_makes_it(model: Model) -> None:
    made: list[Path] = []
    inside = threading.Event()

    def make(to: Path) -> None:
        made.append(to)
        inside.wait(0.2)
        to.write_text("whole")

    threads = [threading.Thread(target=cached, args=(model, "x", (), "x.bin", make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1
