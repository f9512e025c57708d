"""One row of the table: the repeats of one identity on one machine, with everything that is joined to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results import catalog, promises, stats
from results.checks import judge_repeats, verdict_of
from results.cost import Pricing, price_of, usd_per_million, with_electricity
from results.metrics import BY_KEY, ESTIMATED, METRICS, figure_of, look
from results.names import COMPILE, scenario_name
from results.record import Bound, Reason, Record
from results.roofline import ELEMENT_BYTES, Ceiling, intensity_flops_per_byte, link_roof_per_s
from results.store import Entry

IDENTITY = (
    "workload", "mode", "technique", "precision", "batch", "scenario", "goal", "options", "rules", "policy", "members",
    "backend", "device", "engine",
)  # fmt: skip
HEADLINES = tuple(metric.key for metric in METRICS if metric.headline)
PER_REPEAT = tuple(metric for metric in (*METRICS, *ESTIMATED) if metric.path or metric.of)
COLUMNS = (
    "key", *IDENTITY, "role", "task", "sample_unit",
    "fingerprint", "hostname", "cpu", "cores", "instance_type",
    "status", "reason", "remedy", "stderr_tail", "provenance", "verdict", "reasons", "n", "repeats", "interval",
    *(metric.key for metric in METRICS), *(f"{key}_{end}" for key in HEADLINES for end in ("low", "high")),
    *(metric.key for metric in ESTIMATED), "estimate_source", "estimate_caveat",
    "bounds", "bounds_met", "load_bound", "loadgen", "official",
    "energy_method", "energy_meter", "energy_scope", "power_valid", "power_reasons",
    "quality_metric", "quality_unit", "quality_better", "quality_floor",
    "price_kind", "price_source", "price_date", "share", "utilisation", "usd_is_floor",
    "ceiling_flops_per_s", "ceiling_bytes_per_s",
    "datasheet_flops_per_s", "datasheet_bytes_per_s", "datasheet_tdp_w", "datasheet_link_bytes_per_s",
    "link_roof_per_s", "datasheet_source",
    "run_id", "written_utc", "profile", "command", "commit", "settings", "versions", "batch_chosen", "files", "entries",
    "missing",
)  # fmt: skip
"""All columns of `join.Table.rows`. `interval` is "t" or "range"; `entries` are the row's (record, summary) pairs.

`load_bound` is what a server row's rate was found or offered under, `loadgen` LoadGen's own verdict.
"""
NUMBERS = tuple(
    column
    for column in COLUMNS
    if column in BY_KEY or column.endswith(("_low", "_high", "_per_s", "_tdp_w")) or column in ("share", "utilisation")
)
"""Columns of float, NaN where there is no value; the others hold objects, None where there is none."""

HOST = ("hostname", "cpu", "cores", "instance_type")
"""Columns of the machine that measured; what was only compiled for is no part of it, and they are empty."""
OF_THE_MODEL = (*(metric.key for metric in ESTIMATED), "quality", "output_cosine")
"""What an estimate has figures of. Its phases are those of this machine's compiler, and of no device."""

SAME_PARAMETERS = 0.01
"""Tables and folded constants may come and go; a network of another size has other operations."""

Row = dict[str, Any]
Roofs = Mapping[tuple[str, str, str, str], Ceiling]


def row_of(entries: Sequence[Entry], folder: str, pricing: Pricing, bounds: Sequence[Bound]) -> Row:
    """COLUMNS of one or more repeats, whose samples lie under the run's folder of this name; roofs are not on it yet.

    `bounds` replace the promises of the workload's card and of the load, where there are any.
    """
    ok = [entry for entry in entries if entry[0].status == "ok"]
    record = (ok or entries)[0][0]
    row: Row = {**dict.fromkeys(COLUMNS), "missing": {}, "entries": tuple(entries)}
    row |= _described(record, len(ok), len(entries))
    _measure(row, ok or entries)
    _predict(row, record)
    _energy(row, ok)
    _loadgen(row, ok)
    row["reasons"] = _reasons(row, ok, entries)
    row["verdict"] = verdict_of(row["reasons"]) if ok else None
    _promise(row, ok, record, bounds)
    _work(row, record)
    _charge(row, ok, record, pricing)
    _datasheet(row, record)
    _link(row, record)
    row["files"] = tuple(f"{folder}/{r.window.samples_file}" for r, _ in ok if r.window)
    return row


def put_under_roof(row: Row, roofs: Roofs) -> None:
    """The last columns: how near the row comes to its machine's own ceilings, and why the rest is missing."""
    roof = roofs.get((row["fingerprint"], row["backend"], row["device"], row["precision"]))
    intensity, achieved = row["intensity_flops_per_byte"], row["achieved_flops_per_s"]
    limit = None
    if intensity is None or achieved is None:
        row["missing"]["ceiling_share"] = row["missing"]["intensity_flops_per_byte"]
    else:
        row["ceiling_flops_per_s"] = roof.flops_per_s if roof else None
        row["ceiling_bytes_per_s"] = roof.bytes_per_s if roof else None
        limit = roof.at(intensity) if roof else None
        where = f"{row['device']} at {row['precision']}"
        row["missing"] |= {} if limit else {"ceiling_share": f"no measured ceilings for {where} on this machine"}
    row["ceiling_share"] = achieved / limit if limit else None
    _explain_gaps(row)


def _described(record: Record, n: int, repeats: int) -> dict[str, Any]:
    identity, card, context = record.identity, record.card, record.context
    machine, quality = context.machine, record.card.quality
    host = {} if identity.scenario == COMPILE else {name: getattr(machine, name) for name in HOST}
    return {
        **{name: getattr(identity, name) for name in IDENTITY},
        "key": identity.key,
        "options": ",".join(f"{name}={value}" for name, value in sorted(identity.options.items())),
        "members": ",".join(identity.members),
        **{name: getattr(card, name) for name in ("role", "task", "sample_unit")},
        "fingerprint": machine.fingerprint,
        **host,
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


def _measure(row: Row, entries: Sequence[Entry]) -> None:
    """The figure of the repeats, and around the headlines their interval or range.

    Latencies at rates that each repeat found for itself are no repeats of one another.
    """
    apart = len({record.load.offered_per_s for record, _ in entries if record.load}) > 1
    first = entries[0][0]
    for metric in PER_REPEAT:
        if first.estimate and metric.key not in OF_THE_MODEL:
            row["missing"][metric.key] = f"{first.provenance}: nothing ran on the device"
            continue
        if apart and metric.key.startswith(("latency_", "early_")):
            row["missing"][metric.key] = "each repeat was at the rate that it had found: see the repeats"
            continue
        looked = [look(metric, record, summary) for record, summary in entries]
        values = [value for value, _ in looked if value is not None]
        if not values:
            row["missing"][metric.key] = looked[0][1]
            continue
        around = stats.interval(values)
        row[metric.key] = around.centre
        if metric.headline:
            row[f"{metric.key}_low"], row[f"{metric.key}_high"] = around.low, around.high
            row["interval"] = row["interval"] or around.kind


def _predict(row: Row, record: Record) -> None:
    """Who says so, and why this machine is in no column."""
    if row["scenario"] == COMPILE:
        row["missing"] |= dict.fromkeys(HOST, f"only compiled for: {row['device']} is no part of this machine")
    if record.estimate:
        row["estimate_source"], row["estimate_caveat"] = record.estimate.source, record.estimate.caveat or None
        row["missing"] |= {} if record.estimate.caveat else {"estimate_caveat": "the tool warns of nothing"}


def _energy(row: Row, ok: Sequence[Entry]) -> None:
    """How energy was read; power is valid if it was in every repeat."""
    found = [record.energy for record, _ in ok if record.energy]
    if not found:
        return
    row |= {f"energy_{part}": getattr(found[0], part) for part in ("method", "meter", "scope")}
    valid = [energy.power_valid for energy in found]
    row["power_valid"] = None if None in valid else all(valid)
    row["power_reasons"] = ",".join(sorted({code for energy in found for code in energy.power_reasons}))
    if None in valid:
        row["missing"]["power_valid"] = found[valid.index(None)].missing["power_valid"]


def _loadgen(row: Row, ok: Sequence[Entry]) -> None:
    runs = [record.loadgen for record, _ in ok if record.loadgen]
    if runs:
        row["loadgen"] = "VALID" if all(run.valid for run in runs) else "INVALID"
        row["official"] = all(run.official for run in runs)


def _reasons(row: Row, ok: Sequence[Entry], entries: Sequence[Entry]) -> tuple[Reason, ...]:
    """Each code once, in its worst form, with how many repeats have it; then what only repeats together tell."""
    if not ok:
        return ()
    found: dict[str, list[Reason]] = {}
    for _, summary in ok:
        for reason in summary.reasons if summary else ():
            found.setdefault(reason.code, []).append(reason)
    single = tuple(_merged(reasons, len(ok)) for reasons in found.values())
    metric = BY_KEY[figure_of(row["scenario"], row["goal"])]
    values = [value for value, _ in (look(metric, *entry) for entry in ok) if value is not None]
    half_width = stats.interval(values).half_width if values else None
    unread = sum(summary is None for _, summary in ok)
    return single + judge_repeats(half_width, len(entries) - len(ok), unread, len(entries))


def _merged(reasons: Sequence[Reason], repeats: int) -> Reason:
    worst = min(reasons, key=lambda reason: ("invalid", "noisy", "note").index(reason.severity))
    if repeats == 1:
        return worst
    return worst.model_copy(update={"detail": f"{len(reasons)} of {repeats} repeats: {worst.detail}"})


def _promise(row: Row, ok: Sequence[Entry], record: Record, bounds: Sequence[Bound]) -> None:
    """`bounds_met`: True when every bound is met, False when one surely is not, None when the samples cannot say."""
    own = (promises.searched(record.load),) if record.load else record.card.bounds
    row["load_bound"] = promises.written(own[0]) if record.load else None
    verdicts = {promises.written(bound): promises.kept(bound, ok) for bound in bounds or own}
    row["bounds"] = ", ".join(verdicts)
    if not verdicts:
        row["missing"]["bounds_met"] = "the workload promises no latency"
    elif not any(summary and summary.latency_p50_ns is not None for _, summary in ok):
        row["missing"]["bounds_met"] = row["missing"]["latency_p50_ns"]
    elif None in verdicts.values() and False not in verdicts.values():
        row["missing"]["bounds_met"] = promises.unproved(ok)
    else:
        row["bounds_met"] = all(verdicts.values())


def _work(row: Row, record: Record) -> None:
    card, rate = record.card, row["throughput_per_s"]
    derived = ("achieved_flops_per_s", "intensity_flops_per_byte")
    if record.identity.mode == "train":
        row["missing"] |= dict.fromkeys(derived, "training: the card counts the operations of an answer, not of a step")
        return
    if rate is None or card.flops is None:
        uncounted = "the workload's operations cannot be counted"
        row["missing"] |= dict.fromkeys(derived, row["missing"].get("throughput_per_s", uncounted))
        return
    if (changed := _changed_network(record)) is not None:
        row["missing"] |= dict.fromkeys(derived, changed)
        return
    row["achieved_flops_per_s"] = rate * card.flops
    batch = record.context.batch_chosen or 1
    row["intensity_flops_per_byte"] = intensity_flops_per_byte(card, record.identity.precision, batch)
    if row["intensity_flops_per_byte"] is None:
        row["missing"]["intensity_flops_per_byte"] = f"the size of a weight in {record.identity.precision} is not known"


def _changed_network(record: Record) -> str | None:
    """Why the card's operations are not those of the network that a technique made; None: they are."""
    artefact = record.evidence.artefact if record.evidence else None
    if artefact is None or artefact.parameters is None:
        return None
    had, has = record.card.parameters, artefact.parameters
    if abs(has - had) <= SAME_PARAMETERS * had:
        return None
    return f"{record.identity.technique} left {has} of {had} parameters: the card's operations are not this network's"


def _charge(row: Row, ok: Sequence[Entry], record: Record, pricing: Pricing) -> None:
    """Price and cost. A rate that is not known to keep a latency bound makes the cost a floor."""
    row["share"], row["utilisation"] = pricing.share, pricing.utilisation
    if record.estimate:
        no_cost = f"{record.provenance}: what no device was seen to do has no cost"
        row["missing"] |= dict.fromkeys(("usd_per_hour", "usd_per_million"), no_cost)
        return
    price = price_of(record.context.machine, pricing, record.identity.backend)
    if isinstance(price, str):
        row["missing"] |= dict.fromkeys(("usd_per_hour", "usd_per_million"), price)
        return
    price = with_electricity(price, _powers_w(ok), pricing.usd_per_kwh)
    row["usd_per_hour"] = price.usd_per_hour
    row["price_kind"], row["price_source"], row["price_date"] = price.kind, price.source, price.date
    kind = scenario_name(record.identity.scenario)
    row["usd_is_floor"] = kind == "offline" or (kind == "server" and row["bounds_met"] is not True)
    if not row["throughput_per_s"]:
        row["missing"]["usd_per_million"] = row["missing"].get("throughput_per_s", "nothing was completed")
        return
    rate = row["throughput_per_s"]
    row["usd_per_million"] = usd_per_million(price.usd_per_hour, rate, pricing.share, pricing.utilisation)


def _powers_w(ok: Sequence[Entry]) -> list[float]:
    """Of the repeats whose power may be believed."""
    believed = (record for record, _ in ok if record.energy and record.energy.power_valid is not False)
    return [value for value in (look(BY_KEY["power_w"], record, None)[0] for record in believed) if value is not None]


def _datasheet(row: dict[str, Any], record: Record) -> None:
    name = record.identity.device
    if not catalog.device(name) and record.identity.backend == "cpu":
        name = record.context.machine.cpu
    facts = {
        "datasheet_flops_per_s": catalog.fact(name, "dense_flops_per_s", record.identity.precision),
        "datasheet_bytes_per_s": catalog.fact(name, "bandwidth_bytes_per_s"),
        "datasheet_tdp_w": catalog.fact(name, "tdp_w"),
        "datasheet_link_bytes_per_s": catalog.fact(name, "link_bytes_per_s"),
    }
    for column, fact in facts.items():
        if fact is None:
            row["missing"][column] = f"the catalog does not have it for {name}"
        else:
            row[column] = fact.value
            row["datasheet_source"] = f"{fact.source} ({fact.note})" if fact.note else fact.source


def _link(row: Row, record: Record) -> None:
    """The roof of a device that has to be fed over its link, as it has no memory of its own."""
    card, name = record.card, record.identity.device
    on_chip, size = catalog.fact(name, "on_chip_bytes"), ELEMENT_BYTES.get(record.identity.precision)
    derived = ("link_roof_per_s", "link_share")
    if row["datasheet_link_bytes_per_s"] is None or on_chip is None or catalog.fact(name, "memory_bytes"):
        row["missing"] |= dict.fromkeys(derived, f"{name} is no device that the catalog knows to be fed over its link")
    elif size is None:
        row["missing"] |= dict.fromkeys(derived, f"the size of a weight in {record.identity.precision} is not known")
    else:
        weights, moved = card.weight_bytes * size / 4, card.io_bytes * size / 4
        row["link_roof_per_s"] = link_roof_per_s(weights, moved, row["datasheet_link_bytes_per_s"], on_chip.value)
        if row["throughput_per_s"] is None:
            row["missing"]["link_share"] = row["missing"]["throughput_per_s"]
        elif row["link_roof_per_s"]:
            row["link_share"] = row["throughput_per_s"] / row["link_roof_per_s"]


def _explain_gaps(row: Row) -> None:
    """What has no reason of its own is missing for that of the column that it goes with."""
    record: Record = row["entries"][0][0]
    missing = row["missing"]
    ended = f"{record.status}: {record.reason}" if row["status"] != "ok" else "not recorded"
    reasons = {f"{key}_{end}": missing.get(key) for key in HEADLINES for end in ("low", "high")}
    for columns, reason in (
        (("price_kind", "price_source", "price_date", "usd_is_floor"), missing.get("usd_per_hour")),
        (("ceiling_flops_per_s", "ceiling_bytes_per_s"), missing.get("ceiling_share")),
        (("datasheet_source",), missing.get("datasheet_flops_per_s")),
        (("quality_metric", "quality_unit", "quality_better"), "the workload has no quality metric"),
        (("quality_floor",), "the workload sets no floor"),
        (("load_bound",), missing.get("offered_per_s")),
        (("loadgen", "official"), "LoadGen did not drive it" if row["status"] == "ok" else None),
        (("instance_type",), record.context.machine.missing.get("instance_type")),
        (("estimate_source", "estimate_caveat"), "measured, not estimated" if row["status"] == "ok" else None),
    ):
        reasons |= dict.fromkeys(columns, reason)
    for column in COLUMNS:
        if row[column] is None and column not in missing:
            missing[column] = reasons.get(column) or ended
