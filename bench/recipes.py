"""Techniques as they are asked for: names joined by a plus, applied in the order of their stages.

Workers use this, so it needs the standard library only and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench import parts
from workloads.contract import STAGES, Packing, Technique, Workload
from workloads.treated import Treated

NONE, ALL = "none", "all"


class RecipeError(ValueError):
    """Techniques that cannot be meant together; the message is one line with the remedy."""


@dataclass(frozen=True)
class Recipe:
    """`name` is canonical: what was asked for in the order of the stages; `techniques` are what that stands for."""

    name: str
    techniques: tuple[Technique, ...] = ()

    @property
    def precision(self) -> str:
        """What the outcome computes in; "": what is asked for."""
        return next((one.precision for one in self.techniques if one.precision), "")

    @property
    def wishes(self) -> tuple[str, ...]:
        """What is asked of the engine."""
        return tuple(one.wish for one in self.techniques if one.wish)

    @property
    def packing(self) -> Packing | None:
        return next((one for one in self.techniques if isinstance(one, Packing)), None)

    @property
    def steps(self) -> tuple[str, ...]:
        """What somebody has to do beyond running fp32."""
        return tuple(step for one in self.techniques for step in one.steps)

    def suits(self, workload: Workload) -> bool:
        return all(one.suits(workload) for one in self.techniques)

    def of(self, workload: Workload) -> Workload:
        """The workload with its model treated; the workload itself where nothing changes the model."""
        return Treated(workload, self.techniques) if self.techniques else workload


def parse(text: str, extra: Sequence[str] = ()) -> Recipe:
    """Raises PartError for an unknown technique and RecipeError for techniques that exclude each other."""
    if text == NONE:
        return Recipe(NONE)
    named = sorted((_find(word, extra) for word in text.split("+")), key=_order)
    techniques = sorted((one for technique in named for one in _meant(technique, extra)), key=_order)
    _check(text, techniques)
    return Recipe("+".join(one.name for one in named), tuple(techniques))


def everything(extra: Sequence[str] = ()) -> list[Recipe]:
    """No technique, and each one of the shelf by itself."""
    found = parts.collect(Technique, extra)
    return [Recipe(NONE), *(parse(one.name, extra) for one in found if one.part is not None)]


def _find(word: str, extra: Sequence[str]) -> Technique:
    if not word:
        raise RecipeError("--technique: a plus stands between two names, as in prune-structured-50+int8-static")
    if word in (NONE, ALL):
        raise RecipeError(f"--technique: {word} stands alone, and is joined with nothing")
    return parts.find(Technique, word, extra)


def _meant(technique: Technique, extra: Sequence[str]) -> list[Technique]:
    """What it stands for, however deep."""
    named = [parts.find(Technique, name, extra) for name in technique.recipe]
    return [one for part in named for one in _meant(part, extra)] or [technique]


def _order(technique: Technique) -> int:
    if technique.stage not in STAGES:
        raise RecipeError(f"technique {technique.name} is of no known stage, {technique.stage}: {', '.join(STAGES)}")
    return STAGES.index(technique.stage)


def _check(text: str, techniques: Sequence[Technique]) -> None:
    names = [one.name for one in techniques]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise RecipeError(f"--technique {text}: {twice} is in it twice; name it once")
    for what, same in (
        ("each decide the precision", [one.name for one in techniques if one.precision]),
        ("each store the file", [one.name for one in techniques if one.stage == "file"]),
        ("each ask the engine for the same", _rivals(techniques)),
    ):
        if len(same) > 1:
            raise RecipeError(f"--technique {text}: {' and '.join(same)} {what}; choose one")


def _rivals(techniques: Sequence[Technique]) -> list[str]:
    """Techniques whose wishes are about one thing."""
    about = [one.wish.partition("=")[0] for one in techniques]
    return [one.name for one, what in zip(techniques, about) if what and about.count(what) > 1]
