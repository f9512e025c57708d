"""The record: one measured (or unmeasurable) item, as it is kept for ever.

What is derived from a record (percentiles, verdicts) lives in `Summary`, which can be thrown away and made again.
Every stored number carries its unit in its name; a number that was not measured is None and `missing` says why, by
field name.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Final, Literal

from pydantic import model_validator

from results.evidence import (
    Artefact,
    Energy,
    Estimate,
    Evidence,
    Kernels,
    OutputCheck,
    Placement,
    QualityResult,
    SameInput,
    Stages,
    Training,
)
from results.strict import Count, Explained, Name, Number, Setting, Share, Strict, Text

__all__ = [
    "SCHEMA_VERSION", "Artefact", "Bound", "Calibration", "Card", "Conditions", "Context", "Energy", "Estimate",
    "Evidence", "Identity", "Kernels", "Load", "LoadGen", "Machine", "OutputCheck", "Phases", "Placement", "Probe",
    "Provenance", "Quality", "QualityResult", "Reason", "Record", "SameInput", "Stages", "Status", "Summary",
    "Training", "Verdict", "Window",
]  # fmt: skip

SCHEMA_VERSION: Final = 4
"""1: first version (2026-11). 2: server, multi_stream, cold_start, LoadGen, audits of the window, energy. 3: what a
compiler or a simulator says. 4: what techniques made, what was executed, grades by example, training."""

Provenance = Literal["measured", "simulator", "estimate", "published", "modelled"]
Status = Literal["ok", "absent", "unsupported", "failed"]
Verdict = Literal["valid", "noisy", "invalid"]


class Bound(Strict):
    latency_ms: Number
    percentile: Number


class Quality(Strict):
    metric: Name
    unit: Name
    better: Literal["higher", "lower"]
    floor: float | None = None


class Card(Strict):
    """A copy of the workload's card, so that a report needs no workload and history keeps its old bounds.

    `flops` is None for a user's model with an operator that cannot be counted.
    """

    name: Name
    task: Text
    sample_unit: Name
    flops: Count | None
    parameters: Count
    weight_bytes: Count
    io_bytes: Count
    distinct_inputs: Count
    bounds: tuple[Bound, ...]
    quality: Quality | None
    source: Text
    role: Literal["model", "ceiling_flops", "ceiling_bytes"] = "model"


class Identity(Strict):
    """What was asked for. Two records with the same identity on the same machine are repeats of one row.

    `batch` is as requested ("1", "auto"); `scenario` and `policy` are canonical strings with their parameters;
    `options` are the user's own overrides of engine settings; `rules` say whose load generator drove the session.
    """

    workload: Name
    mode: Literal["infer", "train"] = "infer"
    technique: Name = "none"
    precision: Name
    batch: Name
    scenario: Name
    goal: Literal["latency", "throughput"]
    options: dict[Name, Name] = {}
    rules: Literal["accelmark", "mlperf"] = "accelmark"
    policy: Name = "none"
    members: tuple[Name, ...] = ()
    backend: Name
    device: Name
    engine: Name

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits naming this identity."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Machine(Explained):
    """The host. `fingerprint` covers what a reboot does not change.

    `cores` and `memory_bytes` are what this process may use. The limits are a container's, None where there is none;
    `llc_bytes` is the last-level cache, all instances together.
    """

    fingerprint: Name
    hostname: Name
    cpu: Name
    cores: Count
    memory_bytes: Count
    system: Name
    kernel: Name
    instance_type: Name | None = None
    container: Name = "none"
    cpu_limit_cores: Number | None = None
    memory_limit_bytes: Count | None = None
    llc_bytes: Count | None = None


class Conditions(Explained):
    """Host and device at one moment relative to the timed window; "during" is over the window's readings.

    During: means, but the lowest clock, the least memory left, the highest temperature, the most users and every
    throttle reason seen.
    `other_cpu_percent` is processor time that neither the worker nor its parent used, of all usable processors.
    `throttle_events` counts the host's thermal throttling since boot.
    """

    moment: Literal["before", "during", "after"]
    load_1m: Number | None = None
    other_cpu_percent: Number | None = None
    steal_percent: Number | None = None
    frequency_mhz: Number | None = None
    governor: Name | None = None
    temperature_c: float | None = None
    throttle_events: Count | None = None
    memory_available_bytes: Count | None = None
    device_clock_mhz: Number | None = None
    device_temperature_c: float | None = None
    device_throttle_reasons: tuple[Name, ...] | None = None
    device_other_users: Count | None = None
    device_memory_used_bytes: Count | None = None


class Calibration(Strict):
    """Durations of the same small fixed kernel, by moment: a shift tells that the machine changed, not the workload."""

    moment: Literal["before", "after"]
    integer_ns: Count
    sgemm_ns: Count
    memcpy_ns: Count


class Context(Strict):
    """Circumstances: everything that is not identity."""

    run_id: Name
    profile: Name
    command: Text
    seed: int
    repeat: Count
    order: Count
    commit: Name | None = None
    machine: Machine
    versions: dict[Name, Name] = {}
    settings: dict[Name, Setting] = {}
    batch_chosen: Count | None = None
    conditions: tuple[Conditions, ...] = ()
    calibration: tuple[Calibration, ...] = ()


class Window(Strict):
    """The timed window. `samples_file` holds what its `samples_kind` says, one little-endian int64 each, in order:

    latency_ns: each query's latency (single_stream, multi_stream), counted from its scheduled time (server);
    done_ns: each query's completion, counted from the window's start (offline); cold_ns: from the start of the process
    to its first answer, once, without the harness's own work (cold_start). A query is `query_samples` samples.
    """

    started_utc: Name
    duration_ns: Count
    queries: Count
    query_samples: Count
    samples_kind: Literal["latency_ns", "done_ns", "cold_ns"]
    samples_file: Name
    warmup_queries: Count
    warmup_ns: Count
    warmup_stable: bool


class Probe(Strict):
    """One run of the search for the highest rate. `over` of `queries` exceeded the bound; `met` says if it held."""

    rate_per_s: Number
    queries: Count
    over: Count
    met: bool


class Load(Explained):
    """How queries were offered in the window of an open-loop scenario (server); rates count queries.

    `offered_per_s` was asked for, `issued_per_s` is what the generator did, `lag_*_ns` how much later than scheduled
    it issued. `over` queries of the window exceeded the bound of which that is most; `attempts` windows were tried
    until one confirmed what `probes` had found. `searched` is False where the user set the rate.
    """

    bound_ms: Number
    percentile: Number
    offered_per_s: Number
    issued_per_s: Number
    lag_p99_ns: Count
    lag_max_ns: Count
    over: Count
    searched: bool
    attempts: Count
    probes: tuple[Probe, ...] = ()


class LoadGen(Strict):
    """What MLPerf's LoadGen said of the run that it drove. `logs` is a folder beside the samples.

    `official` is False for a run under MLPerf's durations. `results` are its own `result_*` entries that are numbers,
    with its early-stopping estimates, MLPerf's figures for streams, as early_stopping_latency_ss and _ms.
    """

    version: Name
    valid: bool
    official: bool
    reasons: tuple[Text, ...] = ()
    logs: Name
    results: dict[Name, float] = {}


class Phases(Explained):
    """What a fresh process pays before its first steady answer.

    `import_ns` imports the engine's library, `load_ns` reads and parses, `compile_ns` makes it runnable. `steady_ns`
    is from the start of the process until latencies had settled (cold_start). `page_cache_share` of the bytes of the
    model and of the engine's library were in memory when the process began to read them (cold_start).
    """

    start_ns: Count | None = None
    build_ns: Count | None = None
    import_ns: Count | None = None
    load_ns: Count | None = None
    compile_ns: Count | None = None
    first_run_ns: Count | None = None
    steady_ns: Count | None = None
    page_cache_share: Share | None = None


class Record(Strict):
    """One item. `reason` and `remedy` go with every status but ok; `stderr_tail` with failed."""

    schema_version: Literal[4] = SCHEMA_VERSION
    record_id: Name
    written_utc: Name
    status: Status
    reason: Text = ""
    remedy: Text = ""
    stderr_tail: Text = ""
    provenance: Provenance = "measured"
    identity: Identity
    card: Card
    context: Context
    phases: Phases | None = None
    window: Window | None = None
    load: Load | None = None
    loadgen: LoadGen | None = None
    evidence: Evidence | None = None
    energy: Energy | None = None
    estimate: Estimate | None = None

    @model_validator(mode="after")
    def _status_fits(self) -> Record:
        if self.status == "ok" and (self.window is None) == (self.estimate is None):
            raise ValueError("status ok needs a timed window or an estimate, and not both")
        if self.status == "ok" and (self.estimate is not None) != (self.provenance in ("estimate", "simulator")):
            raise ValueError(f"provenance {self.provenance} does not go with the record's sections")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"status {self.status} without a reason")
        return self


class Reason(Strict):
    """What an expert should know of a number. `code` is for machines, `detail` has the figures.

    A "note" says what the number is (host bound), the others why it is not to be trusted as it stands.
    """

    code: Name
    severity: Literal["note", "noisy", "invalid"]
    detail: Text


class Summary(Explained):
    """Derived from one record and its samples by `results/stats.py` under the rules of `rules_version`.

    Latencies are per query in nanoseconds; a percentile that the sample cannot support is None. An `early_*` figure is
    LoadGen's early-stopping estimate: with 99 % confidence the true percentile is not above it. `throughput_per_s`
    counts samples, not queries. `drift` is the largest relative deviation of a quarter of the window from the whole.
    """

    record_id: Name
    rules_version: Count
    queries: Count
    throughput_per_s: Number | None = None
    latency_mean_ns: Number | None = None
    latency_min_ns: Number | None = None
    latency_max_ns: Number | None = None
    latency_p50_ns: Number | None = None
    latency_p90_ns: Number | None = None
    latency_p95_ns: Number | None = None
    latency_p99_ns: Number | None = None
    latency_p999_ns: Number | None = None
    early_p90_ns: Number | None = None
    early_p99_ns: Number | None = None
    outliers_mild: Count | None = None
    outliers_severe: Count | None = None
    drift: Number | None = None
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
