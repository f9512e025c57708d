"""Reads several sources, each at its own period, in a thread of the parent while a worker is measured.

It must not disturb what it watches: it sleeps between readings, and a reading that is late is not made up for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

STOP_S = 5.0
"""How long a source may hang at the end: a driver that never answers must not end the run."""


@dataclass
class Source:
    """Something to read every `period_s`. `read` gives what is new and never raises; `seen` is all that it gave."""

    read: Callable[[], Iterable[Any]]
    period_s: float
    seen: list[Any] = field(default_factory=list)
    due_ns: int = 0


class Sampler:
    """Reads `sources` from entering the block until leaving it, at both ends too."""

    def __init__(self, sources: Sequence[Source], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._sources, self._clock = sources, clock
        self._stop = Event()
        self._thread = Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self.step()
        if self._sources:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._sources:
            self._thread.join(STOP_S)

    def step(self) -> float:
        """Read every source that is due; seconds until the next one is."""
        for source in self._sources:
            now_ns = self._clock()
            if source.due_ns <= now_ns:
                source.seen += source.read()
                source.due_ns = now_ns + round(source.period_s * 1e9)
        return max(0.0, (min((one.due_ns for one in self._sources), default=0) - self._clock()) / 1e9)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = self.step()
        for source in self._sources:
            source.seen += source.read()
