"""The second table of claims: what is said of six techniques and what they did here; every trial below it; pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from results.claims import techniques as judged
from results.claims.techniques import Device
from results.claims.trials import BEATEN, Trial
from results.claims.verdicts import CLAIMS, FUSION, answers
from results.claims.wording import effort, loss, percent, times
from results.names import scenario_name
from results.numbers import binary
from results.report.claimed import Found, KindRow, found
from results.report.lines import Line
from results.report.notes import Notes
from results.report.plots import Figure
from results.report.svg import Mark
from results.report.tradeoff import Tried, tradeoff
from results.report.words import spaced

if TYPE_CHECKING:
    from results.join import Table

FACETS_MAX = 8
COLUMNS = ("Size", "Speed-up", "Quality", "Complexity")
DRAWN = tuple(claim for claim in CLAIMS if claim is not FUSION)
"""In the order of their colours. Fusion is on another scale, and in no picture."""


@dataclass(frozen=True)
class TrialCell:
    """A figure in `text` with what it is in `detail`; "" and a note where there is none."""

    text: str
    detail: str = ""
    verdict: str = ""
    css: str = ""
    note: int | None = None


@dataclass(frozen=True)
class TrialRow:
    """`row_id` leads to the row of the comparison; `tags` say what it is beside a trial."""

    name: str
    row_id: str
    config: str
    tags: Sequence[str]
    invalid: str
    cells: Sequence[TrialCell]


@dataclass(frozen=True)
class TrialGroup:
    """All trials of one claim, or of none."""

    name: str
    rows: Sequence[TrialRow]


@dataclass(frozen=True)
class Shown:
    """One device."""

    name: str
    rows: Sequence[KindRow]
    notes: Sequence[str]
    figures: Sequence[Figure]
    groups: Sequence[TrialGroup]
    count: int


@dataclass(frozen=True)
class Techniques:
    columns: Sequence[str]
    devices: Sequence[Shown]
    key: Markup


def techniques(table: Table, every: Sequence[Line]) -> Techniques | None:
    """None where no technique was tried."""
    ids = {(line.row["key"], line.row["fingerprint"]): line.id for line in every}
    names = {line.place: line.hardware for line in every}
    found = judged.claims(table)
    devices = [_shown(device, names[device.place], ids, f"t{i}") for i, device in enumerate(found)]
    return Techniques(COLUMNS, devices, _key(found)) if devices else None


Ids = Mapping[tuple[str, str], str]


def _shown(device: Device, name: str, ids: Ids, prefix: str) -> Shown:
    notes = Notes()
    rows = [_row(claim, notes) for claim in device.claims]
    groups = [(claim.claimed.name, claim.trials) for claim in device.claims]
    groups.append(("no claim is about these", device.others))
    return Shown(
        name,
        rows,
        notes.texts(),
        _figures(device, ids, prefix),
        [TrialGroup(title, [_trial(one, device, ids) for one in _ordered(tried)]) for title, tried in groups if tried],
        len(device.trials),
    )


def _row(claim: judged.Claim, notes: Notes) -> KindRow:
    told = [claim.answers[name] for name in judged.QUESTIONS]
    claimed = [answer.claimed for answer in told]
    if claim.absence:
        status, _, reason = claim.absence.partition(": ")
        return KindRow(claim.claimed.name, "measured", claimed, [Found(reason, absent=status, span=len(told))])
    return KindRow(claim.claimed.name, "measured", claimed, [found(answer, notes) for answer in told])


def _ordered(tried: Sequence[Trial]) -> list[Trial]:
    """By workload and load, the fastest first."""
    return sorted(tried, key=lambda one: (one.workload, one.row["scenario"], -_speed(one), one.technique))


def _speed(trial: Trial) -> float:
    return trial.speed.centre if trial.speed else 0.0


def _trial(trial: Trial, device: Device, ids: Ids) -> TrialRow:
    row, base = trial.row, trial.base
    told = {"control": trial.control, "speaks": id(trial) in device.speaking, "noisy": row["verdict"] == "noisy"}
    tags = [word for word, here in told.items() if here]
    load = f"{row['engine']} {row['precision']}, {spaced(scenario_name(row['scenario']))}, batch {row['batch']}"
    against = f", against {base['engine']}" if base is not None else ""
    name = f"{trial.technique}, {trial.workload}"
    return TrialRow(name, _id(trial, ids), load + against, tags, trial.invalid, _cells(trial))


def _cells(trial: Trial) -> list[TrialCell]:
    claimed = answers(trial.technique)
    judgements = judged.judge(trial, claimed) if claimed and trial.speed and not trial.control else {}
    energy = f"{percent(trial.energy - 1)} energy a sample" if trial.energy else ""
    why = {name: answer.reason for name, answer in judgements.items() if answer.verdict == "undecided"}
    figures = {
        "size": (percent(trial.size - 1) if trial.size else "", _stored(trial)),
        "speed": (times(trial.speed) if trial.speed else "", _joined(why.get("speed"), energy)),
        "quality": (loss(trial.change) if trial.change else "", _joined(_metric(trial), why.get("quality"))),
        "complexity": (effort(trial), ", then ".join(trial.artefact.steps) if trial.artefact else ""),
    }
    return [
        TrialCell(text, detail if text else trial.missing.get("change" if name == "quality" else name, "not recorded"),
                  verdict := judgements[name].verdict if name in judgements and text else "", css(verdict))
        for name, (text, detail) in figures.items()
    ]  # fmt: skip


def _joined(*parts: str | None) -> str:
    return "; ".join(filter(None, parts))


def css(verdict: str) -> str:
    return "short" if verdict == "falls short" else verdict


def _stored(trial: Trial) -> str:
    made = trial.artefact
    return binary(made.stored_bytes) if made and made.stored_bytes else ""


def _metric(trial: Trial) -> str:
    change = trial.change
    return f"{change.metric} {change.before:.4g} to {change.after:.4g}, {change.outcome}" if change else ""


def _id(trial: Trial, ids: Ids) -> str:
    return ids.get((trial.row["key"], trial.row["fingerprint"]), "")


def _figures(device: Device, ids: Ids, prefix: str) -> list[Figure]:
    """One for each workload and load whose quality was measured; fusion is on another scale."""
    facets: dict[tuple[str, str], list[Trial]] = {}
    for one in device.trials:
        if one.speed and one.change and one.size and not one.is_fusion:
            facets.setdefault((one.workload, one.row["scenario"]), []).append(one)
    return [
        _figure(workload, scenario, tried, ids, f"{prefix}{i}")
        for i, ((workload, scenario), tried) in enumerate(sorted(facets.items())[:FACETS_MAX])
    ]


def _figure(workload: str, scenario: str, tried: Sequence[Trial], ids: Ids, prefix: str) -> Figure:
    named: set[str] = set()
    points = []
    for one in sorted(tried, key=lambda one: (bool(one.invalid), -_speed(one))):
        name = f"fp32, {one.row['engine']}" if one.technique == BEATEN else one.technique
        points.append(_point(one, "" if name in named else name, ids))
        named.add(name)
    label = f"{workload}: speed-up against quality loss by technique"
    return Figure(f"{workload}, {spaced(scenario)}", tradeoff(points, label, prefix))


def _point(trial: Trial, label: str, ids: Ids) -> Tried:
    speed, change, size = trial.speed, trial.change, trial.size
    assert speed is not None and change is not None and size is not None  # noqa: S101, PT018 - chosen by that
    where = f"{trial.technique}, {trial.row['engine']} {trial.row['precision']}"
    doubt = " (below the quality floor)" if trial.below_floor else " (invalid)" if trial.invalid else ""
    title = f"{where}: {times(speed)}, {loss(change)}, {percent(size - 1)} size{doubt}"
    mark = Mark(title, (key,) if (key := _id(trial, ids)) else ())
    return Tried(
        speed.centre, 100 * change.loss, size, _series(trial), mark, label, _ranked(trial),
        (speed.low, speed.high), (100 * change.low, 100 * change.high),
    )  # fmt: skip


def _ranked(trial: Trial) -> bool:
    return not trial.invalid and not trial.control and trial.technique != BEATEN


def _series(trial: Trial) -> int:
    """By claim, in the order of the table; the last for what no claim is about."""
    claimed = answers(trial.technique)
    return DRAWN.index(claimed) if claimed in DRAWN else len(DRAWN)


def _key(devices: Sequence[Device]) -> Markup:
    """The colours of what is drawn."""
    every = [one for device in devices for one in device.trials]
    drawn = sorted({_series(one) for one in every if one.change and not one.is_fusion and _ranked(one)})
    names = [*(claim.name for claim in DRAWN), "other or together"]
    item = Markup('<li><span class="swatch" style="background:var(--{})"></span>{}</li>')
    colours = [item.format(f"s{i}", names[i]) for i in drawn]
    return Markup('<ul class="key">{}{}</ul>').format(
        Markup("").join(colours), item.format("rule", "beaten by another, a control, or invalid")
    )
