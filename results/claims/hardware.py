"""The published rule of thumb on six kinds of hardware, beside what was measured.

A band is a ratio to the CPU: the geometric mean, over the workloads that both ran, of the kind's best row over the
CPU's best fp32 row. Best is the highest offline throughput and the lowest single-stream p50 among rows that are ok,
measured and not invalid. The claim gives words only; the limits of the bands are ours and stand in BANDS. The CPU is
the unit of its own bands, so only its price and its best use can be judged. A kind that was not measured is judged by
what others published where one table has it beside a CPU in fp32 (`results/published/ratios.py`), and says so.

Verdicts: `holds` (the claimed band), `exceeds` and `falls short` (a better or a worse one), `reversed` (claimed better
than the CPU and measured worse, or the other way round), `undecided` (and why).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

from results import catalog
from results.claims.answer import Answer, Source, Verdict
from results.join import Table
from results.metrics import NOT_MEASURED
from results.names import COMPILE, scenario_name
from results.numbers import significant
from results.published import Published
from results.published.ratios import Figure, latency, over_processor, rate
from results.stats import geometric_mean

Row = Mapping[str, Any]

QUESTIONS = {
    "throughput": "throughput",
    "latency": "latency",
    "usd_per_hour": "$/h",
    "power": "power",
    "best_use": "best use",
}
BANDS: dict[str, tuple[tuple[str, float], ...]] = {
    "throughput": (("low", 2), ("medium", 5), ("high", 20), ("very high", inf)),
    "latency": (("very low", 0.2), ("low", 0.67), ("medium", 1.5), ("high", inf)),
    "power": (("very low", 0.1), ("low", 1.25), ("medium", 2.5), ("high", inf)),
}
"""Band and the ratio to the CPU that it ends below, rising. Latency is a time: low is good, and so is low power."""
PRICE_TOLERANCE = 0.25
"""A price this near to the claimed one holds."""
SMALL, LARGE = 10_000_000, 50_000_000
"""Parameters up to which, and from which, a model counts as small and as large."""


@dataclass(frozen=True)
class Kind:
    """One row of the claim. Rows of `backends` whose device contains `device` belong to it.

    A named execution provider (backend generic_ep) belongs to none: it may drive this very processor, or a GPU.

    `instance` is what the catalog prices it by, per chip; empty where nobody rents it out by the hour. `suits` says
    whether a model of so many parameters is what `best_use` speaks of; None where that is not about a model's size.
    `devices` are how the catalog's names of it begin, for what others published.
    """

    name: str
    backends: tuple[str, ...]
    device: str
    throughput: str
    latency: str
    usd_per_hour: float
    power: str
    best_use: str
    instance: str
    suits: Callable[[int], bool] | None
    devices: tuple[str, ...]


KINDS = (
    Kind("CPU", ("cpu",), "", "low", "medium", 0.10, "low", "small models, edge", "c7i.large", lambda n: n <= SMALL,
         ()),
    Kind("A100", ("cuda",), "A100", "high", "low", 3.00, "high", "large models, training", "p4d.24xlarge",
         lambda n: n >= LARGE, ("NVIDIA A100",)),
    Kind("TPU v4", ("tpu",), "v4", "very high", "medium", 2.40, "medium", "batch, training", "tpu-v4-2816", None,
         ("Google TPU v4",)),
    Kind("Edge TPU", ("edgetpu",), "", "medium", "very low", 0.05, "very low", "mobile, IoT", "", lambda n: n <= SMALL,
         ("Coral Edge TPU", "Google Edge TPU")),
    Kind("Inferentia", ("inferentia",), "", "high", "low", 0.80, "low", "production inference", "inf2.xlarge", None,
         ("AWS Inferentia",)),
    Kind("custom ASIC", ("asic", "ethos_u", "intel_npu", "gaudi", "qualcomm"), "", "very high",
         "very low", 1.50, "low", "specialised", "trn1.2xlarge", None,
         ("Arm Ethos", "Intel Gaudi", "Intel NPU", "Qualcomm")),
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One kind of hardware. `absence` says why nothing was measured, "" where something was."""

    kind: str
    absence: str
    workloads: int
    answers: Mapping[str, Answer]


def claims(table: Table) -> list[Claim]:
    """The hardware table, a row for each of KINDS whether it was measured or not."""
    rows: list[Row] = [{str(name): value for name, value in row.items()} for row in table.rows.to_dict("records")]
    usable = [row for row in rows if _usable(row)]
    by_kind = {kind.name: [row for row in usable if _belongs(kind, row)] for kind in KINDS}
    return [_claim(kind, by_kind, rows, table.published) for kind in KINDS]


def band(question: str, ratio: float) -> str:
    """The name of the band that a ratio to the CPU falls into."""
    return next(name for name, end in BANDS[question] if ratio < end or end == inf)


def judge_band(question: str, claimed: str, ratio: float) -> Verdict:
    names = [name for name, _ in BANDS[question]]
    place, expected = names.index(band(question, ratio)), names.index(claimed)
    unit = names.index(band(question, 1.0))
    if (expected - unit) * log(ratio) < 0:
        return "reversed"
    if place == expected:
        return "holds"
    more_is_better = question == "throughput"
    return "exceeds" if (place > expected) == more_is_better else "falls short"


def judge_price(claimed_usd: float, found_usd: float) -> Verdict:
    if abs(found_usd / claimed_usd - 1) <= PRICE_TOLERANCE:
        return "holds"
    return "exceeds" if found_usd < claimed_usd else "falls short"


def _claim(kind: Kind, by_kind: Mapping[str, list[Row]], rows: Sequence[Row], published: Sequence[Published]) -> Claim:
    own = by_kind[kind.name]
    absence = "" if own else _absence(kind, rows)
    beside = _beside_a_cpu(kind, published) if absence else {}
    told = {
        name: _told(kind, name, ratio, len(figures))
        for name, figures in beside.items()
        if (ratio := geometric_mean(list(figures.values()))) is not None
    }
    if beside and not told:
        absence += "; published, but in no table beside a CPU in fp32"
    answers = {question.name: _banded(kind, question, by_kind, absence) for question in _RATIOS} | told
    answers["usd_per_hour"] = _price(kind, own)
    answers["best_use"] = _best_use(kind, by_kind, absence)
    return Claim(kind.name, absence, len({row["workload"] for row in own}), {name: answers[name] for name in QUESTIONS})


def _usable(row: Row) -> bool:
    measured = row["status"] == "ok" and row["provenance"] == "measured" and row["rules"] == "accelmark"
    return bool(measured and row["mode"] == "infer" and row["verdict"] != "invalid" and row["role"] == "model")


def _belongs(kind: Kind, row: Row) -> bool:
    return row["backend"] in kind.backends and kind.device.lower() in str(row["device"]).lower()


def _absence(kind: Kind, rows: Sequence[Row]) -> str:
    """Why no row of this kind can be used: the reason that a run gave, or that there was no run."""
    answers = [row for row in rows if row["backend"] in kind.backends and row["mode"] == "infer"]
    near = [row for row in answers if row["provenance"] not in NOT_MEASURED]
    if any(row["status"] == "ok" and _belongs(kind, row) for row in near):
        return "measured, but with no valid result: see its rows"
    words = {row["provenance"] for row in rows if row["provenance"] in NOT_MEASURED and _belongs(kind, row)}
    also = "; estimated: see below" if "estimate" in words else "; simulated: see below" if words else ""
    for row in near:
        if row["status"] != "ok" and row["scenario"] != COMPILE and row["reason"]:
            return f"{row['status']}: {row['reason']}{also}"
    if also:
        return f"absent: no run here found the hardware{also}"
    if near:
        return f"not measured: {', '.join(sorted({str(row['device']) for row in near}))} is no {kind.name}"
    return f"not measured: no run with --backend={kind.backends[0]} is among these results"


def _best_throughput(rows: Sequence[Row]) -> dict[str, float]:
    """Samples per second by workload."""
    return _best(_of("offline", rows, "throughput_per_s"), "throughput_per_s", max)


def _best_latency(rows: Sequence[Row]) -> dict[str, float]:
    """Nanoseconds by workload."""
    return _best(_of("single_stream", rows, "latency_p50_ns"), "latency_p50_ns", min)


def _power(rows: Sequence[Row]) -> dict[str, float]:
    """Watts by workload while it ran offline, where energy was measured and may be believed."""
    believed = [row for row in rows if row["power_valid"] is not False]
    return _best(_of("offline", believed, "power_w"), "power_w", min)


def _of(kind: str, rows: Sequence[Row], column: str) -> list[Row]:
    """Rows of one scenario that have a figure: scenarios are different quantities and never share a best."""
    return [row for row in rows if scenario_name(row["scenario"]) == kind and row[column] > 0]


def _best(rows: Sequence[Row], column: str, pick: Callable[[float, float], float]) -> dict[str, float]:
    best: dict[str, float] = {}
    for row in rows:
        value = float(row[column])
        best[row["workload"]] = pick(best.get(row["workload"], value), value)
    return best


@dataclass(frozen=True)
class _Ratio:
    """A question that is answered by a band: which figures answer it, how they are shown, whose reason a gap has."""

    name: str
    best: Callable[[Sequence[Row]], dict[str, float]]
    unit: str
    scale: float
    column: str
    published: Figure | None = None
    pick: Callable[[float, float], float] = min


_RATIOS = (
    _Ratio("throughput", _best_throughput, "samples/s offline", 1.0, "throughput_per_s", rate, max),
    _Ratio("latency", _best_latency, "ms p50 single-stream", 1e-6, "latency_p50_ns", latency),
    _Ratio("power", _power, "W offline", 1.0, "power_w"),
)


def _banded(kind: Kind, question: _Ratio, by_kind: Mapping[str, list[Row]], absence: str) -> Answer:
    claimed = getattr(kind, question.name)
    cpu = question.best([row for row in by_kind["CPU"] if row["precision"] == "fp32"])
    figures = cpu if kind.name == "CPU" else question.best(by_kind[kind.name])
    mean = geometric_mean(list(figures.values()))
    if mean is None:
        reason = absence or _why_missing(by_kind[kind.name], question)
        return Answer(claimed, "", "none", "undecided", reason)
    found = f"{significant(mean * question.scale, 3)} {question.unit}, geometric mean of {_count(figures)}"
    ratio = geometric_mean([figures[name] / cpu[name] for name in figures if name in cpu])
    if kind.name == "CPU":
        reason = "the CPU is the unit of these bands" if _others(by_kind) else "no other hardware measured"
        return Answer(claimed, found, "measured", "undecided", reason)
    if ratio is None:
        return Answer(claimed, found, "measured", "undecided", "no workload was measured on both it and a CPU in fp32")
    found = f"{significant(ratio, 3)}x the CPU ({band(question.name, ratio)}), {found}"
    shared = f"over {_count([name for name in figures if name in cpu])} that the CPU ran too"
    return Answer(claimed, found, "measured", judge_band(question.name, claimed, ratio), shared)


def _beside_a_cpu(kind: Kind, rows: Sequence[Published]) -> dict[str, dict[str, float]]:
    """By question what others published of this kind, as ratios to a CPU by network; without any, no question."""
    found = {
        question.name: over_processor(rows, kind.devices, question.published, question.pick)
        for question in _RATIOS
        if question.published and kind.devices
    }
    return {name: figures for name, figures in found.items() if figures is not None}


def _told(kind: Kind, question: str, ratio: float, networks: int) -> Answer:
    claimed = getattr(kind, question)
    found = f"{significant(ratio, 3)}x the CPU ({band(question, ratio)}), published"
    beside = f"others' figures, over {networks} networks that a CPU ran in fp32 in the same table"
    return Answer(claimed, found, "published", judge_band(question, claimed, ratio), beside)


def _others(by_kind: Mapping[str, list[Row]]) -> bool:
    return any(rows for name, rows in by_kind.items() if name != "CPU")


def _why_missing(own: Sequence[Row], question: _Ratio) -> str:
    doubtful = [row["power_reasons"] for row in own if row["power_valid"] is False]
    if question.column == "power_w" and doubtful:
        return f"power measured, but not to be believed: {doubtful[0]}"
    reasons = [row["missing"][question.column] for row in own if question.column in row["missing"]]
    return f"{question.name} not measured: {reasons[0]}" if reasons else f"no {question.unit} among these results"


def _price(kind: Kind, own: Sequence[Row]) -> Answer:
    """What the measured machine costs, else the catalog's price of the kind's usual instance, per chip."""
    claimed = f"${kind.usd_per_hour:.2f}"
    priced = [row for row in own if row["usd_per_hour"] > 0]
    if priced:
        row = min(priced, key=lambda row: row["usd_per_hour"] * row["share"])
        provenance: Source = "given" if row["price_kind"] in ("given", "owned") else "published"
        source = f"of the measured machine: {row['price_source']}, {row['price_date']}"
        return _priced(kind, claimed, row["usd_per_hour"] * row["share"], source, provenance)
    rows = catalog.prices(kind.instance, kind="on-demand") if kind.instance else ()
    if not rows:
        return Answer(claimed, "", "none", "undecided", "bought, not rented by the hour: give --owned, as in 60usd/3y")
    price, chips = rows[0], rows[0].chips or 1
    per = f" / {chips} chips" if chips > 1 else ""
    source = f"{price.instance_type}{per}, {price.cloud} {price.region} on demand, {price.date}, {price.source}"
    return _priced(kind, claimed, price.usd_per_hour / chips, source, "published")


def _priced(kind: Kind, claimed: str, usd: float, source: str, provenance: Source) -> Answer:
    return Answer(claimed, f"${significant(usd, 3)}", provenance, judge_price(kind.usd_per_hour, usd), source)


def _best_use(kind: Kind, by_kind: Mapping[str, list[Row]], absence: str) -> Answer:
    """The workloads that this kind computes within their bound for less money than any other kind."""
    costs = {name: _costs(rows) for name, rows in by_kind.items()}
    own = costs[kind.name]
    if absence:
        return Answer(kind.best_use, "", "none", "undecided", absence)
    if not _others(by_kind):
        met = {row["workload"] for row in by_kind[kind.name] if row["bounds_met"] is True}
        found = f"{_count(met)} within the bound"
        return Answer(kind.best_use, found, "measured", "undecided", "no other hardware measured: cheapest of one")
    if not own:
        return Answer(kind.best_use, "", "none", "undecided", "no result within its bound has a price: give --price")
    cheapest = sorted(w for w, usd in own.items() if usd <= min(other.get(w, inf) for other in costs.values()))
    found = f"cheapest within the bound: {', '.join(cheapest) or 'nothing'}"
    if kind.suits is None:
        return Answer(
            kind.best_use, found, "measured", "undecided", "the claim is not about a property of these workloads"
        )
    sizes = {row["workload"]: row["entries"][0][0].card.parameters for row in by_kind[kind.name]}
    fitting = [workload for workload in cheapest if kind.suits(sizes[workload])]
    reason = f"{len(fitting)} of {len(cheapest)} have a size that the claim speaks of"
    if 2 * len(fitting) >= len(cheapest) > 0:
        return Answer(kind.best_use, found, "measured", "holds", reason)
    return Answer(kind.best_use, found, "measured", "falls short" if fitting or not cheapest else "reversed", reason)


def _costs(rows: Sequence[Row]) -> dict[str, float]:
    """Dollars per million within the bound by workload: at a server's rate, or what one client at a time gets."""
    within = [row for row in rows if row["bounds_met"] is True and row["usd_per_million"] > 0]
    served = [row for row in within if scenario_name(row["scenario"]) == "server"]
    return {**_best(within, "usd_per_million", min), **_best(served, "usd_per_million", min)}


def _count(workloads: Any) -> str:
    return f"{len(workloads)} workload{'' if len(workloads) == 1 else 's'}"
