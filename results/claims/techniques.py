"""The published rules of thumb on six techniques, beside what they did here, per device.

A claim is about size, speed, quality and complexity, and all four are answered by the same artefacts: on every workload
one row speaks for the technique, its fastest valid one whose quality does not fall short, else its fastest valid one.
Networks that were trained carry the verdicts; those of random weights give size and speed, and only where nothing
trained was measured. Size and speed are geometric means over the workloads, quality and complexity are the worst one's.

- size: the stored artefact over the fp32 one. A claim of one figure holds within 5 points.
- speed: over the best fp32 engine of that device. A verdict needs a 95 % interval, so five repeats, that lies on one
  side of the claim's ends; the intervals of several workloads are combined as independent ones (Satterthwaite 1946).
- quality: the relative loss of the card's metric, paired by example (`results/paired.py`), against MARGINS.
- complexity: what had to be done beyond running fp32, against BANDS. The limits are ours.

Verdicts are those of the hardware table; `reversed` is said to be smaller or faster and measured larger or slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.claims.answer import Answer, Verdict
from results.claims.trials import NONE, Place, Row, Trial, place, trials
from results.claims.verdicts import (
    BANDS,
    CLAIMS,
    MARGINS,
    Claimed,
    answers,
    combined,
    complexity,
    judge_quality,
    judge_size,
    judge_speed,
)
from results.claims.wording import effort, loss, percent, times, told
from results.join import Table
from results.names import scenario_name
from results.stats import geometric_mean

QUESTIONS = ("size", "speed", "quality", "complexity")


@dataclass(frozen=True)
class Claim:
    """One technique on one device. `speaking` are the trials that its answers are of, one a workload."""

    claimed: Claimed
    absence: str
    answers: Mapping[str, Answer]
    speaking: Sequence[Trial]
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Device:
    """All claims on one device; `others` are trials that no claim is about, techniques together among them."""

    place: Place
    claims: Sequence[Claim]
    others: Sequence[Trial]

    @property
    def trials(self) -> list[Trial]:
        return [*(one for claim in self.claims for one in claim.trials), *self.others]

    @property
    def speaking(self) -> set[int]:
        """By identity: a trial holds tables, and is compared with none."""
        return {id(one) for claim in self.claims for one in claim.speaking}


def claims(table: Table) -> list[Device]:
    """Of each device on which a technique was tried, the claims in their own order, whether tried or not."""
    rows = [{str(name): value for name, value in row.items()} for row in table.rows.to_dict("records")]
    found = trials(table, _margin)
    return [
        Device(
            where,
            [_claim(claimed, [one for one in tried if answers(one.technique) is claimed], where, rows)
             for claimed in CLAIMS],
            [one for one in tried if answers(one.technique) is None],
        )
        for where, tried in found.items()
    ]  # fmt: skip


def judge(trial: Trial, claimed: Claimed) -> dict[str, Answer]:
    """The answers of one trial by itself."""
    return _answers(claimed, [trial])


def _margin(technique: str) -> float:
    claimed = answers(technique)
    return MARGINS[claimed.quality if claimed else "minimal"]


def _claim(claimed: Claimed, tried: Sequence[Trial], where: Place, rows: Sequence[Row]) -> Claim:
    speaking = _speaking(tried)
    if not speaking:
        absence = _absence(claimed, tried, where, rows)
        empty = {name: Answer(told(claimed, name), "", "none", "undecided", absence) for name in QUESTIONS}
        return Claim(claimed, absence, empty, (), tried)
    return Claim(claimed, "", _answers(claimed, speaking), speaking, tried)


def _answers(claimed: Claimed, speaking: Sequence[Trial]) -> dict[str, Answer]:
    found = {
        "size": _size(claimed, speaking),
        "speed": _speed(claimed, speaking),
        "quality": _quality(claimed, speaking),
        "complexity": _complexity(claimed, speaking),
    }
    return {
        name: Answer(told(claimed, name), text, "measured" if text else "none", verdict, reason)
        for name, (text, verdict, reason) in found.items()
    }


def _speaking(tried: Sequence[Trial]) -> list[Trial]:
    """One a workload, all of one scenario: latency, or throughput where no latency was measured.

    Trained networks alone, where there are any.
    """
    usable = [one for one in tried if not one.control and one.speed is not None and not _unproved(one)]
    for kind in ("single_stream", "offline"):
        here = [one for one in usable if scenario_name(one.row["scenario"]) == kind]
        here = [one for one in here if one.has_quality] or here
        best: dict[str, Trial] = {}
        for one in here:
            if one.workload not in best or _rank(one) > _rank(best[one.workload]):
                best[one.workload] = one
        if best:
            return [best[name] for name in sorted(best)]
    return []


def _unproved(trial: Trial) -> bool:
    """Wrong outputs say nothing about a technique; a quality below its floor says much."""
    return bool(trial.invalid) and not trial.below_floor


def _rank(trial: Trial) -> tuple[bool, bool, float]:
    claimed = answers(trial.technique)
    fails = bool(trial.change and claimed and judge_quality(claimed.quality, trial.change)[0] == "falls short")
    return not trial.invalid, not fails, trial.speed.centre if trial.speed else 0.0


Found = tuple[str, Verdict, str]
"""What was found, the verdict and the reason."""


def _size(claimed: Claimed, speaking: Sequence[Trial]) -> Found:
    sizes = [one.size for one in speaking if one.size is not None]
    mean = geometric_mean(sizes)
    if mean is None:
        return "", "undecided", speaking[0].missing.get("size", "the artefact has no size")
    return f"{percent(mean - 1)}, {_over(speaking)}", judge_size(claimed, mean - 1), ""


def _speed(claimed: Claimed, speaking: Sequence[Trial]) -> Found:
    mean = combined([one.speed for one in speaking if one.speed])
    verdict, reason = judge_speed(claimed, mean)
    if bad := [one.workload for one in speaking if one.invalid]:
        verdict, reason = "undecided", f"invalid on {', '.join(bad)}: {_fault(speaking)}; shown, not ranked"
    elif noisy := [one.workload for one in speaking if one.row["verdict"] == "noisy"]:
        reason = "; ".join(filter(None, (reason, f"noisy on {', '.join(noisy)}")))
    return f"{times(mean)}, {_load(speaking[0])}", verdict, reason


def _fault(speaking: Sequence[Trial]) -> str:
    """Why the first of them that is invalid is."""
    one = next(trial for trial in speaking if trial.invalid)
    return "below its quality floor" if one.below_floor else one.invalid


def _quality(claimed: Claimed, speaking: Sequence[Trial]) -> Found:
    """Of the workload that loses most."""
    changes = [(one.change, one) for one in speaking if one.change]
    if len(changes) < len(speaking):
        return "", "undecided", next(one.missing["change"] for one in speaking if not one.change)
    change, worst = max(changes, key=lambda pair: (_SEVERITY[judge_quality(claimed.quality, pair[0])[0]], pair[0].loss))
    verdict, reason = judge_quality(claimed.quality, change)
    if worst.below_floor:
        verdict, reason = "falls short", "below its quality floor: shown, not ranked"
    return f"{loss(change)}, {change.metric} of {worst.workload}", verdict, reason


_SEVERITY = {"exceeds": 0, "holds": 1, "undecided": 2, "falls short": 3, "reversed": 4}


def _complexity(claimed: Claimed, speaking: Sequence[Trial]) -> Found:
    """Of the workload that took most."""
    known = [(band, one) for one in speaking if (band := complexity(one))]
    if not known:
        return "", "undecided", "what was done was not recorded"
    names = [name for name, _, _ in BANDS]
    band, one = max(known, key=lambda pair: (names.index(pair[0]), _spent_s(pair[1])))
    difference = names.index(band) - names.index(claimed.complexity)
    verdict: Verdict = "holds" if not difference else "exceeds" if difference < 0 else "falls short"
    return f"{band}, {effort(one)}", verdict, ""


def _absence(claimed: Claimed, tried: Sequence[Trial], where: Place, rows: Sequence[Row]) -> str:
    """Why nothing speaks for it: the reason of a row, or that there is none."""
    real = [one for one in tried if not one.control]
    if real:
        one = real[0]
        return one.invalid or f"{one.technique}: {one.missing.get('speed', 'no latency and no throughput')}"
    near = [row for row in rows if row["technique"] != NONE and answers(row["technique"]) is claimed]
    failed = next((row for row in near if row["status"] != "ok" and place(row) == where), None)
    if failed:
        return f"{failed['status']}: {failed['technique']} on {failed['workload']}: {failed['reason']}"
    return "not measured: no technique of its kind is among these results"


def _spent_s(trial: Trial) -> float:
    made = trial.artefact
    return (made.training_s or 0.0) + (made.making_s or 0.0) if made else 0.0


def _over(speaking: Sequence[Trial]) -> str:
    kind = "" if any(one.has_quality for one in speaking) else " of random weights"
    if len(speaking) == 1:
        return speaking[0].workload + kind
    return f"geometric mean of {len(speaking)} workloads{kind}"


def _load(trial: Trial) -> str:
    return "p50 latency" if scenario_name(trial.row["scenario"]) == "single_stream" else "offline throughput"
