"""Two sets of results, side by side: what changed, by how much, and whether the repeats can tell.

A ratio is B over A. With five repeats on both sides it has a 95 % interval (Welch's t on logarithms) and a verdict;
below that the ranges are shown and how many repeats would decide. An effect under 2 % is no effect. Every interval is
for itself: of a hundred comparisons of equals, some five would exclude 1 if it were not for that threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path
from statistics import median, variance
from typing import Literal

from results import stats, store
from results.checks import verdict_of
from results.join import figures_of
from results.metrics import METRICS, Metric, look
from results.record import Identity, Record
from results.stats import Interval
from results.store import RECORDS, Entry, Problem, StoreError
from results.student import student_t

MINIMUM_EFFECT = 0.02
MAX_REPEATS = 1000

Outcome = Literal["better", "worse", "same", "undecidable"]


@dataclass(frozen=True)
class Compared:
    """One headline metric of one identity. `metric` is None where there was nothing to compare; `reason` says why.

    `detectable` is the smallest relative effect that these repeats could have shown, `changed` what else differs.
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
    return sorted(
        rows, key=lambda row: (row.identity.model_dump_json(), METRICS.index(row.metric) if row.metric else -1)
    )


def needed_repeats(a: Sequence[float], b: Sequence[float], effect: float = MINIMUM_EFFECT) -> int | None:
    """Repeats a side whose interval resolves the effect, at the spread seen; None: over 1,000, or no spread known."""
    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    spread = sqrt((variance(map(log, a)) + variance(map(log, b))) / 2)
    for n in range(stats.MIN_REPEATS, MAX_REPEATS + 1):
        if student_t(0.975, 2 * n - 2) * spread * sqrt(2 / n) <= log(1 + effect):
            return n
    return None


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
    changed = tuple(_changes(a[0][0], b[0][0]))
    for metric in METRICS:
        if metric.headline:
            values = _values(metric, a), _values(metric, b)
            if all(values):
                yield _judged(identity, metric, *values, changed)


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


def _values(metric: Metric, entries: Sequence[Entry]) -> list[float]:
    looked = (look(metric, record, summary)[0] for record, summary in entries if record.status == "ok")
    return [value for value in looked if value is not None]


def _judged(
    identity: Identity, metric: Metric, a: Sequence[float], b: Sequence[float], changed: tuple[str, ...]
) -> Compared:
    ratio = stats.ratio_interval(a, b)
    sides = stats.interval(a), stats.interval(b)
    if ratio is None:
        middle = median(b) / median(a) if median(a) else 0.0
        low, high = (min(b) / max(a), max(b) / min(a)) if min(a) > 0 else (0.0, 0.0)
        unsure = Interval(middle, low, high, "range", min(len(a), len(b)))
        return Compared(identity, metric, *sides, unsure, "undecidable", _needs(a, b), changed=changed)
    outcome = _outcome(ratio, metric)
    reason = _needs(a, b) if outcome == "undecidable" else ""
    return Compared(identity, metric, *sides, ratio, outcome, reason, ratio.half_width, changed)


def _outcome(ratio: Interval, metric: Metric) -> Outcome:
    limit = 1 + MINIMUM_EFFECT
    if 1 / limit <= ratio.low and ratio.high <= limit:
        return "same"
    apart = ratio.low > 1 or ratio.high < 1
    if not apart or 1 / limit <= ratio.centre <= limit:
        return "undecidable"
    return "better" if (ratio.centre > 1) == (metric.better == "higher") else "worse"


def _needs(a: Sequence[float], b: Sequence[float]) -> str:
    have = min(len(a), len(b))
    if have < 2:
        return f"undecidable, needs {stats.MIN_REPEATS} repeats (has {have})"
    n = needed_repeats(a, b)
    if n is None:
        return f"undecidable, the spread needs more than {MAX_REPEATS} repeats (has {have})"
    return f"undecidable, needs {max(n, have + 1)} repeats (has {have})"


def _changes(a: Record, b: Record) -> Iterator[str]:
    """What differs besides the figures."""
    if a.context.machine.fingerprint != b.context.machine.fingerprint:
        yield f"machine {a.context.machine.hostname} -> {b.context.machine.hostname}"
    for what in ("versions", "settings"):
        old, new = getattr(a.context, what), getattr(b.context, what)
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
