"""One published figure, or a few of one run: every number with its unit, and with where it stands."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from results.roofline import ELEMENT_BYTES
from results.strict import Count, Explained, Text

Label = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Positive = Annotated[float, Field(gt=0)]
FIGURES = ("throughput_per_s", "latency_ns", "energy_j", "power_w")
TOKEN_RATES = ("llama3.1-8b", "interactive", "query")
"""What MLPerf Inference 5.1's summary_results.json prints as Queries/s and means as tokens: its values are those of the
same systems' Offline and Server rows in Tokens/s."""


class Published(Explained):
    """A row of somebody else's table. `line` is its place in `file`: a line of a CSV, an entry of a JSON list, from 1.

    `accelerators` are all that the figure took, `systems` (machines) together; None where only processors worked or
    the table does not say. `precision` and `workload` are the table's own words. `throughput_per_s` and
    `latency_ns` are of `unit`s, `energy_j` is for one of them, `power_w` is of all systems, at the wall where `metric`
    says so.
    """

    provenance: Literal["published"] = "published"
    file: Text = ""
    file_sha256: Text = ""
    line: Count
    source: Label
    date: Label = "undated"
    hardware: Label
    accelerators: Annotated[int, Field(gt=0)] | None = None
    systems: Annotated[int, Field(gt=0)] = 1
    software: Text = ""
    workload: Label
    precision: Text = ""
    batch: Annotated[int, Field(gt=0)] | None = None
    scenario: Text = ""
    metric: Label
    unit: Literal["sample", "query", "token", "inference"]
    throughput_per_s: Positive | None = None
    latency_ns: Positive | None = None
    energy_j: Positive | None = None
    power_w: Positive | None = None
    note: Text = ""

    @model_validator(mode="after")
    def _has_a_figure(self) -> Published:
        if all(getattr(self, name) is None for name in FIGURES):
            raise ValueError("no figure")
        return self

    @cached_property
    def key(self) -> str:
        """Names the content, wherever it stood: the same row of two files is one."""
        content = self.model_dump_json(exclude={"file", "file_sha256", "line"}, exclude_none=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def place(self) -> tuple[str, int]:
        """Names where it stood, whatever it says: a file by its bytes, and the line."""
        return self.file_sha256, self.line

    @property
    def per_accelerator_per_s(self) -> float | None:
        """Throughput of one accelerator; of a system where only processors worked. A share, not a measurement."""
        if self.throughput_per_s is None:
            return None
        return self.throughput_per_s / (self.accelerators or self.systems)


@dataclass(frozen=True)
class Bad:
    """A row that is left out, and why."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


def made(line: int, values: Mapping[str, Any], absent: str) -> Published | Bad:
    """The row, with `absent` as the reason of each number that `values` lacks and does not explain."""
    told = values.get("missing", {})
    optional = ("accelerators", "batch", *FIGURES)
    gaps = {name: told.get(name, absent) for name in optional if values.get(name) is None}
    if values.get("unit") == TOKEN_RATES[2] and values["workload"].lower().startswith(TOKEN_RATES[0]):
        values = _as_tokens(values) if values["scenario"].lower() == TOKEN_RATES[1] else values
    try:
        return Published.model_validate({**values, "line": line, "missing": gaps})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        return Bad(line, f"{where}{first['msg'].removeprefix('Value error, ')}")


def _as_tokens(values: Mapping[str, Any]) -> dict[str, Any]:
    trap = "the table prints queries a second; the values are token rates"
    return {**values, "unit": "token", "note": "; ".join(filter(None, (values.get("note", ""), trap)))}


def has_columns(text: str, columns: Sequence[str]) -> bool:
    """Whether `text` is a CSV whose first line names these columns, among others."""
    try:
        return set(columns) <= set(next(csv.reader(text.splitlines()[:1]), []))
    except csv.Error:
        return False


def csv_rows(
    text: str, values: Callable[[Mapping[str, str]], Mapping[str, Any]], absent: str
) -> Iterator[Published | Bad]:
    """What `values` makes of each row of a CSV; `line` is the row's last. A row that it refuses is Bad."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            try:
                if None in row or None in row.values():
                    raise ValueError(f"not as many fields as the {len(reader.fieldnames or ())} of the first line")
                yield made(reader.line_num, values(row), absent)
            except ValueError as error:
                yield Bad(reader.line_num, str(error))
    except csv.Error as error:
        yield Bad(reader.line_num, f"no CSV from here on: {error}")


def cleaned(value: object) -> str:
    """Text of a table on one line, without what cannot be printed."""
    text = " ".join(str(value if value is not None else "").split())
    return "".join(letter for letter in text if letter.isprintable())


def number(text: object, what: str) -> float:
    """Raises ValueError for what is no positive finite number: 0 is how tables write that there is no result."""
    try:
        value = float(str(text).replace(",", ""))
    except ValueError as error:
        raise ValueError(f"{what} {cleaned(text)[:40]!r} is no number") from error
    if not isfinite(value) or value <= 0:
        raise ValueError(f"{what} is {cleaned(text)[:40]}: no result")
    return value


def whole(text: object, what: str) -> int:
    value = number(text, what)
    if value != int(value):
        raise ValueError(f"{what} {cleaned(text)[:40]!r} is no whole number")
    return int(value)


def precision(text: object) -> str:
    """A usual precision by its usual name; anything else in the table's own words."""
    name = cleaned(text)
    return name.lower() if name.lower() in (*ELEMENT_BYTES, "fp4", "uint8") else name
