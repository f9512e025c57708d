"""The load put on a session, under MLPerf Inference's names and definitions.

Source: MLCommons inference_policies, inference_rules.adoc §3 "Scenarios". A further scenario (multi_stream, server,
cold_start) is one more class here and its driver in `bench/measure.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Union

if TYPE_CHECKING:
    from backends.contract import Goal


class UnknownScenarioError(ValueError):
    """The message is one line that lists the names there are."""


@dataclass(frozen=True)
class SingleStream:
    """MLPerf: "LoadGen sends next query as soon as SUT completes the previous query". What counts is latency."""

    name: ClassVar[str] = "single_stream"
    goal: ClassVar[Goal] = "latency"
    samples_kind: ClassVar[str] = "latency_ns"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Offline:
    """MLPerf: all samples are there from the start, and what counts is throughput.

    Samples are endless here, and `Session.inflight` queries are kept under way: what is measured is the steady state,
    without the filling and the draining that one finite query includes.
    """

    name: ClassVar[str] = "offline"
    goal: ClassVar[Goal] = "throughput"
    samples_kind: ClassVar[str] = "done_ns"

    def __str__(self) -> str:
        return self.name


Scenario = Union[SingleStream, Offline]  # noqa: UP007 - evaluated, and a worker may run on Python 3.9

SCENARIOS = {cls.name: cls for cls in (SingleStream, Offline)}


def parse(text: str) -> Scenario:
    """A scenario from its canonical string, `str(scenario)`; raises UnknownScenarioError."""
    try:
        return SCENARIOS[text]()
    except KeyError:
        raise UnknownScenarioError(f"unknown scenario {text}; there are: {', '.join(SCENARIOS)}") from None
