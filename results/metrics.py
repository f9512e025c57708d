"""Every figure that is shown, as one table of data: tables, axes, exports, sorting and `compare` all read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from results.executed import proved
from results.names import scenario_name
from results.numbers import count, significant
from results.record import Record, Summary

Better = Literal["higher", "lower"]
Found = tuple[float | None, str]
"""A value, or None and the reason."""

COUNTED = ("queries", "cycles", "operators")
"""Units that are shown in full."""
PHASES = ("start_ns", "import_ns", "load_ns", "compile_ns", "first_run_ns")
"""Of a cold start. Making the model's file is the harness's own and in no figure (bench/coldstart.py)."""
HELD_BY_ANOTHER = ("import_ns", "load_ns")
"""Phases that are None where one call does them with the next, which then holds both (record.Phases)."""
FIGURES = {
    "single_stream": "latency_p50_ns",
    "multi_stream": "latency_p50_ns",
    "server": "throughput_per_s",
    "offline": "throughput_per_s",
    "train_steps": "throughput_per_s",
    "cold_start": "cold_start_ns",
    "compile": "estimated_latency_ns",
}
"""The metric that a scenario is about: ratios, rankings and spreads are of it."""
AT_A_SET_RATE = "latency_p99_ns"
"""What is compared of a server whose rate the user set: its throughput is that rate."""


def figure_of(scenario: str, goal: str) -> str:
    """Key of the metric that a result is compared by."""
    if scenario.startswith("server("):
        return AT_A_SET_RATE
    return FIGURES.get(scenario_name(scenario), "latency_p50_ns" if goal == "latency" else "throughput_per_s")


def _flops_ratio(record: Record) -> Found:
    estimate, batch = record.estimate, record.context.batch_chosen
    if estimate is None:
        return None, _nothing(record, "estimate")
    if estimate.flops is None:
        return None, estimate.missing["flops"]
    if not record.card.flops or not batch:
        return None, "the workload's operations cannot be counted"
    return estimate.flops / (record.card.flops * batch), ""


def _cold_start(record: Record) -> Found:
    phases, window = record.phases, record.window
    if window is not None and window.samples_kind == "cold_ns":
        return float(window.duration_ns), ""
    if phases is None:
        return None, _nothing(record, "phases")
    parts = {name: getattr(phases, name) for name in PHASES}
    gaps = [name for name, value in parts.items() if value is None and name not in HELD_BY_ANOTHER]
    if gaps:
        return None, f"{gaps[0]}: {phases.missing[gaps[0]]}"
    return float(sum(value or 0 for value in parts.values())), ""


def _energy_j(record: Record) -> Found:
    return _per_sample(record, "energy_j")


def _net_energy_j(record: Record) -> Found:
    return _per_sample(record, "net_energy_j")


def _per_sample(record: Record, name: str) -> Found:
    if record.energy is None or record.window is None:
        return None, _nothing(record, "energy")
    total_j = getattr(record.energy, name)
    samples = record.window.queries * record.window.query_samples
    if total_j is None or not samples:
        return None, record.energy.missing.get(name, "no samples in the window")
    return total_j / samples, ""


def _power_w(record: Record) -> Found:
    energy, window = record.energy, record.window
    if energy is None or window is None:
        return None, _nothing(record, "energy")
    if energy.energy_j is None or not window.duration_ns:
        return None, energy.missing.get("energy_j", "the window has no duration")
    return energy.energy_j / window.duration_ns * 1e9, ""


def _kernels_share(record: Record) -> Found:
    return proved(record) if record.evidence else (None, _nothing(record, "evidence"))


def _nothing(record: Record, section: str) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    return _ABSENT.get(section) or f"the record has no {section}"


_ABSENT = {"load": "only the server scenario offers queries at a rate", "estimate": "measured, not estimated"}


@dataclass(frozen=True)
class Metric:
    """One column. `key` is its name in `join.Table.rows`, with the stored unit; shown is value x `scale` in `unit`.

    `path` says where a repeat has it, from the record ("phases.compile_ns") or its summary ("summary.drift"); `of`
    derives it from a repeat; without either `join` derives it from the row, and `how` says from what. `better` is None
    where neither way is. A `headline` has its interval in the columns `<key>_low` and `<key>_high`, and `compare`
    compares it.
    """

    key: str
    label: str
    unit: str
    better: Better | None
    how: str
    path: str = ""
    scale: float = 1.0
    digits: int = 3
    headline: bool = False
    of: Callable[[Record], Found] | None = None

    def shown(self, value: float | None) -> str:
        """The number for people, without its unit; "" for None or NaN, whose reason is in the row's `missing`."""
        if value is None or not isfinite(value):
            return ""
        return count(value) if self.unit in COUNTED else significant(value * self.scale, self.digits)

    @property
    def title(self) -> str:
        """Label and unit, for a head or an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS: tuple[Metric, ...] = (
    Metric("throughput_per_s", "throughput", "samples/s", "higher",
           "queries that ended in the window x their samples / window", "summary.throughput_per_s", headline=True),
    Metric("latency_p50_ns", "latency p50", "ms", "lower",
           "median query, host memory to host memory", "summary.latency_p50_ns", 1e-6, headline=True),
    Metric("latency_p90_ns", "latency p90", "ms", "lower",
           "90 % of queries are faster", "summary.latency_p90_ns", 1e-6, headline=True),
    Metric("early_p90_ns", "early p90", "ms", "lower",
           "LoadGen's early-stopping estimate, MLPerf's single-stream figure: with 99 % confidence p90 is not above it",
           "summary.early_p90_ns", 1e-6),
    Metric("latency_p95_ns", "latency p95", "ms", "lower",
           "95 % of queries are faster", "summary.latency_p95_ns", 1e-6),
    Metric("latency_p99_ns", "latency p99", "ms", "lower",
           "99 % of queries are faster", "summary.latency_p99_ns", 1e-6, headline=True),
    Metric("early_p99_ns", "early p99", "ms", "lower",
           "LoadGen's early-stopping estimate, MLPerf's multi-stream figure: with 99 % confidence p99 is not above it",
           "summary.early_p99_ns", 1e-6),
    Metric("latency_p999_ns", "latency p99.9", "ms", "lower",
           "99.9 % of queries are faster", "summary.latency_p999_ns", 1e-6),
    Metric("latency_mean_ns", "latency mean", "ms", "lower",
           "of all queries, outliers included", "summary.latency_mean_ns", 1e-6),
    Metric("latency_min_ns", "latency min", "ms", "lower", "fastest query", "summary.latency_min_ns", 1e-6),
    Metric("latency_max_ns", "latency max", "ms", "lower", "slowest query", "summary.latency_max_ns", 1e-6),
    Metric("outliers_mild", "mild outliers", "queries", None,
           "beyond 1.5 interquartile ranges; kept", "summary.outliers_mild"),
    Metric("outliers_severe", "severe outliers", "queries", None,
           "beyond 3 interquartile ranges; kept", "summary.outliers_severe"),
    Metric("drift", "drift", "%", "lower",
           "largest deviation of a quarter of the window from the whole", "summary.drift", 100.0, 2),
    Metric("offered_per_s", "offered", "queries/s", "higher",
           "rate at which queries arrived at random, whether answered or not", "load.offered_per_s"),
    Metric("cold_start_ns", "cold start", "ms", "lower",
           "start of the process, import, load, compile and first run together",
           scale=1e-6, headline=True, of=_cold_start),
    Metric("start_ns", "start", "ms", "lower", "start the process", "phases.start_ns", 1e-6),
    Metric("build_ns", "build", "ms", "lower",
           "make the model's file or find it made; part of no cold start", "phases.build_ns", 1e-6),
    Metric("import_ns", "import", "ms", "lower", "import the engine's library", "phases.import_ns", 1e-6),
    Metric("load_ns", "load", "ms", "lower", "read and parse the model", "phases.load_ns", 1e-6),
    Metric("compile_ns", "compile", "ms", "lower", "make the model runnable", "phases.compile_ns", 1e-6),
    Metric("first_run_ns", "first run", "ms", "lower", "first query of the process", "phases.first_run_ns", 1e-6),
    Metric("steady_ns", "steady after", "ms", "lower",
           "from the start of the process until latencies had settled", "phases.steady_ns", 1e-6),
    Metric("page_cache_share", "in page cache", "%", None,
           "of the bytes of the model and the library, when the process began to read them", "phases.page_cache_share",
           100.0),
    Metric("peak_memory_bytes", "peak memory", "MiB", "lower",
           "of the worker process", "evidence.peak_memory_bytes", 1 / (1 << 20)),
    Metric("quality", "quality", "", None,
           "the card's metric, from the artefact that was timed", "evidence.quality.value"),
    Metric("output_cosine", "output cosine", "", "higher",
           "worst cosine with golden, centred by the mean golden output", "evidence.outputs.centred_cosine_min",
           digits=6),
    Metric("kernels_share", "proved at precision", "%", "higher",
           "of matrix products and convolutions, what ran in the row's precision by the engine's own profile: of their "
           "time or their number, the larger", scale=100.0, of=_kernels_share),
    Metric("artefact_bytes", "artefact", "MB", "lower",
           "what the engine starts from, as it is stored", "evidence.artefact.stored_bytes", 1e-6),
    Metric("artefact_unpacked_bytes", "unpacked artefact", "MB", "lower",
           "what the engine starts from, as it reads it", "evidence.artefact.unpacked_bytes", 1e-6),
    Metric("unpack_ns", "unpack", "ms", "lower",
           "from the stored artefact to what the engine reads; part of no cold start", "evidence.artefact.unpack_ns",
           1e-6),
    Metric("artefact_parameters", "parameters", "M", "lower",
           "of the network that a technique made", "evidence.artefact.parameters", 1e-6),
    Metric("zero_share", "zero weights", "%", None,
           "of the parameters of the network that a technique made", "evidence.artefact.zero_share", 100.0),
    Metric("making_s", "making", "s", "lower",
           "wall time that quantising or converting took, once", "evidence.artefact.making_s"),
    Metric("training_s", "training", "s", "lower",
           "processor time of the training that a technique needs, once", "evidence.artefact.training_s"),
    Metric("energy_j", "energy", "J/sample", "lower", "gross energy of the window / samples", of=_energy_j),
    Metric("net_energy_j", "net energy", "J/sample", "lower",
           "energy over the idle machine's / samples", of=_net_energy_j),
    Metric("power_w", "power", "W", "lower", "gross energy of the window / its duration", of=_power_w),
    Metric("usd_per_hour", "price", "$/h", "lower", "of the whole machine: catalog, --price or --owned"),
    Metric("usd_per_million", "cost", "$/1M samples", "lower",
           "price x share / (3600 x throughput x utilisation) x 1e6"),
    Metric("intensity_flops_per_byte", "intensity", "FLOP/B", None,
           "flops / (weights at this precision / batch + inputs and outputs)"),
    Metric("achieved_flops_per_s", "achieved", "GFLOP/s", "higher",
           "throughput x flops of a sample", scale=1e-9),
    Metric("ceiling_share", "share of ceiling", "%", "higher",
           "achieved / the roofline measured on this machine", scale=100.0),
    Metric("link_share", "share of link roof", "%", "higher",
           "throughput / what the host's link lets through to a device without memory: its rate / (weights that do not "
           "fit on the chip + inputs and outputs)", scale=100.0),
)  # fmt: skip

ESTIMATED: tuple[Metric, ...] = (
    Metric("estimated_latency_ns", "estimated latency", "ms", "lower",
           "what the tool predicts for one run; it has no spread", "estimate.latency_ns", 1e-6),
    Metric("estimated_cycles", "estimated cycles", "cycles", "lower", "of the device for one run", "estimate.cycles"),
    Metric("estimated_clock_mhz", "assumed clock", "MHz", None,
           "at which the tool turns cycles into time", "estimate.clock_mhz"),
    Metric("estimated_flops", "compiled work", "GFLOP", None,
           "operations of one run as the compiler counts them", "estimate.flops", 1e-9),
    Metric("estimated_flops_ratio", "compiled / counted work", "\u00d7", None,
           "compiled work / (operations of a sample x batch): near 1, or work was added or left out", digits=4,
           of=_flops_ratio),
    Metric("estimated_memory_bytes", "memory peak", "MiB", "lower",
           "of the device's main memory", "estimate.memory_peak_bytes", 1 / (1 << 20)),
    Metric("estimated_memory_limit_bytes", "memory limit", "MiB", None,
           "of the device's main memory", "estimate.memory_limit_bytes", 1 / (1 << 20)),
    Metric("estimated_sram_bytes", "fast memory peak", "KiB", "lower",
           "of the device's fast memory", "estimate.sram_peak_bytes", 1 / (1 << 10)),
    Metric("estimated_weights_bytes", "compiled weights", "KiB", "lower",
           "of the weights as they lie on the device", "estimate.weights_bytes", 1 / (1 << 10)),
    Metric("estimated_fallback_operators", "fallback operators", "operators", "lower",
           "would run on a host's processor, whose time no tool counts", "estimate.fallback_operators"),
)  # fmt: skip
"""Figures of what was not measured: of a compiler or a simulator, in columns of their own."""

BY_KEY = {metric.key: metric for metric in (*METRICS, *ESTIMATED)}
NOT_MEASURED = ("estimate", "simulator")
"""Provenances whose rows have ESTIMATED figures and no other."""


def look(metric: Metric, record: Record, summary: Summary | None) -> Found:
    """A repeat's value of a metric with a `path` or an `of`."""
    if metric.of is not None:
        return metric.of(record)
    root, *parts = metric.path.split(".")
    node: Any = summary if root == "summary" else getattr(record, root)
    if node is None:
        return None, _nothing(record, root)
    for part in parts:
        parent, node = node, getattr(node, part)
        if node is None:
            return None, getattr(parent, "missing", {}).get(part, f"{part} was not recorded")
    return float(node), ""
