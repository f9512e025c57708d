"""From a price and a rate to dollars for a million samples.

    usd per 1M = usd_per_hour x share / (3600 x rate x utilisation) x 1e6

AWS Neuron's own "cost per 1M inferences" is this with share and utilisation 1 (aws-neuron-sdk, benchmark tables of
2026-02-26): 4,393/s at $0.758/h is $0.0479.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from results import catalog
from results.record import Machine

HOURS = {"y": 8766.0, "mo": 730.5, "d": 24.0, "h": 1.0}
"""A year is 365.25 days."""

_OWNED = re.compile(r"\A(?P<usd>\d+(?:\.\d+)?)usd/(?P<count>\d+(?:\.\d+)?)(?P<unit>y|mo|d|h)\Z")

REFERENCE_FAMILY = "c7i."
"""AWS's compute-optimised x86 family with matrix units: what an unknown machine's processor is priced like."""

PriceKind = Literal["on-demand", "spot", "reserved", "given", "owned", "reference"]


@dataclass(frozen=True)
class Owned:
    """Hardware that was bought for `usd` and is written off over `count` `unit`s of full-time use."""

    usd: float
    count: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Owned:
        """From "2400usd/3y"; units y, mo, d, h. Raises ValueError."""
        match = _OWNED.match(text.strip().lower())
        if match is None or not float(match["count"]):
            raise ValueError(
                f"cannot read {text!r} as a purchase: write AMOUNTusd/TIME, for example 2400usd/3y or 60usd/18mo"
            )
        return cls(float(match["usd"]), float(match["count"]), match["unit"])

    def __str__(self) -> str:
        return f"{_plain(self.usd)}usd/{_plain(self.count)}{self.unit}"

    @property
    def usd_per_hour(self) -> float:
        return self.usd / (self.count * HOURS[self.unit])


@dataclass(frozen=True)
class Price:
    """Dollars for an hour of the whole machine, with where that comes from. `date` is "undated" where nobody says."""

    usd_per_hour: float
    kind: PriceKind
    source: str
    date: str

    def __str__(self) -> str:
        return f"${self.usd_per_hour:.4g}/h {self.kind}, {self.source}, {self.date}"


@dataclass(frozen=True)
class Pricing:
    """How a report is to price what it reads.

    `usd_per_hour` or `owned` replace the catalog's price for every machine; `usd_per_kwh` adds electricity, from
    measured power only. `share` of the machine is charged, `utilisation` of the hour is used, both above 0, at most 1.
    """

    usd_per_hour: float | None = None
    owned: Owned | None = None
    usd_per_kwh: float | None = None
    share: float = 1.0
    utilisation: float = 1.0
    region: str | None = None
    kind: PriceKind = "on-demand"

    def __post_init__(self) -> None:
        for name in ("share", "utilisation"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0 and at most 1")
        for name in ("usd_per_hour", "usd_per_kwh"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: it must be a finite number of dollars, 0 or more")
        if self.usd_per_hour is not None and self.owned is not None:
            raise ValueError("a given price and a purchase exclude each other: give one of them")


def price_of(machine: Machine, pricing: Pricing, backend: str) -> Price | str:
    """What an hour of `machine` costs, or in words why nobody knows.

    A machine that is no cloud instance has no price of its own. Results of its processor are priced by the "reference":
    the smallest REFERENCE_FAMILY instance with as many vCPUs as it has cores, an assumption that is marked wherever it
    shows. Other hardware gets no reference: cards of one kind differ too much. Without a region it is the newest price
    in the first region that the catalog lists.
    """
    if pricing.usd_per_hour is not None:
        return Price(pricing.usd_per_hour, "given", "--price", "at reading")
    if pricing.owned is not None:
        return Price(pricing.owned.usd_per_hour, "owned", f"--owned {pricing.owned}, without electricity", "at reading")
    if machine.instance_type is None:
        unknown = "no price: this machine is no known instance type; give --price or --owned"
        return (_reference(machine.cores, pricing) if backend == "cpu" else None) or unknown
    rows = catalog.prices(machine.instance_type, region=pricing.region, kind=pricing.kind)
    if not rows:
        where = f" in {pricing.region}" if pricing.region else ""
        return f"no price: the catalog has no {pricing.kind} price of {machine.instance_type}{where}; give --price"
    return Price(
        rows[0].usd_per_hour, pricing.kind, f"{rows[0].cloud} {rows[0].region}, {rows[0].source}", rows[0].date
    )


def _reference(cores: int, pricing: Pricing) -> Price | None:
    """Priced as if rented: see REFERENCE_FAMILY."""
    family = (
        row
        for row in catalog.prices(region=pricing.region, kind=pricing.kind)
        if row.instance_type.startswith(REFERENCE_FAMILY) and (row.vcpus or 0) >= cores
    )
    row = min(family, key=lambda row: row.usd_per_hour, default=None)
    if row is None:
        return None
    source = f"as if it were {row.instance_type} ({row.vcpus} vCPUs), {row.cloud} {row.region}, {row.source}"
    return Price(row.usd_per_hour, "reference", source, row.date)


def usd_per_million(usd_per_hour: float, rate_per_s: float, share: float = 1.0, utilisation: float = 1.0) -> float:
    """Dollars for a million samples at `rate_per_s`. Raises ValueError for a rate that is not positive."""
    if not rate_per_s > 0:
        raise ValueError(f"no cost at a rate of {rate_per_s}/s")
    return usd_per_hour * share / (3600 * rate_per_s * utilisation) * 1e6


def with_electricity(price: Price, powers_w: Sequence[float], usd_per_kwh: float | None) -> Price:
    """`price` and what the machine draws, by the median of the repeats' measured powers; unchanged without a tariff."""
    if usd_per_kwh is None:
        return price
    if not powers_w:
        return replace(price, source=f"{price.source}; electricity left out: power not measured")
    power_w = median(powers_w)
    source = f"{price.source}; electricity at ${usd_per_kwh:g}/kWh and {power_w:.1f} W measured"
    usd_per_hour = price.usd_per_hour + electricity_usd_per_hour(power_w, usd_per_kwh)
    return replace(price, usd_per_hour=usd_per_hour, source=source)


def electricity_usd_per_hour(power_w: float, usd_per_kwh: float) -> float:
    return power_w / 1000 * usd_per_kwh


def _plain(value: float) -> str:
    """Digits without an exponent, which `Owned.parse` reads back to the same number."""
    whole = f"{value:.17f}".rstrip("0").rstrip(".")
    return whole if float(whole) == value else repr(value)
