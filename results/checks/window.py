"""Does the timed window show a steady state, and enough of it?"""

from __future__ import annotations

from collections.abc import Iterator

from results.checks.reasons import Check, Figures, noisy, note
from results.names import scenario_name
from results.record import Reason, Record

DRIFT_ALLOWED = 0.05
TAIL_NOTED = 1.25
HOST_NOTED = 1.25
ENQUEUE_NOTED = 0.8
"""As trtexec (TensorRT's sampleReporting.cpp): a device that starts work as it is handed over waits for the host."""
MIN_QUERIES = {"single_stream": 64, "multi_stream": 662, "offline": 50, "train_steps": 10}
"""64 and 662 latencies support an estimate of p90 and p99, MLPerf's figures (results/early_stopping.py); 50 completions
make one of them 2 % of the rate. Ten steps of training show whether they are steady: a choice of this project."""


def _warm_up(record: Record, _: Figures) -> Iterator[Reason]:
    """A cold start is over before anything could settle."""
    window = record.window
    if window and not window.warmup_stable and window.samples_kind != "cold_ns":
        queries, seconds = window.warmup_queries, window.warmup_ns / 1e9
        yield noisy("never_stabilised", f"latencies had not settled after {queries} warm-up queries in {seconds:.2f} s")


def _drift(_: Record, figures: Figures) -> Iterator[Reason]:
    if figures.drift is not None and figures.drift > DRIFT_ALLOWED:
        detail = f"a quarter of the window deviates by {figures.drift:.1%} from the whole"
        yield noisy("drift", f"{detail}; {DRIFT_ALLOWED:.0%} is allowed")


def _count(record: Record, figures: Figures) -> Iterator[Reason]:
    """A server's window is long enough or not by how many queries were over its bound (results/checks/load.py)."""
    enough = MIN_QUERIES.get(scenario_name(record.identity.scenario), 0)
    if figures.queries < enough:
        yield noisy("too_few_samples", f"{figures.queries} queries; {enough} are needed")


def _tail(record: Record, figures: Figures) -> Iterator[Reason]:
    """In a closed loop; at random arrivals queueing alone gives a tail."""
    mean_ns, median_ns = figures.latency_mean_ns, figures.latency_p50_ns
    closed = scenario_name(record.identity.scenario) != "server"
    if closed and mean_ns and median_ns and mean_ns > TAIL_NOTED * median_ns:
        detail = f"the mean latency is {mean_ns / median_ns:.2f} times the median"
        yield note("heavy_tail", f"{detail}: throughput follows the mean, of which slow queries are a large part")


def _stages(record: Record, _: Figures) -> Iterator[Reason]:
    stages = record.evidence.stages if record.evidence else None
    if stages is None:
        return
    moved_ns = stages.put_ns + stages.get_ns
    if stages.device_ns and stages.run_ns > HOST_NOTED * stages.device_ns:
        detail = f"a run takes the host {stages.run_ns / 1e6:.3g} ms, of which the device worked"
        yield note("host_bound", f"{detail} {stages.device_ns / 1e6:.3g} ms")
    elif stages.device_ns and stages.enqueue_ns and stages.enqueue_ns > ENQUEUE_NOTED * stages.device_ns:
        detail = f"handing a run to the device takes {stages.enqueue_ns / 1e6:.3g} ms of the"
        yield note("host_bound", f"{detail} {stages.device_ns / 1e6:.3g} ms that it works")
    if moved_ns >= stages.run_ns:
        detail = f"moving inputs and outputs takes {moved_ns / 1e6:.3g} ms, the run {stages.run_ns / 1e6:.3g} ms"
        yield note("link_bound", detail)


CHECKS: tuple[Check, ...] = (_warm_up, _drift, _count, _tail, _stages)
