"""What a technique did to size, speed, energy and quality on one workload, beside the fp32 row it is held against.

The baseline is the best fp32 row of the same device, workload and load, whichever engine that is: a technique that
makes a slow engine as fast as another one's fp32 has gained nothing. Sizes are held against the fp32 artefact of the
same engine where there is one, as formats differ. Fusion is held against the same engine without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from results import paired, store
from results.difference import difference
from results.join import Table
from results.metrics import BY_KEY, figure_of, look
from results.names import is_control
from results.paired import Change, Grades, NotPaired
from results.record import Artefact, Record
from results.stats import Interval
from results.store import StoreError

Row = Mapping[str, Any]
Place = tuple[str, str, str]
"""(fingerprint, backend, device): what a technique's gain is a property of."""

NONE, UNFUSED = "none", "fuse-off"
DEFAULT, BEATEN = "default fusion", "fp32"
"""Names of rows without a technique that are trials all the same: of fusion, and of the engine."""
FUSED = "fuse-"
FLOOR = "quality_below_floor"
NOT_MEASURABLE = "not measurable: random weights"


@dataclass(frozen=True)
class Trial:
    """One row and its baseline. `size` and `energy` are ratios to it, `speed` is how many times faster.

    What is None has its reason in `missing`. `invalid` says why the row takes part in no ranking, "" if it does.
    """

    technique: str
    row: Row
    base: Row | None
    control: bool
    invalid: str
    size: float | None
    speed: Interval | None
    energy: float | None
    change: Change | None
    missing: Mapping[str, str]

    @property
    def workload(self) -> str:
        return str(self.row["workload"])

    @property
    def is_fusion(self) -> bool:
        """Whether its baseline is the same engine, so that it is on no scale with the others."""
        return _is_fusion(self.technique)

    @property
    def has_quality(self) -> bool:
        """Whether its network was trained, so that its answers can be right or wrong."""
        return _record(self.row).card.quality is not None

    @property
    def below_floor(self) -> bool:
        return any(reason.code == FLOOR for reason in self.row["reasons"])

    @property
    def artefact(self) -> Artefact | None:
        return artefact(self.row)


@dataclass
class Reader:
    """Grades of examples, each file read once."""

    root: Path | None
    _read: dict[str, Grades] = field(default_factory=dict)

    def grades(self, row: Row) -> Grades:
        """Raises StoreError or NotPaired, with why there are none that the metric is made of."""
        record = next((one for one, _ in row["entries"] if _scores_file(one)), _record(row))
        if record.record_id not in self._read:
            if self.root is None:
                raise StoreError(f"{record.record_id}: read from no folder")
            self._read[record.record_id] = _checked(store.scores_of(store.folder_of(self.root, record), record), record)
        return self._read[record.record_id]


def trials(table: Table, margin_of: Callable[[str], float]) -> dict[Place, list[Trial]]:
    """Of every device on which a technique was tried; `margin_of` is the loss that a technique is allowed."""
    rows = [{str(name): value for name, value in row.items()} for row in table.rows.to_dict("records")]
    measured = [row for row in rows if _measured(row)]
    tried = {place(row) for row in measured if row["technique"] != NONE}
    reader = Reader(table.root)
    found: dict[Place, list[Trial]] = {}
    for row in measured:
        for name in techniques_of(row, measured) if place(row) in tried else ():
            found.setdefault(place(row), []).append(_trial(name, row, measured, reader, margin_of(name)))
    return found


def techniques_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """The technique's name; a precision that was asked for is one too.

    Plain fp32 is a trial of fusion where the engine also ran without, and one that lost where another engine is faster.
    """
    if row["technique"] != NONE:
        return [str(row["technique"])]
    if row["precision"] != "fp32":
        return [str(row["precision"])]
    treated = any(one["technique"] != NONE and _work(one) == _work(row) for one in rows)
    beaten = treated and best_fp32(row, rows) is not row
    return [*([DEFAULT] if _unfused(row, rows) else []), *([BEATEN] if beaten else [])]


def place(row: Row) -> Place:
    return row["fingerprint"], row["backend"], row["device"]


def artefact(row: Row) -> Artefact | None:
    evidence = _record(row).evidence
    return evidence.artefact if evidence else None


def best_fp32(row: Row, rows: Sequence[Row]) -> Row | None:
    """The fastest valid fp32 row that did the same work under the same load."""
    plain = [one for one in rows if _plain(one) and one["verdict"] != "invalid" and _work(one) == _work(row)]
    plain = [one for one in plain if _value(one) > 0]
    lower = BY_KEY[_figure(row)].better == "lower"
    return (min if lower else max)(plain, key=_value, default=None)


def _trial(name: str, row: Row, rows: Sequence[Row], reader: Reader, margin: float) -> Trial:
    base = _baseline(name, row, rows)
    missing: dict[str, str] = {}
    if base is None:
        missing = dict.fromkeys(("size", "speed", "energy", "change"), _no_base(name))
    same = base if _is_fusion(name) else _same_engine(row, rows) or base
    found = {
        "size": _size(row, same, missing),
        "speed": _speed(row, base, missing),
        "energy": _energy(row, base, missing),
        "change": _change(row, base, reader, margin, missing),
    }
    invalid = "" if row["verdict"] != "invalid" else _why_invalid(row)
    return Trial(name, row, base, is_control(name), invalid, missing=missing, **found)  # type: ignore[arg-type]


def _baseline(name: str, row: Row, rows: Sequence[Row]) -> Row | None:
    if not _is_fusion(name):
        return best_fp32(row, rows)
    return _unfused(row, rows) or (None if row["technique"] == NONE else _same_engine(row, rows))


def _is_fusion(name: str) -> bool:
    return name == DEFAULT or (name.startswith(FUSED) and name != UNFUSED and "+" not in name)


def _no_base(name: str) -> str:
    return "the same engine was not measured without fusion" if _is_fusion(name) else "no valid fp32 result beside it"


def _same_engine(row: Row, rows: Sequence[Row]) -> Row | None:
    """Its own engine's fp32, valid or not: a format's size does not depend on that."""
    same = [one for one in rows if _plain(one) and _work(one) == _work(row) and one["engine"] == row["engine"]]
    return next((one for one in same if one["options"] == row["options"]), same[0] if same else None)


def _unfused(row: Row, rows: Sequence[Row]) -> Row | None:
    def alike(one: Row) -> bool:
        return all(one[name] == row[name] for name in ("engine", "options", "precision")) and _work(one) == _work(row)

    return next((one for one in rows if one["technique"] == UNFUSED and alike(one)), None)


def _measured(row: Row) -> bool:
    usual = row["rules"] == "accelmark" and row["mode"] == "infer" and row["role"] == "model"
    return bool(row["status"] == "ok" and row["provenance"] == "measured" and usual)


def _plain(row: Row) -> bool:
    return bool(row["technique"] == NONE and row["policy"] == NONE and row["precision"] == "fp32")


def _work(row: Row) -> tuple[object, ...]:
    return (*place(row), *(row[name] for name in ("workload", "scenario", "batch", "goal", "load_bound")))


def _figure(row: Row) -> str:
    return figure_of(row["scenario"], row["goal"])


def _value(row: Row) -> float:
    return float(row[_figure(row)])


def _record(row: Row) -> Record:
    record: Record = next((one for one, _ in row["entries"] if one.status == "ok"), row["entries"][0][0])
    return record


def _why_invalid(row: Row) -> str:
    worst = [reason.detail for reason in row["reasons"] if reason.severity == "invalid"]
    return f"invalid: {worst[0]}" if worst else "invalid"


def _size(row: Row, base: Row | None, missing: dict[str, str]) -> float | None:
    if base is None:
        return None
    sizes = []
    for one in (row, base):
        made = artefact(one)
        if made is None or not made.stored_bytes:
            why = "the artefact was not recorded" if made is None else made.missing.get("stored_bytes", "it is empty")
            missing["size"] = why
            return None
        sizes.append(made.stored_bytes)
    return sizes[0] / sizes[1]


def _speed(row: Row, base: Row | None, missing: dict[str, str]) -> Interval | None:
    """Times faster: the baseline's latency over this one's, or this one's rate over the baseline's."""
    if base is None:
        return None
    metric = BY_KEY[_figure(row)]
    mine, other = (
        [value for value, _ in (look(metric, *entry) for entry in one["entries"] if entry[0].status == "ok") if value]
        for one in (row, base)
    )
    if not mine or not other:
        missing["speed"] = (row if not mine else base)["missing"].get(metric.key, "no figure")
        return None
    return difference(*((mine, other) if metric.better == "lower" else (other, mine))).ratio


def _energy(row: Row, base: Row | None, missing: dict[str, str]) -> float | None:
    """Joules of a sample over the baseline's, where both may be believed."""
    if base is None:
        return None
    for one in (row, base):
        if not one["energy_j"] > 0 or one["power_valid"] is False:
            missing["energy"] = one["missing"].get("energy_j", "power measured, but not to be believed")
            return None
    return float(row["energy_j"] / base["energy_j"])


def _change(row: Row, base: Row | None, reader: Reader, margin: float, missing: dict[str, str]) -> Change | None:
    if base is None:
        return None
    quality = _record(row).card.quality
    if quality is None:
        missing["change"] = NOT_MEASURABLE
        return None
    try:
        if len({_examples(_record(one)) for one in (base, row)}) > 1:
            raise NotPaired("other examples were graded than of fp32: measure both again")
        return paired.change(quality, reader.grades(base), reader.grades(row), margin)
    except (NotPaired, StoreError) as why:
        missing["change"] = str(why)
        return None


def _examples(record: Record) -> str | None:
    quality = record.evidence.quality if record.evidence else None
    return quality.examples_sha256 if quality else None


def _scores_file(record: Record) -> str | None:
    quality = record.evidence.quality if record.evidence else None
    return quality.scores_file if quality else None


def _checked(grades: Grades, record: Record) -> Grades:
    """The grades must give the figure that was recorded, or pairing them says nothing about it."""
    quality, result = record.card.quality, record.evidence.quality if record.evidence else None
    assert quality is not None and result is not None  # noqa: S101, PT018 - there were grades
    made = paired.value(quality, grades)
    if not isclose(made, result.value, rel_tol=1e-6, abs_tol=1e-9):
        raise NotPaired(f"its grades give {made:.6g}, not the recorded {quality.metric} {result.value:.6g}")
    return grades
