"""A line is one row of the joined table, ready to be shown: named for people, with its rank and its baseline."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from results.metrics import BY_KEY, NOT_MEASURED, figure_of
from results.names import COMPILE, scenario_name
from results.report.words import spaced
from results.roofline import ELEMENT_BYTES

if TYPE_CHECKING:
    from results.join import Table
    from results.record import Record

DEFAULT_BASELINE = "the best fp32 engine on the same hardware"
OPTIONAL = ("technique", "mode", "policy", "options", "rules", "members")
"""Parts of the identity that are shown where they differ from their usual value."""
USUAL = {
    "technique": "none", "mode": "infer", "policy": "none", "options": "", "rules": "accelmark", "members": "",
}  # fmt: skip

Place = tuple[str, str, str]
"""(fingerprint, backend, device): one thing that was measured; what was only compiled for is of no machine."""


@dataclass(frozen=True)
class Line:
    """`row` is a row of `join.Table` without NaN; `id` names it within the page, `hardware` names its place."""

    id: str
    row: Mapping[str, Any]
    hardware: str
    config: str

    @property
    def kind(self) -> str:
        """The scenario without its parameters."""
        return scenario_name(self.row["scenario"])

    @property
    def place(self) -> Place:
        return _place(self.row)

    @property
    def estimated(self) -> bool:
        """Whether its figures are a compiler's or a simulator's."""
        return self.row["status"] == "ok" and self.row["provenance"] in NOT_MEASURED

    @property
    def comparable(self) -> bool:
        """Whether it stands in the comparison: a model that was measured, well or badly."""
        return self.row["status"] == "ok" and self.row["role"] == "model" and not self.estimated

    @property
    def headline(self) -> str:
        """Key of the metric that this scenario is about."""
        return figure_of(self.row["scenario"], self.row["goal"])

    @property
    def value(self) -> float | None:
        value: float | None = self.row[self.headline]
        return value

    @cached_property
    def unranked(self) -> str:
        """Why this line takes no part in any comparison; "" if it does."""
        row = self.row
        if row["status"] != "ok":
            return f"{row['status']}: {row['reason']}"
        if row["provenance"] != "measured":
            return f"{row['provenance']}: never ranked with measured values"
        if row["verdict"] == "invalid":
            return "invalid: " + ", ".join(spaced(one.code) for one in row["reasons"] if one.severity != "note")
        return "" if self.value else row["missing"].get(self.headline, "no figure")

    @property
    def group(self) -> tuple[str, ...]:
        """Lines of one group did the same work under the same load, so that their figures have a ratio."""
        return tuple(self.row[part] for part in ("workload", "mode", "scenario", "batch", "rules", "load_bound"))


def lines(table: Table) -> list[Line]:
    """Every row of the table, in its order."""
    rows = [_without_nan(row) for row in table.rows.to_dict("records")]
    places = place_names(rows)
    several = len({_place(row) for row in rows if row["status"] == "ok" and row["scenario"] != COMPILE}) > 1
    return [
        Line(f"r{number}", row, hardware, config_of(row, hardware if several or row["scenario"] == COMPILE else ""))
        for number, row in enumerate(rows)
        for hardware in (places[_place(row)],)
    ]


def config_of(row: Mapping[str, Any], hardware: str = "") -> str:
    """What can be chosen freely for a given workload: "openvino bf16 on Xeon"."""
    parts = [row["engine"], row["precision"], *(str(row[name]) for name in OPTIONAL[:-1] if row[name] != USUAL[name])]
    return " ".join(parts) + (f" on {hardware}" if hardware else "")


def place_names(rows: Iterable[Mapping[str, Any]]) -> dict[Place, str]:
    """A short name for each place, with its instance type or host where the device does not tell them apart."""
    found = {_place(row): row for row in rows}
    names = {place: _device_name(row) for place, row in found.items()}
    shared = Counter(names.values())
    where = {place: row["instance_type"] or row["hostname"] or "not here" for place, row in found.items()}
    return {place: name if shared[name] == 1 else f"{name} ({where[place]})" for place, name in names.items()}


def baselines(every: Sequence[Line], wish: str | None = None) -> tuple[str, dict[str, Line]]:
    """The baseline's name, and for each ranked line's id the line it is compared with.

    `wish` holds words of one configuration ("onnxruntime fp32"); raises ValueError when none or several have them all.
    """
    ranked = [line for line in every if not line.unranked]
    if wish is None:
        return DEFAULT_BASELINE, _best_fp32(ranked)
    configs = list(dict.fromkeys(line.config for line in ranked))
    fitting = [c for c in configs if c.lower() == wish.lower()] or [
        c for c in configs if set(wish.lower().split()) <= set(c.lower().split())
    ]
    if len(fitting) != 1:
        found = "several fit" if fitting else "no result has it"
        raise ValueError(
            f"baseline {wish!r}: {found}; choose one of: {', '.join(fitting or configs) or 'nothing measured'}"
        )
    base = {line.group: line for line in ranked if line.config == fitting[0]}
    return fitting[0], {line.id: base[line.group] for line in ranked if line.group in base}


def ratio(line: Line, base: Line) -> float:
    """How many times better `line` is than `base`: above 1 is faster, whichever way the metric runs."""
    mine, other = line.value or math.nan, base.value or math.nan
    return other / mine if BY_KEY[line.headline].better == "lower" else mine / other


def precision_order(name: str) -> tuple[int, str]:
    """Usual precisions first, by width."""
    usual = list(ELEMENT_BYTES)
    return (usual.index(name) if name in usual else len(usual), name)


def first_ok(line: Line) -> Record:
    """The record of the first repeat that was measured, of the first at all where none was."""
    records: list[Record] = [record for record, _ in line.row["entries"]]
    return next((record for record in records if record.status == "ok"), records[0])


def _best_fp32(ranked: Sequence[Line]) -> dict[str, Line]:
    best: dict[tuple[Any, ...], Line] = {}
    for line in ranked:
        if line.row["precision"] == "fp32" and all(line.row[name] == USUAL[name] for name in ("technique", "policy")):
            key = (*line.group, line.place)
            if key not in best or ratio(line, best[key]) > 1:
                best[key] = line
    return {line.id: best[(*line.group, line.place)] for line in ranked if (*line.group, line.place) in best}


def _device_name(row: Mapping[str, Any]) -> str:
    if row["device"] not in ("cpu", "none", ""):
        return str(row["device"])
    if row["backend"] == "cpu":
        return " ".join(re.sub(r"\((?:R|TM|C)\)|\bCPU\b|@.*", " ", row["cpu"]).split())
    return str(row["backend"])


def _place(row: Mapping[str, Any]) -> Place:
    return "" if row["scenario"] == COMPILE else row["fingerprint"], row["backend"], row["device"]


def _without_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
