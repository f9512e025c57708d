"""The load put on a session, under MLPerf Inference's names and definitions.

Source: MLCommons inference_policies, inference_rules.adoc §3 "Scenarios". A further scenario is one more class here
and its driver in `bench/load.py`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing import Literal

    from backends.contract import Goal

RATE_MAX = 1_000_000
"""Queries a second: a window's arrivals are drawn before it, and no host issues more."""


class UnknownScenarioError(ValueError):
    """The message is one line that lists what there is."""


class Scenario:
    """`samples_kind` is that of `results.record.Window`; `default`: measured by a run that names no scenario.

    `keys` are the parameters that may stand behind the name; a scenario that has any overrides `__str__`.
    """

    name: ClassVar[str]
    goal: ClassVar[Goal]
    samples_kind: ClassVar[str] = "latency_ns"
    default: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ()
    batches: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16, 32)
    """What `--batch=auto` chooses from."""

    @classmethod
    def of(cls, words: Mapping[str, str]) -> Scenario:
        """From parameters as they were written, by their keys; raises ValueError for what cannot be meant."""
        return cls(**words)

    def refusal(self, batch: str, bounded: bool) -> str:
        """Why it cannot be measured with this batch, or without a latency bound, and what to do; "": it can be."""
        return ""

    def __str__(self) -> str:
        """The canonical string: `parse` leads back, and what is as by default is left out."""
        return self.name


@dataclass(frozen=True)
class SingleStream(Scenario):
    """MLPerf: "LoadGen sends next query as soon as SUT completes the previous query". What counts is latency."""

    name = "single_stream"
    goal = "latency"
    default = True


@dataclass(frozen=True)
class MultiStream(Scenario):
    """MLPerf: as single_stream, with queries of 8 samples, whose latency ends with the last one."""

    name = "multi_stream"
    goal = "latency"
    batches = (1, 2, 4, 8)
    query_samples: ClassVar[int] = 8

    def refusal(self, batch: str, bounded: bool) -> str:
        if batch == "auto" or int(batch) in self.batches:
            return ""
        return f"a query of multi_stream is 8 samples, which runs of {batch} do not make: give --batch=1, 2, 4 or 8"


@dataclass(frozen=True)
class Offline(Scenario):
    """MLPerf: all samples are there from the start, and what counts is throughput.

    Samples are endless here, and `Session.inflight` queries are kept under way: what is measured is the steady state,
    without the filling and the draining that one finite query includes.
    """

    name = "offline"
    goal = "throughput"
    samples_kind = "done_ns"
    default = True


@dataclass(frozen=True)
class Server(Scenario):
    """MLPerf: queries arrive in a Poisson process, and what counts is the highest rate that keeps the latency bound.

    `rate_per_s` counts queries of one batch each; None: the highest one is searched for.
    """

    rate_per_s: float | None = None

    name = "server"
    goal = "throughput"
    keys = ("rate",)

    @classmethod
    def of(cls, words: Mapping[str, str]) -> Server:
        with contextlib.suppress(ValueError):
            rate_per_s = float(words["rate"])
            if 0 < rate_per_s <= RATE_MAX:
                return cls(rate_per_s)
        raise ValueError(f"a rate is queries per second, more than 0 and up to {RATE_MAX:,}")

    def refusal(self, batch: str, bounded: bool) -> str:
        if batch == "auto":
            return "the batch of the highest throughput may not keep the bound: give --batch a number"
        return "" if bounded else "server needs a latency bound to keep: give --bound=MS@PERCENTILE, as in 15@99"

    def __str__(self) -> str:
        return self.name if self.rate_per_s is None else f"{self.name}(rate={self.rate_per_s:.15g})"


@dataclass(frozen=True)
class ColdStart(Scenario):
    """A fresh process, from its start to its first answer, and on to the steady state. Not one of MLPerf's.

    `page_cache`: whether the files that it reads are left in memory as they are, or evicted before it reads them.
    """

    page_cache: Literal["warm", "cold"] = "warm"

    name = "cold_start"
    goal = "latency"
    samples_kind = "cold_ns"
    keys = ("page_cache",)

    def __post_init__(self) -> None:
        if self.page_cache not in ("warm", "cold"):
            raise ValueError("page_cache is warm or cold")

    def refusal(self, batch: str, bounded: bool) -> str:
        return "trying batches leaves no cold start: give --batch a number" if batch == "auto" else ""

    def __str__(self) -> str:
        return self.name if self.page_cache == "warm" else f"{self.name}(page_cache={self.page_cache})"


@dataclass(frozen=True)
class Compile(Scenario):
    """No load at all: what a compiler or a simulator says of a device that is not here. Never asked for by name."""

    name = "compile"
    goal = "latency"

    def refusal(self, batch: str, bounded: bool) -> str:
        return "nothing is run, so no batch is the fastest: give --batch a number" if batch == "auto" else ""


@dataclass(frozen=True)
class TrainSteps(Scenario):
    """Whole steps of training, one after another; a query is one batch. It is what `--mode train` puts on a session.

    Never asked for by name, and none of MLPerf Inference's; its figure is that of MLPerf Training's inner loop.
    """

    name = "train_steps"
    goal = "throughput"

    def refusal(self, batch: str, bounded: bool) -> str:
        return "the batch is part of what is trained: give --batch a number" if batch == "auto" else ""


SCENARIOS: dict[str, type[Scenario]] = {
    cls.name: cls for cls in (SingleStream, MultiStream, Offline, Server, ColdStart)
}
"""Those that `--scenario` may name."""
COMPILE, TRAIN_STEPS = Compile.name, TrainSteps.name
_UNNAMED: dict[str, type[Scenario]] = {COMPILE: Compile, TRAIN_STEPS: TrainSteps}


def parse(text: str) -> Scenario:
    """A scenario from its name and parameters, as in server(rate=40); raises UnknownScenarioError."""
    shape = re.fullmatch(r"(\w+)(?:\((.*)\))?", text)
    kind = _UNNAMED.get(text) or (SCENARIOS.get(shape[1]) if shape else None)
    if shape is None or kind is None:
        raise UnknownScenarioError(f"unknown scenario {text}; there are: {', '.join(SCENARIOS)}")
    words = dict(word.partition("=")[::2] for word in shape[2].split(",")) if shape[2] else {}
    if unknown := [key for key in words if key not in kind.keys]:
        known = ", ".join(kind.keys) or "none"
        raise UnknownScenarioError(f"scenario {kind.name} has no parameter {unknown[0]}; it has: {known}")
    try:
        return kind.of(words) if words else kind()
    except ValueError as error:
        raise UnknownScenarioError(f"unknown scenario {text}: {error}") from None
