"""From records to the table that everything else shows: one row per identity and machine.

A row is the newest run that has the identity, all its repeats together: medians over repeats, an interval from five of
them on and the range below, the worst verdict. Price, datasheet and measured ceilings are joined to it. Every figure
without a value has its reason in the row's `missing`, by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from results import catalog, stats, store
from results.checks import judge_repeats, verdict_of
from results.cost import Price, Pricing, electricity_usd_per_hour, price_of, usd_per_million
from results.metrics import BY_KEY, METRICS, look
from results.record import Bound, Machine, Reason, Record, Summary
from results.roofline import Ceiling, ceilings, intensity_flops_per_byte
from results.store import Entry, Problem, StoreError

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = (
    "workload", "mode", "technique", "precision", "batch", "scenario", "goal", "options", "policy", "members",
    "backend", "device", "engine",
)  # fmt: skip
HEADLINES = tuple(metric.key for metric in METRICS if metric.headline)
PER_REPEAT = tuple(metric for metric in METRICS if metric.path or metric.of)
COLUMNS = (
    "key", *IDENTITY, "role", "task", "sample_unit",
    "fingerprint", "hostname", "cpu", "cores", "instance_type",
    "status", "reason", "remedy", "stderr_tail", "provenance", "verdict", "reasons", "n", "repeats", "interval",
    *(metric.key for metric in METRICS), *(f"{key}_{end}" for key in HEADLINES for end in ("low", "high")),
    "bounds", "bounds_met", "quality_metric", "quality_unit", "quality_better", "quality_floor",
    "price_kind", "price_source", "price_date", "share", "utilisation", "usd_is_floor",
    "ceiling_flops_per_s", "ceiling_bytes_per_s",
    "datasheet_flops_per_s", "datasheet_bytes_per_s", "datasheet_tdp_w", "datasheet_source",
    "run_id", "written_utc", "profile", "command", "commit", "settings", "versions", "batch_chosen", "files", "entries",
    "missing",
)  # fmt: skip
"""All columns of `Table.rows`. `interval` is "t" or "range"; `entries` are the (record, summary) pairs of the row."""

NUMBERS = tuple(
    column
    for column in COLUMNS
    if column in BY_KEY or column.endswith(("_low", "_high", "_per_s", "_tdp_w")) or column in ("share", "utilisation")
)
"""Columns of float, NaN where there is no value; the others hold objects, None where there is none."""

_PERCENTILE_COLUMNS = {100 * p: name for name, p in stats.PERCENTILES.items()}


@dataclass(frozen=True)
class Table:
    """`rows` has COLUMNS, ordered by workload, machine, scenario and engine. Times are UTC, None for an empty table."""

    rows: pd.DataFrame
    problems: tuple[Problem, ...]
    machines: Mapping[str, Machine]
    ceilings: Mapping[tuple[str, str, str, str], Ceiling]
    pricing: Pricing
    oldest_utc: str | None
    newest_utc: str | None


@dataclass
class _Group:
    run_id: str
    folder: Path
    entries: list[Entry] = field(default_factory=list)


def table(path: Path, pricing: Pricing | None = None, bounds: Sequence[Bound] = ()) -> Table:
    """Read everything under `path`, a root, a run's folder or a records.log. Raises StoreError where that is none.

    `bounds` replace those that the records' cards promise.
    """
    import pandas as pd

    pricing = pricing or Pricing()
    problems: list[Problem] = []
    rows = [_row(group, pricing, bounds, problems) for group in _groups(path, problems)]
    roofs = ceilings(rows)
    for row in rows:
        _put_under_roof(row, roofs)
    rows.sort(key=lambda row: tuple(str(row[c]) for c in ("workload", "fingerprint", "scenario", "engine", "key")))
    times = [record.written_utc for row in rows for record, _ in row["entries"]]
    return Table(
        rows=pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(dict.fromkeys(NUMBERS, float)),
        problems=tuple(problems),
        machines={
            record.context.machine.fingerprint: record.context.machine for row in rows for record, _ in row["entries"]
        },
        ceilings=roofs,
        pricing=pricing,
        oldest_utc=min(times, default=None),
        newest_utc=max(times, default=None),
    )


def figures_of(folder: Path, record: Record, summary: Summary | None, problems: list[Problem]) -> Summary | None:
    """The stored summary if it follows today's rules, else one made again from the samples, and kept if possible."""
    if record.status != "ok" or (summary and summary.rules_version == stats.RULES_VERSION):
        return summary
    try:
        summary = stats.summarise(record, store.samples_of(folder, record))
    except (StoreError, ValueError) as error:
        problems.append(
            Problem(folder / store.RECORDS, 0, f"no figures for {record.record_id}: {error}; measure it again")
        )
        return None
    store.keep_summary(folder, summary)
    return summary


def _groups(path: Path, problems: list[Problem]) -> Iterable[_Group]:
    """The newest run's entries of each identity on each machine.

    An absent backend's rows go when a newer run on the same machine found that backend.
    """
    groups: dict[tuple[str, str], _Group] = {}
    found_in: dict[tuple[str, str], str] = {}
    for record, summary in store.newest(path, problems):
        machine, run_id = record.context.machine.fingerprint, record.context.run_id
        place = (machine, record.identity.backend)
        if record.status != "absent":
            found_in.setdefault(place, run_id)
        elif found_in.get(place, run_id) != run_id:
            continue
        group = groups.setdefault((record.identity.key, machine), _Group(run_id, store.folder_of(path, record)))
        if group.run_id == run_id:
            group.entries.append((record, summary))
    return groups.values()


def _row(group: _Group, pricing: Pricing, bounds: Sequence[Bound], problems: list[Problem]) -> dict[str, Any]:
    entries = [(record, figures_of(group.folder, record, summary, problems)) for record, summary in group.entries]
    ok = [entry for entry in entries if entry[0].status == "ok"]
    record = (ok or entries)[0][0]
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "missing": {}, "entries": tuple(entries)}
    row |= _described(record, len(ok), len(entries))
    _measure(row, ok or entries)
    row["reasons"] = _reasons(row, ok, entries)
    row["verdict"] = verdict_of(row["reasons"]) if ok else None
    _judge_bounds(row, bounds or record.card.bounds, _slowest_ns(ok))
    _work(row, record)
    _charge(row, ok, record, pricing)
    _datasheet(row, record)
    row["files"] = tuple(f"{group.folder.name}/{r.window.samples_file}" for r, _ in ok if r.window)
    return row


def _described(record: Record, n: int, repeats: int) -> dict[str, Any]:
    identity, card, context = record.identity, record.card, record.context
    machine, quality = context.machine, record.card.quality
    return {
        **{name: getattr(identity, name) for name in IDENTITY},
        "key": identity.key,
        "options": ",".join(f"{name}={value}" for name, value in sorted(identity.options.items())),
        "members": ",".join(identity.members),
        **{name: getattr(card, name) for name in ("role", "task", "sample_unit")},
        **{name: getattr(machine, name) for name in ("fingerprint", "hostname", "cpu", "cores", "instance_type")},
        **{
            name: getattr(record, name)
            for name in ("status", "reason", "remedy", "stderr_tail", "provenance", "written_utc")
        },
        **{name: getattr(context, name) for name in ("run_id", "profile", "command", "commit", "batch_chosen")},
        "settings": dict(context.settings),
        "versions": dict(context.versions),
        "n": n,
        "repeats": repeats,
        **(
            {f"quality_{part}": getattr(quality, part) for part in ("metric", "unit", "better", "floor")}
            if quality
            else {}
        ),
    }


def _measure(row: dict[str, Any], entries: list[Entry]) -> None:
    """Medians over repeats, and around the headlines interval or range."""
    for metric in PER_REPEAT:
        looked = [look(metric, record, summary) for record, summary in entries]
        values = [value for value, _ in looked if value is not None]
        if not values:
            row["missing"][metric.key] = looked[0][1]
            continue
        row[metric.key] = median(values)
        if metric.headline:
            around = stats.interval(values)
            row[f"{metric.key}_low"], row[f"{metric.key}_high"] = around.low, around.high
            row["interval"] = row["interval"] or around.kind


def _reasons(row: Mapping[str, Any], ok: list[Entry], entries: list[Entry]) -> tuple[Reason, ...]:
    """Each code once, in its worst form, with how many repeats have it; then what only repeats together tell."""
    if not ok:
        return ()
    found: dict[str, list[Reason]] = {}
    for _, summary in ok:
        for reason in summary.reasons if summary else ():
            found.setdefault(reason.code, []).append(reason)
    single = tuple(_merged(reasons, len(ok)) for reasons in found.values())
    key = "latency_p50_ns" if row["latency_p50_ns"] is not None else "throughput_per_s"
    values = [value for value in (_value(summary, key) for _, summary in ok) if value is not None]
    half_width = stats.interval(values).half_width if values else None
    unread = sum(summary is None for _, summary in ok)
    return single + judge_repeats(half_width, len(entries) - len(ok), unread, len(entries))


def _merged(reasons: list[Reason], repeats: int) -> Reason:
    worst = min(reasons, key=lambda reason: reason.severity)  # "invalid" sorts before "noisy"
    if repeats == 1:
        return worst
    return worst.model_copy(update={"detail": f"{len(reasons)} of {repeats} repeats: {worst.detail}"})


def _value(summary: Summary | None, key: str) -> float | None:
    return getattr(summary, key) if summary else None


def _slowest_ns(ok: list[Entry]) -> float | None:
    """The slowest query of all repeats; None where one of them is not known."""
    maxima = [_value(summary, "latency_max_ns") for _, summary in ok]
    return max((value for value in maxima if value is not None), default=None) if None not in maxima else None


def _judge_bounds(row: dict[str, Any], bounds: Sequence[Bound], slowest_ns: float | None) -> None:
    """True when every bound is met, False when one surely is not, None with the reason when the samples cannot say."""
    verdicts = {
        f"p{bound.percentile:g} <= {bound.latency_ms:g} ms": _within(row, bound, slowest_ns) for bound in bounds
    }
    row["bounds"] = ", ".join(verdicts)
    if not verdicts:
        row["missing"]["bounds_met"] = "the workload promises no latency"
    elif row["latency_p50_ns"] is None:
        row["missing"]["bounds_met"] = row["missing"]["latency_p50_ns"]
    elif None in verdicts.values() and False not in verdicts.values():
        row["missing"]["bounds_met"] = "too few queries for the bound's percentile, and some were slower than the bound"
    else:
        row["bounds_met"] = all(verdicts.values())


def _within(row: Mapping[str, Any], bound: Bound, slowest_ns: float | None) -> bool | None:
    """Without the percentile itself: no query over the limit is within, a lower percentile over it is not."""
    limit_ns = bound.latency_ms * 1e6
    if slowest_ns is not None and slowest_ns <= limit_ns:
        return True
    for percentile, column in sorted(_PERCENTILE_COLUMNS.items()):
        value = row[column]
        if percentile <= bound.percentile and value is not None and value > limit_ns:
            return False
    exact = row[_PERCENTILE_COLUMNS[bound.percentile]] if bound.percentile in _PERCENTILE_COLUMNS else None
    return None if exact is None else exact <= limit_ns


def _work(row: dict[str, Any], record: Record) -> None:
    card, rate = record.card, row["throughput_per_s"]
    if rate is None:
        reason = row["missing"]["throughput_per_s"]
        row["missing"] |= dict.fromkeys(("achieved_flops_per_s", "intensity_flops_per_byte"), reason)
        return
    row["achieved_flops_per_s"] = rate * card.flops
    batch = record.window.batch if record.window else 1
    row["intensity_flops_per_byte"] = intensity_flops_per_byte(card, record.identity.precision, batch)
    if row["intensity_flops_per_byte"] is None:
        row["missing"]["intensity_flops_per_byte"] = f"the size of a weight in {record.identity.precision} is not known"


def _charge(row: dict[str, Any], ok: list[Entry], record: Record, pricing: Pricing) -> None:
    """Price and cost. An offline rate met no bound, so its cost is a floor."""
    row["share"], row["utilisation"] = pricing.share, pricing.utilisation
    price = price_of(record.context.machine, pricing, record.identity.backend)
    if isinstance(price, str):
        row["missing"] |= dict.fromkeys(("usd_per_hour", "usd_per_million"), price)
        return
    price = _with_electricity(price, ok, pricing)
    row["usd_per_hour"] = price.usd_per_hour
    row["price_kind"], row["price_source"], row["price_date"] = price.kind, price.source, price.date
    row["usd_is_floor"] = record.window is not None and record.window.samples_kind == "done_ns"
    if not row["throughput_per_s"]:
        row["missing"]["usd_per_million"] = row["missing"].get("throughput_per_s", "nothing was completed")
        return
    rate = row["throughput_per_s"]
    row["usd_per_million"] = usd_per_million(price.usd_per_hour, rate, pricing.share, pricing.utilisation)


def _with_electricity(price: Price, ok: list[Entry], pricing: Pricing) -> Price:
    if pricing.usd_per_kwh is None:
        return price
    powers_w = [
        record.energy.energy_j / record.window.duration_ns * 1e9
        for record, _ in ok
        if record.energy and record.window and record.energy.energy_j is not None and record.window.duration_ns
    ]
    if not powers_w:
        return Price(
            price.usd_per_hour, price.kind, f"{price.source}; electricity left out: power not measured", price.date
        )
    usd = electricity_usd_per_hour(median(powers_w), pricing.usd_per_kwh)
    source = f"{price.source}; electricity at ${pricing.usd_per_kwh:g}/kWh and {median(powers_w):.1f} W measured"
    return Price(price.usd_per_hour + usd, price.kind, source, price.date)


def _datasheet(row: dict[str, Any], record: Record) -> None:
    name = record.identity.device
    if not catalog.device(name) and record.identity.backend == "cpu":
        name = record.context.machine.cpu
    facts = {
        "datasheet_flops_per_s": catalog.fact(name, "dense_flops_per_s", record.identity.precision),
        "datasheet_bytes_per_s": catalog.fact(name, "bandwidth_bytes_per_s"),
        "datasheet_tdp_w": catalog.fact(name, "tdp_w"),
    }
    for column, fact in facts.items():
        if fact is None:
            row["missing"][column] = f"the catalog does not have it for {name}"
        else:
            row[column] = fact.value
            row["datasheet_source"] = f"{fact.source} ({fact.note})" if fact.note else fact.source


def _put_under_roof(row: dict[str, Any], roofs: Mapping[tuple[str, str, str, str], Ceiling]) -> None:
    roof = roofs.get((row["fingerprint"], row["backend"], row["device"], row["precision"]))
    intensity, achieved = row["intensity_flops_per_byte"], row["achieved_flops_per_s"]
    if intensity is None or achieved is None:
        row["missing"]["ceiling_share"] = row["missing"]["intensity_flops_per_byte"]
        return
    row["ceiling_flops_per_s"] = roof.flops_per_s if roof else None
    row["ceiling_bytes_per_s"] = roof.bytes_per_s if roof else None
    limit = roof.at(intensity) if roof else None
    if limit:
        row["ceiling_share"] = achieved / limit
    else:
        row["missing"]["ceiling_share"] = (
            f"no measured ceilings for {row['device']} at {row['precision']} on this machine"
        )
