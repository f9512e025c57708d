"""What is known of devices and prices, read from `devices.csv` and `prices.csv` beside this file.

Every number has its source and its date. `devices.csv` is long: one quantity of one device a row. Peaks are dense;
vendors often print figures for 2:4 sparse matrices, twice as high. int8 "flops" are integer operations. Grades: V a
vendor's own document, R a table that cites the vendor's page, T a third party, D derived by arithmetic; what was only
remembered is left out. `date` is when a device's source was read, and the day a price was valid ("undated": its source
does not say).
"""

from __future__ import annotations

import csv
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

HERE = Path(__file__).parent

Date = Annotated[str, StringConstraints(pattern=r"\A(\d{4}-\d{2}-\d{2}|undated)\z")]
Filled = Annotated[str, StringConstraints(min_length=1)]
Quantity = Literal[
    "dense_flops_per_s", "memory_bytes", "bandwidth_bytes_per_s", "tdp_w", "link_bytes_per_s", "on_chip_bytes"
]


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DeviceFact(Row):
    """`precision` is filled for `dense_flops_per_s` only.

    `link_bytes_per_s` is the host's link, one direction, after its line code; `on_chip_bytes` hold weights near the
    arithmetic (a cache, or memory that software manages).
    """

    device: Filled
    quantity: Quantity
    precision: Literal["", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4", "int4"]
    value: Annotated[float, Field(gt=0)]
    source: Filled
    date: Date
    grade: Literal["V", "R", "T", "D"]
    note: str


class PriceRow(Row):
    """Dollars for an hour of a whole instance with `chips` accelerators."""

    hardware: Filled
    cloud: Filled
    region: Filled
    instance_type: Filled
    chips: int | None
    vcpus: int | None
    kind: Literal["on-demand", "spot", "reserved"]
    usd_per_hour: Annotated[float, Field(gt=0)]
    date: Date
    source: Filled
    note: str


R = TypeVar("R", bound=Row)


def devices() -> tuple[str, ...]:
    """The names of all known devices."""
    return tuple(dict.fromkeys(fact.device for fact in _device_facts()))


@lru_cache(maxsize=1024)  # every row of a report asks, and few devices make many rows
def device(name: str) -> tuple[DeviceFact, ...]:
    """Everything known of one device; empty if it is unknown. Case, spaces and punctuation do not count."""
    return tuple(fact for fact in _device_facts() if _plain(fact.device) == _plain(name))


def fact(name: str, quantity: Quantity, precision: str = "") -> DeviceFact | None:
    """One number of one device."""
    return next((f for f in device(name) if f.quantity == quantity and f.precision == precision), None)


@lru_cache(maxsize=1024)
def prices(
    instance_type: str | None = None, hardware: str | None = None, region: str | None = None, kind: str | None = None
) -> tuple[PriceRow, ...]:
    """Prices that fit all that is given, the newest first, undated ones last; in the file's order otherwise."""
    fitting = (
        row
        for row in _price_rows()
        if instance_type in (None, row.instance_type)
        and region in (None, row.region)
        and kind in (None, row.kind)
        and (hardware is None or _plain(hardware) == _plain(row.hardware))
    )
    return tuple(sorted(fitting, key=lambda row: "" if row.date == "undated" else row.date, reverse=True))


def regions() -> list[str]:
    """Every region that has prices."""
    return sorted({row.region for row in _price_rows()})


@cache
def _device_facts() -> tuple[DeviceFact, ...]:
    return _load(HERE / "devices.csv", DeviceFact)


@cache
def _price_rows() -> tuple[PriceRow, ...]:
    return _load(HERE / "prices.csv", PriceRow)


def _load(path: Path, kind: type[R]) -> tuple[R, ...]:
    """Typed rows; pydantic's ValidationError names the column of a row that does not fit."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(kind.model_validate(_blanks_to_none(row)) for row in csv.DictReader(file))


def _blanks_to_none(row: dict[str, str]) -> dict[str, str | None]:
    return {name: None if value == "" and name in ("chips", "vcpus") else value for name, value in row.items()}


def _plain(name: str) -> str:
    """What counts of a name: "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz" is intelxeonplatinum8488c.

    The clock that a device was set to is part of its name here and not on its data sheet: "(PCIe, maximum clock)".
    """
    return re.sub(r"\((r|tm)\)|@.*| cpu\b| processor\b|, \w+ clock\b|[^a-z0-9]", "", name.lower())
