"""What a check of the harness and the machine has to answer. One file of this folder is one check.

A comparison that a check makes goes through `bench.selfcheck.paired`, so that every ratio has its interval and the
machine's own noise beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["agrees", "differs", "undecided", "noisy", "absent", "failed"]
"""`differs` and `failed` are faults. `noisy`: the machine disturbs, and is not wrong. `absent` goes with a remedy."""


@dataclass(frozen=True)
class Asked:
    """What the user chose: the workload that checks run, and how many alternated pairs each comparison takes."""

    workload: str = "mobilenetv2"
    pairs: int = 10


@dataclass(frozen=True)
class Row:
    """One answer. `found` is the ratio or the figure, `noise` the same of a thing with itself (A/A), `bound` what
    `found` has to keep, `detail` the figures behind it or the remedy.
    """

    what: str
    verdict: Verdict
    found: str = ""
    noise: str = ""
    bound: str = ""
    detail: str = ""


def judged(kept: bool, otherwise: Verdict = "differs") -> Verdict:
    """The verdict on a figure that needs no comparison: whether its bound was kept."""
    return "agrees" if kept else otherwise


class Check(ABC):
    """Made without arguments; what is not here to be compared with is raised as `workloads.contract.Unsupported`."""

    name: str
    doing: str
    """What is about to be done, in a few words, for the person who waits."""

    @abstractmethod
    def takes_s(self, asked: Asked) -> float:
        """About how long."""

    @abstractmethod
    def rows(self, asked: Asked) -> Iterator[Row]:
        """The answers, each as soon as it is known."""
