"""Figures against each other: Little's law, order, counts, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import sqrt
from typing import Any

from results.checks.bounds import counted
from results.lints.kinds import SLACK, Found, RepeatLint, Row, known
from results.names import scenario_name
from results.record import Record, Summary
from results.rows import IDENTITY

ALONE_ALLOWED = 3.0
"""How much slower one query alone, after the window, may be than in it: other load comes to less on shared machines."""
IDLE_NOTED = 0.8
SERVED = 1.5
SOONER = 1.1
REDUCED_ERROR_MIN = 2e-5
"""Rounding alone costs fp16 at least 2.9e-4 on our networks, and fp32 6e-6 at most (`workloads/seeded.py`)."""


def _queries_per_s(record: Record, summary: Summary) -> float | None:
    if record.window is None or summary.throughput_per_s is None:
        return None
    return summary.throughput_per_s / record.window.query_samples


def _little(record: Record, summary: Summary) -> Iterator[Found]:
    """J. D. C. Little, "A proof for the queuing formula L = λW", Operations Research 9(3), 1961."""
    rate_per_s, mean_ns = _queries_per_s(record, summary), summary.latency_mean_ns
    one_by_one = scenario_name(record.identity.scenario) in ("single_stream", "multi_stream", "train_steps")
    if not one_by_one or not rate_per_s or not mean_ns:
        return
    under_way = rate_per_s * mean_ns / 1e9
    figures = f"{rate_per_s:.4g} queries/s x {mean_ns / 1e6:.4g} ms mean latency = {under_way:.3f} under way"
    if under_way > SLACK:
        yield "impossible", "overlapping", f"{figures}; there is 1"
    elif under_way < IDLE_NOTED:
        yield "note", "idle_between", figures


def _little_in_service(record: Record, summary: Summary) -> Iterator[Found]:
    """A server's queue has no limit, but where the bound is kept the fastest query did not wait."""
    rate_per_s, least_ns, load = _queries_per_s(record, summary), summary.latency_min_ns, record.load
    if load is None or not rate_per_s or not least_ns or counted(load, summary.queries) is False:
        return
    under_way, allowed = rate_per_s * least_ns / 1e9, _at_a_time(record)
    if under_way > SERVED * allowed:
        figures = f"{rate_per_s:.4g} queries/s x {least_ns / 1e6:.4g} ms least latency = {under_way:.3f} under way"
        yield "suspect", "always_waiting", f"{figures}; there are {allowed}"


def _at_a_time(record: Record) -> int:
    """Runs under way at most."""
    single = scenario_name(record.identity.scenario) == "single_stream"
    return 1 if single else int(record.context.settings.get("inflight", 1))


def _offered(record: Record, summary: Summary) -> Iterator[Found]:
    """Three standard deviations of a Poisson count are left to the window's ends."""
    rate_per_s = _queries_per_s(record, summary)
    if record.load is None or not rate_per_s:
        return
    issued_per_s = record.load.issued_per_s
    if rate_per_s > (SLACK + 3 / sqrt(max(summary.queries, 1))) * issued_per_s:
        yield "impossible", "over_offered", f"{rate_per_s:.4g} queries/s answered, {issued_per_s:.4g} issued"


def _alone(record: Record, summary: Summary) -> Iterator[Found]:
    """The rate by the time that one run takes alone is at most what is under way."""
    stages = record.evidence.stages if record.evidence else None
    rate_per_s, batch = summary.throughput_per_s, record.context.batch_chosen
    if stages is None or not rate_per_s or not batch:
        return
    alone_ns, allowed = stages.put_ns + stages.run_ns + stages.get_ns, _at_a_time(record)
    if rate_per_s / batch * alone_ns / 1e9 > ALONE_ALLOWED * allowed:
        figures = f"{rate_per_s / batch:.4g} runs/s of {alone_ns / 1e6:.4g} ms each"
        yield "suspect", "slower_alone", f"{figures}, {allowed} at a time"


def _device(record: Record, _: Summary) -> Iterator[Found]:
    stages = record.evidence.stages if record.evidence else None
    if stages and stages.device_ns and stages.device_ns > SLACK * stages.run_ns + 1000:
        figures = f"{stages.device_ns / 1e6:.4g} ms by the device's clock"
        yield "impossible", "early_return", f"{figures}, {stages.run_ns / 1e6:.4g} ms by ours"


def _order(_: Record, summary: Summary) -> Iterator[Found]:
    steps = ("min", "p50", "p90", "p95", "p99", "p999", "max")
    for names in (steps, ("min", "mean", "max")):
        values = [(name, getattr(summary, f"latency_{name}_ns")) for name in names]
        for (low, less_ns), (high, more_ns) in pairwise(pair for pair in values if pair[1] is not None):
            if less_ns > more_ns:
                yield "impossible", "unordered", f"{low} {less_ns:.0f} ns, {high} {more_ns:.0f} ns"


def _count(record: Record, summary: Summary) -> Iterator[Found]:
    window, rate_per_s = record.window, _queries_per_s(record, summary)
    if window and rate_per_s and rate_per_s * window.duration_ns / 1e9 > SLACK * window.queries:
        figures = f"{rate_per_s:.4g} queries/s for {window.duration_ns / 1e9:.4g} s"
        yield "impossible", "miscounted", f"{figures}, {window.queries} queries"


def _exact(record: Record, _: Summary) -> Iterator[Found]:
    outputs, precision = record.evidence.outputs if record.evidence else None, record.identity.precision
    if outputs and precision != "fp32" and outputs.relative_error_max < REDUCED_ERROR_MIN:
        yield "suspect", "too_exact", f"relative error {outputs.relative_error_max:.2g} in {precision}"


REPEATS: tuple[RepeatLint, ...] = (
    _little, _little_in_service, _offered, _alone, _device, _order, _count, _exact,
)  # fmt: skip


def batches(rows: Sequence[Row]) -> Iterator[tuple[Row, Found]]:
    """Rows that differ in the batch only; by the median and by the fastest query, which noise cannot make faster."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["scenario"] == "single_stream" and known(row, "latency_p50_ns", "latency_min_ns"):
            alike.setdefault((row["fingerprint"], *(row[name] for name in IDENTITY if name != "batch")), []).append(row)
    for group in alike.values():
        for small, large in combinations(sorted(group, key=lambda row: row["batch_chosen"]), 2):
            times = [(large[key], small[key]) for key in ("latency_p50_ns", "latency_min_ns")]
            if large["batch_chosen"] > small["batch_chosen"] and all(SOONER * more < less for more, less in times):
                many, few = (f"{row['latency_p50_ns'] / 1e6:.4g} ms at {row['batch_chosen']}" for row in (large, small))
                yield large, ("suspect", "batch_for_free", f"a query takes {many} samples and {few}")
