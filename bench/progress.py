"""Tells a person at a terminal which item is being measured, how many are left and for how long; elsewhere nothing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO


def wanted(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a person is watching: a terminal that can move its cursor, and not a CI job's log."""
    return stream.isatty() and environment.get("TERM") != "dumb" and not environment.get("CI")


class Progress:
    """One line that is drawn over and over: `3/64  resnet50-cpu-...  measure  4 min left`."""

    def __init__(self, total: int, item_s: float, stream: TextIO | None, width: int | None = None) -> None:
        self._total, self._guess_s = total, item_s
        self._stream = stream
        self._width = width or shutil.get_terminal_size().columns
        self._done, self._spent_s, self._started_s = 0, 0.0, 0.0
        self._label = ""

    def start(self, label: str) -> None:
        self._label, self._started_s = label, time.monotonic()
        self.phase("start")

    def phase(self, name: str) -> None:
        """Show what the current item is doing."""
        self.show(f"{self._done + 1}/{self._total}  {self._label}  {name}  {self.left()}")

    def show(self, text: str) -> None:
        """Draw `text` in place of the last one, cut to the terminal's width."""
        if self._stream is not None:
            self._stream.write("\r\x1b[2K" + text[: self._width - 1])
            self._stream.flush()

    def finish(self, line: str) -> None:
        """Count the current item as done, and leave `line` standing for it."""
        self._done += 1
        self._spent_s += time.monotonic() - self._started_s
        self.clear()
        if self._stream is not None:
            self._stream.write(line[: self._width - 1] + "\n")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that somebody else can print."""
        if self._stream is not None:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def close(self) -> None:
        self.clear()
        if self._stream is not None:
            self._stream.close()

    def left(self) -> str:
        """The time that the unfinished items will take: as long as the finished ones took, on the mean."""
        mean_s = self._spent_s / self._done if self._done else self._guess_s
        return spoken((self._total - self._done) * mean_s) + " left"


def terminal() -> TextIO | None:
    """Standard output when a person watches it; None in a pipe, a log or CI.

    It is opened a second time, as pytest redirects the descriptor while a test runs.
    """
    stream = sys.__stdout__
    if stream is None or not wanted(stream):
        return None
    return os.fdopen(os.dup(stream.fileno()), "w")


def spoken(duration_s: float) -> str:
    """`40 s`, `5 min`, `2 h 10 min`: as precise as an estimate deserves."""
    if duration_s < 90:
        return f"{max(1, round(duration_s))} s"
    minutes = round(duration_s / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
