"""How each scenario is shown: its title, what its figures mean, and its columns."""

from __future__ import annotations

from dataclasses import dataclass

from results.names import COMPILE


@dataclass(frozen=True)
class Kind:
    """How one scenario is shown: `columns` are keys of METRICS or of `sheets`'s own."""

    title: str
    caption: str
    columns: tuple[str, ...]


ENERGY = ("energy_j", "net_energy_j", "power_w")
"""Columns that a sheet has where something was measured; elsewhere its caption says why not."""
SILENT = ("link_share",)
"""Columns that a sheet has where something has a figure; it says nothing of the many devices that cannot have one."""
PREDICTED = (
    "estimated_latency_ns", "estimated_cycles", "estimated_clock_mhz", "estimated_flops", "estimated_memory_bytes",
    "estimated_sram_bytes", "estimated_weights_bytes", "estimated_fallback_operators",
)  # fmt: skip
"""Likewise, of what a compiler or a simulator says; each has another reason."""
COMMON = ("quality", "usd_per_million", "usd_per_hour", *ENERGY, "peak_memory_bytes")
KINDS = {
    "single_stream": Kind(
        "Single stream: latency",
        "One query at a time, the next sent when the last has answered. Ratios compare the median, p50; above 1 is "
        "faster.",
        (
            "latency_p50_ns", "spread", "latency_p90_ns", "early_p90_ns", "latency_p99_ns", "ratio", "verdict",
            "bounds", "cold_start_ns", "link_share", *COMMON,
        ),
    ),
    "multi_stream": Kind(
        "Multi-stream: latency of 8 samples at once",
        "One query of 8 samples at a time; its latency ends with the last of them. Ratios compare the median, p50; "
        "above 1 is faster. MLPerf's figure is the early-stopping estimate of p99.",
        (
            "latency_p50_ns", "spread", "latency_p90_ns", "latency_p99_ns", "early_p99_ns", "ratio", "verdict",
            "bounds", *COMMON,
        ),
    ),
    "server": Kind(
        "Server: throughput within the latency bound",
        "Queries arrive at random (Poisson), and latency counts from when each was due. Throughput is at the highest "
        "rate that kept the bound. Ratios compare it, or p99 where the rate was set; above 1 is faster. Cost is a "
        "floor (≥) only where the bound is not proved.",
        (
            "throughput_per_s", "spread", "ratio", "verdict", "bounds", "latency_p50_ns", "latency_p99_ns",
            "early_p99_ns", "offered_per_s", *COMMON,
        ),
    ),
    "offline": Kind(
        "Offline: throughput",
        "All samples available at once. Ratios compare throughput; above 1 is faster. Cost is a floor (≥): no latency "
        "bound was met.",
        ("throughput_per_s", "spread", "ratio", "verdict", "ceiling_share", "link_share", *COMMON),
    ),
    "train_steps": Kind(
        "Training: throughput",
        "Whole steps, one after another: forward, loss, backward and the optimiser's update. Ratios compare samples a "
        "second, among steps of training only; above 1 is faster. A query is one batch. Memory is the host process's.",
        (
            "throughput_per_s", "spread", "ratio", "verdict", "latency_p50_ns", "usd_per_million", "usd_per_hour",
            *ENERGY, "peak_memory_bytes",
        ),
    ),
    COMPILE: Kind(
        "Estimated and simulated, not measured",
        "What a compiler or a simulator says of hardware that is not here. It has no spread, and no ratio, chart, cost "
        "or claim uses it. The verdict is on the outputs, computed on this host from the same artefact.",
        (*PREDICTED, "output_cosine", "verdict", "estimate_source"),
    ),
    "cold_start": Kind(
        "Cold start: a fresh process",
        "From the start of a process to its first answer, each repeat once, by phase; steady is when latencies had "
        "settled. Ratios compare the whole; above 1 is faster.",
        (
            "cold_start_ns", "spread", "ratio", "verdict", "start_ns", "import_ns", "load_ns",
            "compile_ns", "first_run_ns", "steady_ns", "page_cache_share", "peak_memory_bytes",
        ),
    ),
}  # fmt: skip
OTHER = Kind(
    "",
    "Ratios compare this scenario's own figure; above 1 is faster.",
    (
        "throughput_per_s", "latency_p50_ns", "latency_p90_ns", "latency_p99_ns", "spread", "ratio", "verdict",
        "bounds", *COMMON,
    ),
)  # fmt: skip
