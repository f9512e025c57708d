"""What a record holds beside its figures, in words: (name, text) pairs, nothing where it holds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from results.numbers import si, significant
from results.record import Conditions, Machine, OutputCheck, Record
from results.report.words import spaced

Pairs = Iterator[tuple[str, str]]
PROBES_MAX = 24


def load(record: Record) -> Pairs:
    found = record.load
    if found is None or record.window is None:
        return
    yield "bound", f"p{found.percentile:g} ≤ {found.bound_ms:g} ms, {found.over} of {record.window.queries} over it"
    tried = f"tried in {found.attempts} window{'s' if found.attempts > 1 else ''}"
    how = f"searched for, {tried}" if found.searched else "set by --scenario"
    yield "offered", f"{_rate(found.offered_per_s)} queries/s ({how}), {_rate(found.issued_per_s)} issued"
    yield "issued late", f"{_time(found.lag_p99_ns)} at p99, {_time(found.lag_max_ns)} at most"
    probes = [
        f"{_rate(probe.rate_per_s)}/s {'kept' if probe.met else 'broken'} ({probe.over} of {probe.queries} over)"
        for probe in found.probes
    ]
    if probes:
        more = len(probes) - PROBES_MAX
        yield "probes", "\n".join(probes[:PROBES_MAX]) + (f"\nand {more} more" if more > 0 else "")


def loadgen(record: Record) -> Pairs:
    run = record.loadgen
    if run is None:
        return
    official = "as long as the rules ask" if run.official else "not official: shorter than the rules ask"
    yield "result", f"{'VALID' if run.valid else 'INVALID'}, {official}"
    if run.reasons:
        yield "it says", "\n".join(run.reasons)
    yield from ((name, f"{value:g}") for name, value in run.results.items())
    yield "version", run.version
    yield "logs", run.logs


def estimate(record: Record) -> Pairs:
    found = record.estimate
    if found is None:
        return
    yield "by", f"{record.provenance} by {found.source}"
    if found.caveat:
        yield "it warns", found.caveat
    yield "nothing was measured", "no device was here: outputs are this host's; no spread, no cost, in no ranking"


def evidence(record: Record) -> Pairs:
    found = record.evidence
    if found is None:
        return
    if found.outputs:
        yield from _outputs("outputs", found.outputs)
    if found.timed_outputs:
        yield from _outputs("of the timed window", found.timed_outputs)
    if found.same_input:
        same = found.same_input
        interval = f"[{same.low:.3f}, {same.high:.3f}]"
        yield "one input again and again", f"takes {same.ratio:.3f} {interval} of the time, {same.pairs} pairs"
    if found.placement:
        yield (
            "placement" if record.estimate is None else "placement, as compiled",
            f"{found.placement.share:.0%} on {found.placement.device}: {found.placement.proof}",
        )
    if found.quality:
        graded = found.quality
        yield "quality", f"{graded.value:.4g} ± {graded.standard_error:.2g} (standard error), {graded.n} examples"


def artefact(record: Record) -> Pairs:
    """What the engine started from, what was done for it, and what that took."""
    found = record.evidence.artefact if record.evidence else None
    if found is None:
        return
    yield "it is", f"{'in memory' if found.kind == 'memory' else 'a file'}, form {found.form}"
    yield "steps beyond fp32", "\n".join(found.steps) or "none"
    shown: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("stored", "stored_bytes", _bytes), ("unpacked", "unpacked_bytes", _bytes), ("unpacking", "unpack_ns", _time),
        ("parameters", "parameters", si), ("zero weights", "zero_share", "{:.1%}".format),
        ("making it", "making_s", "{:.3g} s".format), ("training", "training_s", "{:.3g} processor seconds".format),
        ("samples", "samples", str),
        ("samples' SHA-256", "samples_sha256", str),
    )  # fmt: skip
    for name, field, written in shown:
        value = getattr(found, field)
        yield name, f"not known: {found.missing[field]}" if value is None else written(value)


def executed(record: Record) -> Pairs:
    """By the engine's own profile: the proof of the precision."""
    found = record.evidence.kernels if record.evidence else None
    if found is None:
        return
    for name, count in sorted(found.kernels.items(), key=lambda each: -each[1]):
        times = f", {found.time_share.get(name, 0.0):.1%} of the time of all kernels" if found.time_share else ""
        yield name, f"{count} matrix products and convolutions{times}"
    if not found.time_share:
        yield "times", f"not measured: {found.missing['time_share']}"
    yield "kernels", "\n".join(f"{count} {name}" for name, count in found.names.items())
    yield "by", found.source


def stages(record: Record) -> Pairs:
    found = record.evidence.stages if record.evidence else None
    if found is None:
        return
    for name in ("put", "run", "get", "device", "enqueue"):
        value = getattr(found, f"{name}_ns")
        yield name, _time(value) if value is not None else f"not measured: {found.missing[f'{name}_ns']}"
    yield "queries", str(found.queries)


def energy(record: Record) -> Pairs:
    found = record.energy
    if found is None or found.energy_j is None:
        return
    yield "read", f"{found.method} of {found.meter}, covers the {found.scope}, {found.readings} readings"
    verdict = {True: "valid", False: "not valid", None: found.missing.get("power_valid", "")}[found.power_valid]
    codes = ", ".join(spaced(code) for code in found.power_reasons)
    yield "power", f"{verdict}: {codes}" if codes else verdict
    for name, field, unit in (("of the window", "energy_j", "J"), ("net", "net_energy_j", "J"),
                              ("idle", "idle_w", "W"), ("second meter", "check_j", "J")):  # fmt: skip
        value = getattr(found, field)
        yield name, f"{value:.4g} {unit}" if value is not None else f"not measured: {found.missing[field]}"
    if found.gap_max_ns is not None:
        yield "longest gap", _time(found.gap_max_ns)


def conditions(record: Record) -> Pairs:
    every = record.context.conditions
    for one in every:
        yield one.moment, ", ".join(_now(one)) or "nothing could be read"
    by_reason: dict[str, list[str]] = {}
    for name, reason in every[0].missing.items() if every else ():
        by_reason.setdefault(reason, []).append(spaced(name))
    for reason, names in by_reason.items():
        yield ", ".join(names), f"not measured: {reason}"


def workload(record: Record) -> Pairs:
    card = record.card
    work = "operations that cannot be counted" if card.flops is None else si(card.flops, "FLOP")
    yield "task", card.task
    yield "work", f"{work} per {card.sample_unit}, {si(card.parameters)} parameters"
    yield "weights in fp32", si(card.weight_bytes, "B")
    bounds = ", ".join(f"p{bound.percentile:g} ≤ {bound.latency_ms:g} ms" for bound in card.bounds)
    yield "latency bounds", bounds or "none"
    yield "distinct inputs", str(card.distinct_inputs)
    yield "source", card.source


def machine(machine: Machine) -> Pairs:
    yield "host", machine.hostname
    yield "processor", f"{machine.cpu}, {machine.cores} cores"
    yield "memory", f"{machine.memory_bytes / (1 << 30):.1f} GiB"
    yield "instance type", machine.instance_type or f"unknown: {machine.missing['instance_type']}"
    limits = [
        *([f"{machine.cpu_limit_cores:g} cores"] if machine.cpu_limit_cores is not None else []),
        *([si(machine.memory_limit_bytes, "B")] if machine.memory_limit_bytes is not None else []),
    ]
    if limits:
        yield "limited by its container", ", ".join(limits)
    if machine.llc_bytes is not None:
        yield "last-level cache", si(machine.llc_bytes, "B")
    yield "system", f"{machine.system}, kernel {machine.kernel}, container {machine.container}"
    yield "fingerprint", machine.fingerprint


def _outputs(name: str, found: OutputCheck) -> Pairs:
    yield name, f"{found.identity_hits} of {found.n} nearest to their own golden output"
    cosine = f"{found.centred_cosine_min:.6g} at worst, {found.cosine_required:.6g} required"
    allowed = found.relative_error_allowed
    limit = "not bounded" if allowed is None else f"{allowed:.3g} allowed"
    yield f"{name}: error", f"cosine {cosine}; relative {found.relative_error_max:.3g} at most, {limit}"


_NOW = (
    ("load_1m", "load {:.2f}"), ("other_cpu_percent", "{:.1f} % used by others"), ("steal_percent", "steal {:.1f} %"),
    ("frequency_mhz", "{:.0f} MHz"), ("governor", "governor {}"), ("temperature_c", "{:.0f} °C"),
    ("throttle_events", "{} throttle events since boot"), ("device_clock_mhz", "device {:.0f} MHz"),
    ("device_temperature_c", "device {:.0f} °C"), ("device_other_users", "{} other users of the device"),
)  # fmt: skip


def _now(one: Conditions) -> Iterator[str]:
    for name, text in _NOW:
        value = getattr(one, name)
        if value is not None:
            yield text.format(value)
    for name, text in (("memory_available_bytes", "{} free"), ("device_memory_used_bytes", "{} used on the device")):
        value = getattr(one, name)
        if value is not None:
            yield text.format(si(value, "B"))
    if one.device_throttle_reasons:
        yield f"throttled: {', '.join(one.device_throttle_reasons)}"


def _rate(per_s: float) -> str:
    return significant(per_s, 4)


_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def _bytes(size: float) -> str:
    return si(size, "B")


def _time(ns: float) -> str:
    factor, unit = next(((factor, unit) for factor, unit in _TIMES if ns >= factor), _TIMES[-1])
    return f"{ns / factor:.3g} {unit}"
