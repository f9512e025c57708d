"""Valid, realistic records with known figures, and whole result folders of them, for tests and the scale benchmark.

write_root(path, identities=8, runs=2, repeats=5)      a small root with everything a report has to show
write_root(path, 500, 200, 1, mixed=False)             100,000 records
python -m tests.fakes.records PATH IDENTITIES RUNS REPEATS
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from typing import Any, cast

import numpy as np

from results.log import frame
from results.names import COMPILE, scenario_name
from results.record import (
    Bound,
    Calibration,
    Card,
    Conditions,
    Context,
    Energy,
    Estimate,
    Evidence,
    Identity,
    Kernels,
    Load,
    LoadGen,
    Machine,
    OutputCheck,
    Phases,
    Placement,
    Probe,
    Quality,
    QualityResult,
    Record,
    SameInput,
    Stages,
    Summary,
    Window,
)
from results.stats import Samples, summarise
from results.store import RECORDS, SAMPLES, SUMMARIES

START = datetime(2026, 11, 1, 2, 0, 0, tzinfo=UTC)
NO_METER = "no power meter on this machine"
UNKEPT = dict.fromkeys(("scores_file", "examples_sha256"), "made up for tests")
HOSTILE_NAME = "x(1)=a,b>c%[0]#@~*/../etc"
HOSTILE_TEXT = (
    "</script><script>alert(1)</script> \"quoted\" 'single' & <img src=x onerror=alert(1)>\n\u202ereversed\x00"
)
FLOPS_PER_S = {"onnxruntime": 60e9, "openvino": 75e9, "torch": 45e9, "reference": 2e9}

_ACCURACY = Quality(metric="accuracy", unit="fraction", better="higher", floor=0.9)
_PERPLEXITY = Quality(metric="perplexity", unit="nats-exp", better="lower", floor=12.0)
CARDS = {
    name: Card(
        name=name, task=task, sample_unit=unit, flops=flops, parameters=parameters, weight_bytes=4 * parameters,
        io_bytes=io_bytes, distinct_inputs=16, bounds=(Bound(latency_ms=bound_ms, percentile=99.0),), quality=quality,
        source="made up for tests", role=cast("Any", role),
    )
    for name, task, unit, flops, parameters, io_bytes, bound_ms, quality, role in (
        ("resnet50", "image classification", "image", 8_178_000_000, 25_557_032, 606_112, 100.0, None, "model"),
        ("mobilenetv2", "image classification", "image", 614_000_000, 3_504_872, 606_112, 15.0, None, "model"),
        ("bert-base", "sentence encoding", "sequence", 22_350_000_000, 109_482_240, 4_096, 130.0, None, "model"),
        ("llama-prefill", "text generation", "sequence", 25_600_000_000, 100_000_000, 65_536, 900.0, None, "model"),
        ("llama-decode", "text generation", "token", 201_000_000, 100_000_000, 65_536, 50.0, None, "model"),
        ("kws", "keyword spotting", "utterance", 5_300_000, 24_908, 2_008, 10.0, None, "model"),
        ("resnet8", "image classification", "image", 25_000_000, 78_666, 12_328, 10.0, None, "model"),
        ("autoencoder", "anomaly detection", "window", 530_000, 267_928, 5_120, 10.0, None, "model"),
        ("digits-small", "digit classification", "image", 80_000, 4_000, 296, 5.0, _ACCURACY, "model"),
        ("bytelm-small", "language modelling", "sequence", 90_000_000, 700_000, 66_560, 50.0, _PERPLEXITY, "model"),
        ("ceiling-flops", "matrix product", "product", 2_147_483_648, 1_048_576, 8_388_608, 1e3, None, "ceiling_flops"),
        ("ceiling-bytes", "memory copy", "copy", 16_777_216, 16_777_216, 67_108_864, 1e3, None, "ceiling_bytes"),
    )
}  # fmt: skip
_NO_LIMITS = dict.fromkeys(("cpu_limit_cores", "memory_limit_bytes"), "no container limits it")
MACHINE = Machine(
    fingerprint="5f0c1e9a77d2b3c4", hostname="bench-1", cpu="Intel(R) Xeon(R) Platinum 8488C", cores=2,
    memory_bytes=8 << 30, system="Debian GNU/Linux 12", kernel="6.1.0-18-amd64", instance_type=None,
    llc_bytes=105 << 20,
    missing={"instance_type": "the firmware names no cloud instance type", **_NO_LIMITS},
)  # fmt: skip
_CLOUD = {"fingerprint": "c10d0000aaaa1111", "hostname": "ip-10-0-0-7", "instance_type": "c7i.large"}
CLOUD_MACHINE = MACHINE.model_copy(update={**_CLOUD, "missing": _NO_LIMITS})
GOALS = {"offline": "throughput", "server": "throughput"}
MULTI_STREAM = 8
SERVER_LOAD = 0.3
"""Queries are offered at this share of what one after the other would take."""


def identities(n: int) -> list[Identity]:
    """The first `n` of an endless, repeatable row of different identities, the usual ones first."""
    precisions, batches = ("fp32", "bf16", "int8"), ("1", "8", "auto", *(str(2**k) for k in range(4, 12)))
    every = product(batches, precisions, FLOPS_PER_S, CARDS, ("single_stream", "offline"))
    return [
        Identity(
            workload=workload, precision=precision, batch=batch, scenario=scenario, backend="cpu",
            goal="latency" if scenario == "single_stream" else "throughput", device="cpu", engine=engine,
        )
        for batch, precision, engine, workload, scenario in islice(every, n)
    ]  # fmt: skip


def of(scenario: str, workload: str = "kws", engine: str = "onnxruntime", **changes: Any) -> Identity:
    """An identity of any scenario; `changes` replace its fields."""
    goal: Any = GOALS.get(scenario_name(scenario), "latency")
    made = Identity(
        workload=workload, precision="fp32", batch="1", scenario=scenario, goal=goal, backend="cpu", device="cpu",
        engine=engine,
    )  # fmt: skip
    return made.model_copy(update=changes)


def query_samples(identity: Identity) -> int:
    return MULTI_STREAM if identity.scenario == "multi_stream" else _batch(identity)


def _batch(identity: Identity) -> int:
    return int(identity.batch) if identity.batch.isdigit() else 4


def query_ns(identity: Identity, speed: float = 1.0) -> int:
    """The programmed median latency of one query."""
    gain = {"fp32": 1.0, "bf16": 1.6, "int8": 2.5}.get(identity.precision, 1.0)
    work = query_samples(identity) * (CARDS[identity.workload].flops or 0)
    return int(30_000 + 1e9 * work / FLOPS_PER_S.get(identity.engine, 50e9) / gain / speed)


def one_run_ns(identity: Identity) -> int:
    return query_ns(identity) * _batch(identity) // query_samples(identity)


def samples(identity: Identity, queries: int, seed: int = 0, speed: float = 1.0) -> Samples:
    """What the record's file would hold: latencies with a one-sided tail, or completions of two overlapped workers.

    A server's queries wait for each other; a cold start is one sample.
    """
    rng = np.random.default_rng(seed)
    if identity.scenario.startswith("cold_start"):
        return np.array([sum(_cold_ns(identity, speed).values())], dtype=np.int64)
    latency_ns = query_ns(identity, speed) * rng.lognormal(0.0, 0.02, queries)
    if identity.scenario.startswith("offline"):
        return np.sort(np.concatenate([part.cumsum() for part in np.array_split(latency_ns, 2)])).astype(np.int64)
    if identity.scenario.startswith("server"):
        return (latency_ns * (1 + rng.exponential(0.05, queries))).astype(np.int64)
    latency_ns[rng.random(queries) < 0.01] *= 1.5
    return latency_ns.astype(np.int64)


def energy(**changes: Any) -> Energy:
    """As a processor's own counter reads it."""
    values = {
        "method": "counter", "meter": "rapl", "scope": "package", "energy_j": 500.0, "net_energy_j": 300.0,
        "idle_w": 20.0, "readings": 120, "gap_max_ns": 110_000_000, "power_valid": True,
        "missing": {"check_j": "only one meter", "readings_file": "not kept"},
    }  # fmt: skip
    missing = {**cast("dict[str, str]", values["missing"]), **changes.pop("missing", {})}
    return Energy(**{**values, **changes, "missing": missing})


def evidence(identity: Identity, **changes: Any) -> Evidence:
    outputs = OutputCheck(
        n=12, finite=True, identity_hits=12, centred_cosine_min=0.999998, cosine_required=0.9999,
        relative_error_max=2.1e-6 if identity.precision == "fp32" else 8e-4, relative_error_allowed=1e-3,
    )  # fmt: skip
    quality = CARDS[identity.workload].quality
    value = None if quality is None else 0.967 if quality.better == "higher" else 8.4
    values: dict[str, Any] = {
        "outputs": outputs,
        "quality": None
        if value is None
        else QualityResult(
            value=value,
            n=899,
            standard_error=0.006,
            missing=dict.fromkeys(("scores_file", "examples_sha256"), "made up for tests"),
        ),
        "timed_outputs": outputs,
        "same_input": SameInput(ratio=0.998, low=0.99, high=1.006, pairs=10),
        "stages": Stages(
            queries=20,
            put_ns=100,
            run_ns=one_run_ns(identity),
            get_ns=200,
            missing=dict.fromkeys(("device_ns", "enqueue_ns"), "no device clock"),
        ),
        "placement": Placement(device=identity.device, share=1.0, proof="every node on CPUExecutionProvider"),
        "kernels": Kernels(
            source="a profile made up for tests",
            kernels={identity.precision: 54},
            names={"convolution": 53, "product": 1, "pooling": 1},
            time_share={identity.precision: 0.94},
        ),
        "peak_memory_bytes": 412_000_000,
        "missing": {} if value is not None else {"quality": "random weights: quality is not measurable"},
    }
    values |= changes
    untold = {name: UNTOLD for name in ("artefact", "kernels", "training") if values.get(name) is None}
    return Evidence(**{**values, "missing": {**untold, **values["missing"]}})


UNTOLD = "made up for tests"
NOT_RUN = "there is no device to run it on"
TOOL = "vela 5.2.0"
CAVEAT = "The numbers are internal compiler estimates: run the compiled network on an FVP model or an FPGA."


def compiled(
    workload: str = "kws", device: str = "Arm Ethos-U55-128", precision: str = "int8", **changes: Any
) -> Identity:
    """An identity of what is only compiled for."""
    away = {"backend": "ethos_u", "device": device, "precision": precision}
    return of(COMPILE, workload, **{"engine": "vela", **away, **changes})


def estimate(identity: Identity, **changes: Any) -> Estimate:
    """As a compiler for a microNPU gives it."""
    card = CARDS[identity.workload]
    values = {
        "source": TOOL, "caveat": CAVEAT, "latency_ns": 4.0 * (card.flops or 0) ** 0.7, "cycles": 91_000,
        "clock_mhz": 500.0, "flops": _batch(identity) * (card.flops or 0), "memory_peak_bytes": 63_488,
        "memory_limit_bytes": 32 << 20, "sram_peak_bytes": 41_984, "weights_bytes": card.parameters,
        "fallback_operators": 0,
    }  # fmt: skip
    values |= changes
    return Estimate.model_validate(values)


def estimated(identity: Identity | None = None, provenance: str = "estimate", **changes: Any) -> Record:
    """A record of what was not measured; `changes` are fields of its estimate, or of the record."""
    identity = identity or compiled()
    fields = {name: changes.pop(name) for name in list(changes) if name in Estimate.model_fields}
    checked = changes.pop("evidence", None) or evidence(
        identity, timed_outputs=None, same_input=None, stages=None, peak_memory_bytes=None,
        missing=dict.fromkeys(("timed_outputs", "same_input", "stages", "peak_memory_bytes", "quality"), NOT_RUN),
    )  # fmt: skip
    gone: dict[str, Any] = {"window": None, "load": None, "energy": None}
    made = record(
        identity, provenance=provenance, estimate=estimate(identity, **fields), evidence=checked, **gone, **changes
    )
    command = f"pytest bench/ --target {identity.backend}:all"
    context = {"conditions": (), "calibration": (), "settings": {"accelerator": identity.device}, "command": command}
    return made.model_copy(update={"context": made.context.model_copy(update=context)})


def record(
    identity: Identity | None = None,
    *,
    status: str = "ok",
    run_id: str = "20261101T020000Z-00a1b2",
    repeat: int = 0,
    order: int = 0,
    queries: int = 1000,
    speed: float = 1.0,
    machine: Machine = MACHINE,
    seed: int = 0,
    **changes: Any,
) -> Record:
    """One record, valid as it stands; `changes` replace its top-level fields."""
    identity = identity or identities(1)[0]
    ok = status == "ok"
    record_id = f"{run_id}-{order:05d}"
    values: dict[str, Any] = {
        "record_id": record_id,
        "written_utc": f"{START:%Y-%m-%dT%H:%M:%SZ}",
        "status": status,
        "reason": "" if ok else _REASONS[status],
        "remedy": "" if ok else "see accelmark doctor",
        "stderr_tail": "terminate called after throwing an instance of 'std::bad_alloc'\n"
        if status == "failed"
        else "",
        "identity": identity,
        "card": CARDS[identity.workload],
        "context": _context(run_id, repeat, order, machine, seed, _batch(identity) if ok else None),
        **({} if not ok else _measured(identity, record_id, queries, speed, seed)),
    }
    return Record(**{**values, **changes})


def write_root(path: Path, identities: int, runs: int, repeats: int, seed: int = 0, **options: Any) -> None:
    """A store root at `path`: `runs` nightly run folders of identities x repeats records each, with summaries.

    Options: mixed=True (one in eight identities is unsupported, failed, absent or hostile instead of ok),
    machine=MACHINE, queries=1000, samples=False (write the samples files too).
    """
    for run in range(runs):
        _write_run(path, run, identities, repeats, seed, **options)


def _write_run(
    path: Path, run: int, count: int, repeats: int, seed: int, *, mixed: bool = True, machine: Machine = MACHINE,
    queries: int = 1000, samples: bool = False,
) -> None:  # fmt: skip
    run_id = f"{START + timedelta(days=run):%Y%m%dT%H%M%SZ}-{(seed * 7919 + run) & 0xFFFFFF:06x}"
    folder = path / run_id
    (folder / SAMPLES).mkdir(parents=True)
    rng = np.random.default_rng((seed, run))
    with (folder / RECORDS).open("wb") as records, (folder / SUMMARIES).open("wb") as summaries:
        jobs = product(range(repeats), enumerate(identities(count)))
        for order, (repeat, (number, identity)) in enumerate(jobs):
            status, changes = _fate(number, identity) if mixed else ("ok", {})
            identity = changes.pop("identity", identity)
            speed = float(rng.lognormal(0.0, 0.015))
            made = record(
                identity, status=status, run_id=run_id, repeat=repeat, order=order, queries=queries, speed=speed,
                machine=machine, seed=seed, **changes,
            )  # fmt: skip
            records.write(frame(made.model_dump_json().encode()))
            if made.estimate:
                summaries.write(frame(summarise(made, np.empty(0, np.int64)).model_dump_json().encode()))
            elif status == "ok":
                summaries.write(frame(_summary(made, speed).model_dump_json().encode()))
            if samples and made.window:
                _samples(identity, queries, order, speed).astype("<i8").tofile(folder / made.window.samples_file)


_samples = samples
_ENERGY = ("energy_j", "net_energy_j", "idle_w", "check_j", "gap_max_ns", "power_valid", "readings_file")
_HIDDEN = {
    "frequency_mhz": "no cpufreq in this virtual machine",
    "governor": "no cpufreq in this virtual machine",
    "temperature_c": "no thermal zone",
    "throttle_events": "the kernel counts none here",
    **dict.fromkeys(
        (
            "device_clock_mhz", "device_temperature_c", "device_throttle_reasons", "device_other_users",
            "device_memory_used_bytes",
        ),
        "the processor is the host",
    ),
}  # fmt: skip
_BASE: dict[tuple[str, int], Summary] = {}
_REASONS = {
    "absent": "no NVIDIA driver: /dev/nvidiactl does not exist",
    "unsupported": "onnxruntime runs no bf16 convolution on CPUExecutionProvider",
    "failed": "the worker died in compile with signal 11 (SIGSEGV)",
}


def _fate(number: int, identity: Identity) -> tuple[str, dict[str, Any]]:
    """Every eighth identity does not end well; each ending has its turn."""
    endings = ("unsupported", "failed", "absent", "hostile", "invalid", "estimate")
    if number % 8 != 7:
        return "ok", {}
    ending = endings[number // 8 % len(endings)]
    if ending == "absent":
        away = {"backend": "cuda", "device": "none", "engine": "onnxruntime"}
        return "absent", {"identity": identity.model_copy(update=away), "remedy": "install the NVIDIA driver"}
    if ending == "hostile":
        named = identity.model_copy(update={"policy": HOSTILE_NAME, "options": {"threads": "1 > 0", "x#y": "a=b"}})
        return "failed", {"identity": named, "reason": HOSTILE_TEXT, "stderr_tail": HOSTILE_TEXT}
    if ending == "invalid":
        return "ok", {"evidence": evidence(identity, outputs=_wrong())}
    if ending == "estimate":
        named = compiled(identity.workload, f"Arm Ethos-U55 {number}", batch=identity.batch.replace("auto", "1"))
        changes = ("provenance", "estimate", "evidence", "window", "load", "energy")
        return "ok", {"identity": named, **{name: getattr(estimated(named), name) for name in changes}}
    return ending, {}


def _wrong() -> OutputCheck:
    return OutputCheck(
        n=12, finite=True, identity_hits=3, centred_cosine_min=-0.2, cosine_required=0.9999, relative_error_max=1.4,
        relative_error_allowed=1e-3,
    )  # fmt: skip


def _summary(made: Record, speed: float) -> Summary:
    """As `summarise` gives, but derived once per identity and scaled: 100,000 of them in seconds."""
    assert made.window is not None
    key = (made.identity.key, made.window.queries)
    outcome = made.evidence.outputs if made.evidence else None
    if key not in _BASE or (outcome and outcome.identity_hits < outcome.n):
        plain = record(made.identity, queries=made.window.queries, evidence=made.evidence)
        _BASE[key] = summarise(plain, _samples(made.identity, made.window.queries))
    scaled = {
        name: value / speed
        for name, value in _BASE[key]
        if name.startswith(("latency_", "early_")) and value is not None
    }
    rate = _BASE[key].throughput_per_s
    scaled["throughput_per_s"] = None if rate is None else rate * speed
    return _BASE[key].model_copy(update={"record_id": made.record_id, **scaled})


def _context(run_id: str, repeat: int, order: int, machine: Machine, seed: int, batch: int | None) -> Context:
    ok = batch is not None
    return Context(
        run_id=run_id,
        profile="standard",
        command="pytest bench/ --backend=cpu --profile=standard",
        seed=seed,
        repeat=repeat,
        order=order,
        commit="0123abcd4567",
        machine=machine,
        versions={"accelmark": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "onnxruntime": "1.24.1"},
        settings={"intra_op_num_threads": 2, "execution_mode": "sequential", "arena": True} if ok else {},
        batch_chosen=batch,
        conditions=tuple(_conditions()) if ok else (),
        calibration=(
            Calibration(moment="before", integer_ns=2_000_000, sgemm_ns=3_000_000, memcpy_ns=1_500_000),
            Calibration(moment="after", integer_ns=2_010_000, sgemm_ns=3_020_000, memcpy_ns=1_490_000),
        )
        if ok
        else (),
    )


def _conditions() -> Iterator[Conditions]:
    for moment in ("before", "during", "after"):
        yield Conditions(
            moment=moment, load_1m=0.4, other_cpu_percent=1.0, steal_percent=0.1, memory_available_bytes=5 << 30,
            missing=_HIDDEN,
        )  # fmt: skip


def _measured(identity: Identity, record_id: str, queries: int, speed: float, seed: int) -> dict[str, Any]:
    kind = scenario_name(identity.scenario)
    data = samples(identity, queries, seed, speed)
    duration_ns = int(data.max() if kind == "offline" else data.sum())
    load = _load(identity, data, speed) if kind == "server" else None
    if load:
        duration_ns = int(1e9 * len(data) / load.offered_per_s)
    return {
        "phases": _phases(identity, speed),
        "window": Window(
            started_utc=f"{START:%Y-%m-%dT%H:%M:%SZ}",
            duration_ns=duration_ns,
            queries=len(data),
            query_samples=query_samples(identity),
            samples_kind=cast("Any", _KINDS.get(kind, "latency_ns")),
            samples_file=f"{SAMPLES}/{record_id}.i64",
            warmup_queries=20,
            warmup_ns=400_000_000,
            warmup_stable=True,
        ),
        "load": load,
        "loadgen": _loadgen(record_id) if identity.rules == "mlperf" else None,
        "evidence": evidence(identity),
        "energy": Energy(missing=dict.fromkeys(_ENERGY, NO_METER)),
    }


_KINDS = {"offline": "done_ns", "cold_start": "cold_ns"}


def _cold_ns(identity: Identity, speed: float) -> dict[str, int]:
    """What each phase of a cold start takes; from a cold page cache, reading takes five times as long."""
    read = 5 if identity.scenario.endswith("(page_cache=cold)") else 1
    large = CARDS[identity.workload].weight_bytes
    times = {
        "start_ns": 180_000_000, "import_ns": read * 60_000_000,
        "load_ns": read * (3_000_000 + large), "compile_ns": 40_000_000 + 2 * large,
        "first_run_ns": 3 * query_ns(identity),
    }  # fmt: skip
    return {name: int(value / speed) for name, value in times.items()}


def _phases(identity: Identity, speed: float) -> Phases:
    if not identity.scenario.startswith("cold_start"):
        return Phases(
            start_ns=180_000_000, build_ns=2_000_000, import_ns=60_000_000, load_ns=30_000_000, compile_ns=240_000_000,
            first_run_ns=9_000_000,
            missing=dict.fromkeys(("steady_ns", "page_cache_share"), "only cold_start measures it"),
        )  # fmt: skip
    times = _cold_ns(identity, speed)
    cached = 0.02 if identity.scenario.endswith("(page_cache=cold)") else 1.0
    steady_ns = 2 * sum(times.values())
    return Phases.model_validate({**times, "build_ns": 2_000_000, "steady_ns": steady_ns, "page_cache_share": cached})


def _load(identity: Identity, data: Samples, speed: float) -> Load:
    bound = CARDS[identity.workload].bounds[0]
    set_rate = identity.scenario.partition("rate=")[2].rstrip(")")
    rate = float(set_rate or SERVER_LOAD * 1e9 / query_ns(identity, speed))
    over = int((data > bound.latency_ms * 1e6).sum())
    probes = tuple(
        Probe(rate_per_s=rate * factor, queries=700, over=0 if factor <= 1 else 40, met=factor <= 1)
        for factor in (0.25, 0.5, 2.0, 1.4, 1.0)
    )
    return Load(
        bound_ms=bound.latency_ms, percentile=bound.percentile, offered_per_s=rate, issued_per_s=0.999 * rate,
        lag_p99_ns=41_000, lag_max_ns=210_000, over=over, searched=not set_rate, attempts=1,
        probes=() if set_rate else probes,
    )  # fmt: skip


def _loadgen(record_id: str) -> LoadGen:
    return LoadGen(
        version="6.0.17", valid=True, official=False, reasons=("min duration 1 s, where the rules ask for 600 s",),
        logs=f"loadgen/{record_id}", results={"result_90.00_percentile_latency_ns": 1e6},
    )  # fmt: skip


if __name__ == "__main__":
    write_root(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5]), mixed=False)
