from __future__ import annotations

import io

import pytest

from bench import progress
from bench.progress import Progress, spoken


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().replace("\r\x1b[2K", "\n").split("\n") if line]


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"CI": "true"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_only_a_person_is_told(stream: io.StringIO, environment: dict[str, str], expected: bool) -> None:
    assert progress.wanted(stream, environment) is expected


def test_it_says_which_item_how_many_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s)
    stream = Terminal()
    shown = Progress(3, item_s=10, stream=stream, width=100)
    shown.start("resnet50")
    shown.phase("measure")
    assert lines(stream)[-1] == "1/3  resnet50  measure  30 s left"
    now_s = 40.0
    shown.finish("resnet50  50 samples/s")
    shown.start("kws")
    assert lines(stream)[-2:] == ["resnet50  50 samples/s", "2/3  kws  start  80 s left"]


def test_a_line_never_wraps() -> None:
    stream = Terminal()
    Progress(1, 1, stream, width=20).show("x" * 100)
    assert lines(stream) == ["x" * 19]


def test_clearing_leaves_an_empty_line() -> None:
    stream = Terminal()
    shown = Progress(1, 1, stream, width=20)
    shown.show("text")
    shown.clear()
    assert stream.getvalue().endswith("\r\x1b[2K")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (59.6, "60 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (36_000, "10 h 0 min")],
)
def test_durations_are_as_precise_as_an_estimate_deserves(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
