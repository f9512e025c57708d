"""Two sets of results, side by side: what changed, by how much, and whether the repeats can tell.

A ratio is B over A. With five repeats on both sides it has a 95 % interval (Welch's t on logarithms) and an outcome;
below that the ranges are shown and how many repeats would decide. results/difference.py has the rules. Every comparison
is for itself: of a hundred comparisons of equals one or two are called slower, if their spread is wide enough for that.
Repeats say nothing of a neighbour who was there for one side only: a change is not told where one side was disturbed.
Only records with the same identity meet, so one that LoadGen drove never meets one of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from results import stats, store
from results.checks import verdict_of
from results.checks.machine import MACHINE_DRIFT_ALLOWED, calibration_shift
from results.difference import Difference, difference
from results.join import figures_of
from results.metrics import BY_KEY, METRICS, Metric, look
from results.record import Identity, Record
from results.stats import Interval
from results.store import RECORDS, Entry, Problem, StoreError

Outcome = Literal["faster", "slower", "no difference", "undecidable"]
DISTURBING = ("other_load", "stolen_time", "device_shared", "thermal_throttling", "clock_throttling")
"""Reasons that say that the machine was not the item's alone, or not the same."""


@dataclass(frozen=True)
class Compared:
    """One headline metric of one identity. `metric` is None where there was nothing to compare; `reason` says why.

    `ratio` is B over A. `detectable` is the smallest relative effect that these repeats show in nine of ten cases,
    `changed` what else differs.
    """

    identity: Identity
    metric: Metric | None
    a: Interval | None
    b: Interval | None
    ratio: Interval | None
    outcome: Outcome
    reason: str = ""
    detectable: float | None = None
    changed: tuple[str, ...] = ()


def select(root: Path, name: str) -> Path:
    """What a name on the command line means: "latest", "previous", a run under `root`, or a path. Raises StoreError."""
    if name in ("latest", "previous"):
        runs, back = store.run_folders(root), 1 if name == "latest" else 2
        if len(runs) < back:
            raise StoreError(f"{root}: {len(runs)} runs, so there is no {name} one; measure first")
        return runs[-back]
    for path in (root / name, Path(name)):
        if name and (path.is_dir() or path.name == RECORDS) and store.run_folders(path):
            return path
    known = ", ".join(folder.name for folder in store.run_folders(root)[-3:]) if root.is_dir() else ""
    known = f"; the newest runs are {known}" if known else ""
    raise StoreError(f"{name}: no run under {root} and no folder of results{known}; latest and previous are names too")


def compare(a: Path, b: Path, problems: list[Problem] | None = None) -> list[Compared]:
    """Every identity of either side, ordered by its parts; `a` and `b` are what `store.run_folders` takes."""
    found: list[Problem] = [] if problems is None else problems
    left, right = _side(a, found), _side(b, found)
    rows = [row for key in {**left, **right} for row in _rows(left.get(key, ()), right.get(key, ()))]
    return sorted(rows, key=_order)


def _order(row: Compared) -> tuple[str, int]:
    return row.identity.model_dump_json(), METRICS.index(row.metric) if row.metric in METRICS else -1


def _side(path: Path, problems: list[Problem]) -> dict[str, list[Entry]]:
    """The newest run's entries by identity; of several machines with the same identity the newest run's first."""
    side: dict[str, list[Entry]] = {}
    for record, summary in store.newest(path, problems):
        entries = side.setdefault(record.identity.key, [])
        if not entries or _place(entries[0][0]) == _place(record):
            entries.append((record, figures_of(store.folder_of(path, record), record, summary, problems)))
    return side


def _place(record: Record) -> tuple[str, str]:
    return record.context.run_id, record.context.machine.fingerprint


def _rows(a: Sequence[Entry], b: Sequence[Entry]) -> Iterator[Compared]:
    identity = (a or b)[0][0].identity
    why = _incomparable(a, b)
    if why:
        yield Compared(identity, None, None, None, None, "undecidable", why)
        return
    changed = tuple(_changes([record for record, _ in a], [record for record, _ in b]))
    if a[0][0].estimate:
        yield _predicted(identity, a, b, changed)
        return
    disturbed = "; ".join(filter(None, (_disturbance("A", a), _disturbance("B", b))))
    for metric in METRICS:
        if metric.headline:
            values = _values(metric, a), _values(metric, b)
            if all(values):
                yield _judged(identity, metric, *values, changed, disturbed)


def _predicted(identity: Identity, a: Sequence[Entry], b: Sequence[Entry], changed: tuple[str, ...]) -> Compared:
    """A static model has no variance: it says another number only where the tool, the target or the model changed."""
    metric = BY_KEY["estimated_latency_ns"]
    values = [_values(metric, side) for side in (a, b)]
    if not all(values):
        why = next(look(metric, *side[0])[1] for side, found in zip((a, b), values, strict=True) if not found)
        return Compared(identity, None, None, None, None, "undecidable", f"no estimated latency: {why}")
    first, second = (stats.interval(found) for found in values)
    if first.centre == second.centre:
        return Compared(identity, metric, first, second, None, "no difference", "the same estimate", changed=changed)
    outcome: Outcome = "faster" if second.centre < first.centre else "slower"
    ratio = second.centre / first.centre
    around = Interval(ratio, ratio, ratio, "range", 1)
    return Compared(identity, metric, first, second, around, outcome, "estimates have no variance", changed=changed)


def _incomparable(a: Sequence[Entry], b: Sequence[Entry]) -> str:
    if not a or not b:
        return f"only in {'A' if a else 'B'}"
    for name, side in (("A", a), ("B", b)):
        ok = [summary for record, summary in side if record.status == "ok" and summary]
        if not ok:
            record = side[0][0]
            return f"{name} has no figures: {record.status}{': ' if record.reason else ''}{record.reason}"
        reasons = [reason for summary in ok for reason in summary.reasons]
        if verdict_of(reasons) == "invalid":
            codes = sorted({reason.code for reason in reasons if reason.severity == "invalid"})
            return f"{name} is invalid: {', '.join(codes)}"
    if a[0][0].provenance != b[0][0].provenance:
        return f"A is {a[0][0].provenance}, B is {b[0][0].provenance}: provenances are not compared"
    return ""


def _disturbance(name: str, entries: Sequence[Entry]) -> str:
    """Who else had the machine in half of a side's repeats or more: what then changed may be theirs."""
    summaries = [summary for _, summary in entries if summary]
    codes = Counter(reason.code for summary in summaries for reason in summary.reasons if reason.code in DISTURBING)
    often = [f"{code} in {count} of {len(summaries)}" for code, count in codes.items() if 2 * count >= len(summaries)]
    return f"{name} was disturbed ({', '.join(often)})" if often else ""


def _values(metric: Metric, entries: Sequence[Entry]) -> list[float]:
    looked = (look(metric, record, summary)[0] for record, summary in entries if record.status == "ok")
    return [value for value in looked if value is not None]


def _judged(
    identity: Identity,
    metric: Metric,
    a: Sequence[float],
    b: Sequence[float],
    changed: tuple[str, ...],
    disturbed: str,
) -> Compared:
    found = difference(a, b)
    sides = stats.interval(a), stats.interval(b)
    outcome, reason = _word(found, metric), found.reason
    if disturbed and outcome in ("faster", "slower"):
        reason = f"{outcome} by the figures, but {disturbed}: measure on an idle machine"
        outcome = "undecidable"
    return Compared(identity, metric, *sides, found.ratio, outcome, reason, found.detectable, changed)


def _word(found: Difference, metric: Metric) -> Outcome:
    """Every headline is a time or a rate, so more is slower or faster."""
    if found.outcome == "higher" or found.outcome == "lower":
        return "faster" if found.outcome == metric.better else "slower"
    return found.outcome


def _changes(a: Sequence[Record], b: Sequence[Record]) -> Iterator[str]:
    """What differs besides the figures. The calibration kernels tell a slower machine from a slower engine."""
    first, second = a[0].context, b[0].context
    if first.machine.fingerprint != second.machine.fingerprint:
        yield f"machine {first.machine.hostname} -> {second.machine.hostname}"
    shift = calibration_shift(*([one for record in side for one in record.context.calibration] for side in (a, b)))
    if shift is not None and abs(shift) > MACHINE_DRIFT_ALLOWED:
        yield f"calibration kernels {abs(shift):.1%} {'slower' if shift > 0 else 'faster'}"
    for what in ("versions", "settings"):
        old, new = getattr(first, what), getattr(second, what)
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
