"""Which configuration to use: the cheapest that keeps what was asked for, from measured and valid results alone.

A configuration is everything but the scenario. It is judged by each of its rows, as a rate under a bound (server), one
query after another (single_stream) and a rate without any bound (offline) answer different questions; the cheapest row
that qualifies stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from results.join import Table
from results.metrics import BY_KEY, NOT_MEASURED
from results.names import is_control
from results.numbers import significant

Row = Mapping[str, Any]

CONFIGURATION = ("technique", "precision", "engine", "backend", "device", "batch", "options", "policy", "fingerprint")


@dataclass(frozen=True)
class Quality:
    """The worst quality that is accepted: a value of the metric, or a share of what the best fp32 row reaches."""

    value: float
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> Quality:
        """0.97 or 97%; raises ValueError."""
        number, percent, rest = text.partition("%")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if rest or not (value > 0 and isfinite(value)):
            raise ValueError(f"--quality {text}: write a value of the metric, as in 0.97, or a share of fp32's, 97%")
        return cls(value / 100, relative=True) if percent else cls(value)


@dataclass(frozen=True)
class Wishes:
    """What a configuration has to keep. `bounded`: rows were joined with the latency bound that was asked for."""

    bounded: bool = False
    quality: Quality | None = None
    max_watts: float | None = None
    noisy: bool = False
    """Whether noisy results count too; they are marked."""


@dataclass(frozen=True)
class Choice:
    """A configuration that qualifies, by its cheapest row. `tied`: its cost cannot be told from the cheapest one's."""

    row: Row
    tied: bool = False


@dataclass(frozen=True)
class Rejected:
    row: Row
    reason: str


@dataclass(frozen=True)
class Advice:
    """Of one workload: what qualifies, cheapest first, and what does not."""

    workload: str
    choices: tuple[Choice, ...]
    rejected: tuple[Rejected, ...]


def advise(table: Table, wishes: Wishes) -> list[Advice]:
    """Advice for every workload that was measured, in the order of their names."""
    rows = [{str(name): value for name, value in row.items()} for row in table.rows.to_dict("records")]
    models = [row for row in rows if row["role"] == "model" and row["mode"] == "infer" and row["status"] == "ok"]
    names = sorted({str(row["workload"]) for row in models})
    return [_advice(name, [row for row in models if row["workload"] == name], wishes) for name in names]


def _advice(workload: str, rows: Sequence[Row], wishes: Wishes) -> Advice:
    best = _best_quality(rows)
    configurations: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        configurations.setdefault(tuple(row[name] for name in CONFIGURATION), []).append(row)
    chosen: list[Row] = []
    rejected: list[Rejected] = []
    for same in configurations.values():
        answers = [(row, list(_faults(row, wishes, best))) for row in same]
        fit = [row for row, faults in answers if not faults]
        if fit:
            chosen.append(min(fit, key=_cost))
        else:
            row, faults = min(answers, key=lambda answer: len(answer[1]))
            rejected.append(Rejected(row, "; ".join(faults)))
    chosen.sort(key=_cost)
    return Advice(workload, tuple(_choices(chosen)), tuple(sorted(rejected, key=lambda one: one.reason)))


def _choices(rows: Sequence[Row]) -> Iterator[Choice]:
    """Two costs are tied where the intervals of their rates, at their prices, overlap."""
    for row in rows:
        yield Choice(row, row is not rows[0] and _cost_range(row)[0] <= _cost_range(rows[0])[1])


def _cost(row: Row) -> float:
    return float(row["usd_per_million"])


def _cost_range(row: Row) -> tuple[float, float]:
    """The cost at the ends of the rate's interval, or range; the rate alone where it was measured once."""
    rate, low, high = (float(row[f"throughput_per_s{end}"]) for end in ("", "_low", "_high"))
    if not (low > 0 and high > 0):
        return _cost(row), _cost(row)
    return _cost(row) * rate / high, _cost(row) * rate / low


def _faults(row: Row, wishes: Wishes, best: float | None) -> Iterator[str]:
    """Everything that speaks against a row, in the order in which an expert would ask."""
    if row["provenance"] in NOT_MEASURED:
        yield f"{row['provenance']}: not measured"
        return
    if is_control(row["technique"]):
        yield "a control: measured to compare with"
        return
    if row["verdict"] == "invalid" or (row["verdict"] == "noisy" and not wishes.noisy):
        codes = ", ".join(reason.code for reason in row["reasons"] if reason.severity == row["verdict"])
        yield f"{row['verdict']}: {codes}"
    for fault in (_late(row, wishes), _poor(row, wishes, best), _hungry(row, wishes)):
        if fault:
            yield fault
    if not row["usd_per_million"] > 0:
        yield f"no cost: {_why(row, 'usd_per_million')}"


def _late(row: Row, wishes: Wishes) -> str:
    if not wishes.bounded or row["bounds_met"] is True:
        return ""
    if row["bounds_met"] is None:
        return f"latency bound not proved: {_why(row, 'bounds_met')}"
    return ": ".join(filter(None, (f"misses {row['bounds']}", _figure(row, "latency_p99_ns"))))


def _poor(row: Row, wishes: Wishes, best: float | None) -> str:
    wanted = wishes.quality
    if wanted is None:
        return ""
    value = row["quality"]
    if value is None or not isfinite(value):
        return f"quality not known: {_why(row, 'quality')}"
    higher = row["quality_better"] == "higher"
    if wanted.relative and best is None:
        return "no fp32 row without a technique to compare its quality with"
    least = wanted.value
    if wanted.relative and best is not None:
        least = best * wanted.value if higher else best / wanted.value
    if value >= least if higher else value <= least:
        return ""
    side = "below" if higher else "above"
    return f"{row['quality_metric']} {significant(value, 4)} is {side} {significant(least, 4)}"


def _hungry(row: Row, wishes: Wishes) -> str:
    if wishes.max_watts is None:
        return ""
    if row["power_valid"] is False:
        return f"power not to be believed: {row['power_reasons']}"
    if not row["power_w"] > 0:
        return f"power not known: {_why(row, 'power_w')}"
    return "" if row["power_w"] <= wishes.max_watts else f"takes {significant(row['power_w'], 3)} W"


def _best_quality(rows: Iterable[Row]) -> float | None:
    """What fp32 without any technique reaches."""
    plain = [
        row for row in rows if row["precision"] == "fp32" and row["technique"] == "none" and row["verdict"] != "invalid"
    ]
    values = [row["quality"] for row in plain if row["quality"] is not None and isfinite(row["quality"])]
    pick: Callable[[list[float]], float] = max if plain and plain[0]["quality_better"] == "higher" else min
    return pick(values) if values else None


def _figure(row: Row, key: str) -> str:
    metric = BY_KEY[key]
    text = metric.shown(row[key])
    return f"{metric.label} is {text} {metric.unit}" if text else ""


def _why(row: Row, column: str) -> str:
    return str(row["missing"].get(column, "not recorded"))
