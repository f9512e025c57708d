"""The record: one measured (or unmeasurable) item, as it is kept for ever.

What is derived from a record (percentiles, verdicts) lives in `Summary`, which can be thrown away and made again.
Every stored number carries its unit in its name; a number that was not measured is None and `missing` says why, by
field name.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from results import names

SCHEMA_VERSION: Final = 1
"""1: first version (2026-11)."""

Name = Annotated[str, StringConstraints(pattern=rf"\A{names.PATTERN}\z")]
TEXT_MAX: Final = 4000
Text = Annotated[str, StringConstraints(max_length=TEXT_MAX)]
Setting = str | int | float | bool
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0)]
Provenance = Literal["measured", "simulator", "estimate", "published", "modelled"]
Status = Literal["ok", "absent", "unsupported", "failed"]
Verdict = Literal["valid", "noisy", "invalid"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Explained(Strict):
    """A model in which every None among its numbers has its reason in `missing`."""

    missing: dict[str, Text] = {}

    @model_validator(mode="after")
    def _every_gap_is_explained(self) -> Explained:
        silent = [name for name, value in self if value is None and name not in self.missing]
        if silent:
            raise ValueError(f"{', '.join(silent)} is null without a reason in `missing`")
        return self


class Bound(Strict):
    latency_ms: Number
    percentile: Number


class Quality(Strict):
    metric: Name
    unit: Name
    better: Literal["higher", "lower"]
    floor: float | None = None


class Card(Strict):
    """A copy of the workload's card, so that a report needs no workload and history keeps its old bounds."""

    name: Name
    task: Text
    sample_unit: Name
    flops: Count
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
    `options` are the user's own overrides of engine settings.
    """

    workload: Name
    mode: Literal["infer", "train"] = "infer"
    technique: Name = "none"
    precision: Name
    batch: Name
    scenario: Name
    goal: Literal["latency", "throughput"]
    options: dict[Name, Name] = {}
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
    """The host. `fingerprint` covers what a reboot does not change."""

    fingerprint: Name
    hostname: Name
    cpu: Name
    cores: Count
    memory_bytes: Count
    system: Name
    kernel: Name
    instance_type: Name | None = None
    container: Name = "none"


class Conditions(Explained):
    """The host at one moment. `moment` is relative to the timed window."""

    moment: Literal["before", "during", "after"]
    load_1m: Number | None = None
    steal_percent: Number | None = None
    frequency_mhz: Number | None = None
    temperature_c: float | None = None
    memory_available_bytes: Count | None = None


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

    latency_ns: each query's latency (single_stream); done_ns: each query's completion, counted from the window's start
    (offline). A query is `batch` samples.
    """

    started_utc: Name
    duration_ns: Count
    queries: Count
    batch: Count
    samples_kind: Literal["latency_ns", "done_ns"]
    samples_file: Name
    warmup_queries: Count
    warmup_ns: Count
    warmup_stable: bool


class Phases(Explained):
    """What a fresh process pays before its first steady answer.

    `load_ns` reads and parses, `compile_ns` makes it runnable.
    """

    start_ns: Count | None = None
    build_ns: Count | None = None
    load_ns: Count | None = None
    compile_ns: Count | None = None
    first_run_ns: Count | None = None


class OutputCheck(Strict):
    """Evidence against golden, of `n` distinct inputs; see bench/audit.py for how each is read.

    `identity_hits` counts outputs whose nearest golden is their own; `centred_cosine_min` is the worst one.
    `cosine_required` and `relative_error_allowed` are the workload's tolerance at this precision.
    """

    n: Count
    finite: bool
    identity_hits: Count
    centred_cosine_min: float
    cosine_required: float
    relative_error_max: Number
    relative_error_allowed: Number | None = None


class QualityResult(Strict):
    """The card's metric on `n` evaluation examples, from the artefact that was timed."""

    value: float
    n: Count
    standard_error: Number


class Placement(Strict):
    """Proof of where the work ran: the `share` of the graph, 0 to 1, on the device asked for."""

    device: Name
    share: Annotated[float, Field(ge=0, le=1)]
    proof: Text


class Energy(Explained):
    """Energy of the timed window, gross, and over the idle machine's, net."""

    method: Literal["counter", "sampled", "none"] = "none"
    scope: Name = "none"
    energy_j: Number | None = None
    net_energy_j: Number | None = None


class Evidence(Explained):
    """What audits found. `results/checks.py` alone turns it into reason codes and a verdict."""

    outputs: OutputCheck | None = None
    quality: QualityResult | None = None
    placement: Placement | None = None
    peak_memory_bytes: Count | None = None


class Record(Strict):
    """One item. `reason` and `remedy` go with every status but ok; `stderr_tail` with failed."""

    schema_version: Literal[1] = SCHEMA_VERSION
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
    evidence: Evidence | None = None
    energy: Energy | None = None

    @model_validator(mode="after")
    def _status_fits(self) -> Record:
        if self.status == "ok" and self.window is None:
            raise ValueError("status ok without a timed window")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"status {self.status} without a reason")
        return self


class Reason(Strict):
    """Why a number is not to be trusted as it stands. `code` is for machines, `detail` has the figures."""

    code: Name
    severity: Literal["noisy", "invalid"]
    detail: Text


class Summary(Explained):
    """Derived from one record and its samples by `results/stats.py` under the rules of `rules_version`.

    Latencies are per query in nanoseconds; a percentile that the sample cannot support is None. `throughput_per_s`
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
    outliers_mild: Count | None = None
    outliers_severe: Count | None = None
    drift: Number | None = None
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
