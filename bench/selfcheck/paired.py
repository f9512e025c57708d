"""Alternated, randomised, paired comparison, and the interval of the median ratio.

Contenders run one after the other, in a new random order each round, because noise is autocorrelated: a ratio within a
round meets the same noise above and below. One contender is there twice; its ratio to itself, the A/A ratio, says how
much of a difference this machine makes by itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from bench import intervals
from bench.selfcheck.contract import Row

CONFIDENCE = 0.95

Contender: TypeAlias = Callable[[], float]
"""Runs for a while and gives one figure, in whatever unit all of them share."""
Found: TypeAlias = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Band:
    """The ratios that are allowed."""

    low: float
    high: float

    def __str__(self) -> str:
        if self.low == 0:
            return f"at most {self.high:g}"
        return f"{self.low:g} to {self.high:g}" if self.high < math.inf else f"at least {self.low:g}"


@dataclass(frozen=True)
class Interval:
    """A median with its interval."""

    centre: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.centre:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def against(self, band: Band) -> Literal["agrees", "differs", "undecided"]:
        """Agrees if all of the interval is allowed, differs if none of it is."""
        if band.low <= self.low and self.high <= band.high:
            return "agrees"
        return "differs" if self.high < band.low or self.low > band.high else "undecided"


def within(share: float) -> Band:
    """The band of `share` on either side of 1."""
    return Band(1 - share, 1 + share)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Median of `values` with its distribution-free interval; raises ValueError for too few of them."""
    return Interval(median(values), *intervals.of_median(values, confidence))


def alternate(contenders: Mapping[str, Contender], rounds: int, seed: int = 0, warm_up: bool = True) -> Found:
    """The figures of each contender, round by round; with `warm_up` a first round is made and dropped."""
    rng = random.Random(seed)  # noqa: S311 - an order
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + warm_up):
        for name in rng.sample(sorted(contenders), len(contenders)):
            found[name].append(contenders[name]())
    return {name: figures[warm_up:] for name, figures in found.items()}


def ratio(above: Sequence[float], below: Sequence[float]) -> Interval:
    """The median of the ratios within rounds."""
    return interval([a / b for a, b in zip(above, below, strict=True)])


@dataclass(frozen=True)
class Unit:
    """How a contender's figures are written: over `factor`, with so many decimals."""

    name: str
    factor: float
    decimals: int

    def __call__(self, found: Interval) -> str:
        centre, low, high = (f"{one / self.factor:.{self.decimals}f}" for one in (found.centre, found.low, found.high))
        return f"{centre} [{low}, {high}] {self.name}"


MILLISECONDS, MICROSECONDS, PER_S = Unit("ms", 1e6, 3), Unit("µs", 1e3, 2), Unit("/s", 1, 1)
"""Of nanoseconds, and of rates."""


def compared(what: str, found: Found, between: tuple[str, str], itself: tuple[str, str], band: Band, unit: Unit) -> Row:
    """The row of a comparison: the ratio `between` two contenders, and of one with `itself` once more."""
    ratios = {names: ratio(found[names[0]], found[names[1]]) for names in (between, itself)}
    detail = ", ".join(f"{name} {unit(interval(found[name]))}" for name in between)
    return Row(what, ratios[between].against(band), str(ratios[between]), str(ratios[itself]), str(band), detail)
