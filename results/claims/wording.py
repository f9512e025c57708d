"""How a claim on a technique and what was found of it are written."""

from __future__ import annotations

from results.claims.trials import Trial
from results.claims.verdicts import Claimed
from results.numbers import significant
from results.paired import Change
from results.stats import Interval


def told(claimed: Claimed, question: str) -> str:
    """A claim in words."""
    if question == "size":
        low, high = claimed.size
        return percent(low) if low == high else f"{percent(high)} to {percent(low)}"
    if question == "speed":
        return f"{claimed.speed[0]:g} to {claimed.speed[1]:g}x"
    if question == "quality":
        return "no loss" if claimed.quality == "none" else f"{claimed.quality} loss"
    return claimed.complexity


def percent(change: float) -> str:
    """A change with its sign, as in "-73 %"."""
    return "\u00b10 %" if abs(change) < 0.0005 else f"{100 * change:+.3g} %".replace("-", "\u2212")


def times(speed: Interval) -> str:
    """As in "2.31x (2.10 to 2.54)"; a range is no interval and says so, and one repeat has neither."""
    centre = f"{significant(speed.centre, 3)}x"
    if speed.n < 2:
        return centre
    ends = f"{significant(speed.low, 3)} to {significant(speed.high, 3)}"
    return f"{centre} ({'range ' if speed.kind == 'range' else ''}{ends})"


def loss(change: Change) -> str:
    """The relative loss with its interval, as in "0.12 % lost (-0.05 to 0.29)"."""
    lost, low, high = (f"{100 * end:.2f}".replace("-0.00", "0.00").replace("-", "\u2212")
                       for end in (change.loss, change.low, change.high))  # fmt: skip
    return f"{lost} % lost ({low} to {high})"


def effort(trial: Trial) -> str:
    """Steps, seconds, samples: what the artefact's making took."""
    made = trial.artefact
    if made is None:
        return ""
    parts = [f"{len(made.steps)} step{'' if len(made.steps) == 1 else 's'}"]
    parts += [f"{significant(made.making_s, 2)} s to make"] if made.making_s and made.steps else []
    parts += [f"{significant(made.training_s, 3)} s of training"] if made.training_s else []
    parts += [f"{made.samples:,} samples"] if made.samples else []
    return ", ".join(parts)
