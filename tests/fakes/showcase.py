"""A small root in which everything that a report can show is there once: every scenario, LoadGen, energy, notes,
estimates, others' figures.

python -m tests.fakes.showcase PATH
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from results import published
from results.record import Estimate, Evidence, Identity, Placement, Record, Stages
from results.stats import summarise
from results.store import Run
from tests.fakes import market, records, techniques

SUSPECT = 5
"""How much slower than in its window the user's own model is alone: a finding."""
RUN = "20261120T020000Z-00d00d"
SCENARIOS = (
    "single_stream", "multi_stream", "server", "server(rate=400)", "offline", "cold_start",
    "cold_start(page_cache=cold)",
)  # fmt: skip


def write(path: Path, repeats: int = 5, queries: int = 1500) -> None:
    rng = np.random.default_rng(7)
    with Run.open(path, RUN) as run:
        for order, (repeat, (identity, changes)) in enumerate(
            (repeat, one) for repeat in range(repeats) for one in _cases()
        ):
            speed = float(rng.lognormal(0.0, 0.01))
            made = _made(identity, repeat, order, queries, speed, changes)
            data = records.samples(identity, queries, 0, speed)
            data.astype("<i8").tofile(run.samples_path(made.record_id))
            run.append(made)
            run.append_summary(summarise(made, data))
        techniques.write(run, repeats=repeats, run_id=RUN)
        for order, one in enumerate(_not_measured(), 90_000):
            made = one.model_copy(update={"record_id": f"{RUN}-{order:05d}"})
            run.append(made)
            if made.status == "ok":
                run.append_summary(summarise(made, np.empty(0, np.int64)))
    with tempfile.TemporaryDirectory() as folder:
        others = {
            "tables.csv": market.table(*market.CORAL, *market.NEURON, *market.OPENVINO),
            "summary_results.json": market.summary(*market.MLPERF),
            "summary.csv": market.tiny(*market.TINY),
        }
        for name, text in others.items():
            (Path(folder) / name).write_text(text)
            published.import_file(Path(folder) / name, path)


def _cases() -> Iterator[tuple[Identity, dict[str, Any]]]:
    """The processor has a meter, whose readings of one engine are too few; LoadGen drives two rows more."""
    for workload in ("kws", "mobilenetv2", "resnet8", "ceiling-flops", "ceiling-bytes"):
        for engine in ("onnxruntime", "openvino"):
            for scenario in SCENARIOS if not workload.startswith("ceiling") else ("offline",):
                if (workload, scenario) != ("mobilenetv2", "server(rate=400)"):
                    yield records.of(scenario, workload, engine), {"metered": engine == "onnxruntime"}
    for scenario in ("single_stream", "offline"):
        yield records.of(scenario, rules="mlperf"), {"metered": True}
    yield records.of("server", "resnet50"), {"metered": True}
    own = records.of("single_stream")
    card = records.CARDS["kws"].model_copy(update={"name": "my-model", "flops": None, "bounds": ()})
    yield own, {"metered": False, "identity": own.model_copy(update={"workload": "my-model"}), "card": card}


def _not_measured() -> Iterator[Record]:
    """A microNPU, one of whose models falls back, a TPU, a simulator, what does not fit and what is not there."""
    for workload in ("kws", "resnet8", "mobilenetv2"):
        for device in ("Arm Ethos-U55-128", "Arm Ethos-U85-256"):
            yield records.estimated(records.compiled(workload, device), run_id=RUN)
    reason = "1 operator would run on the host's processor, whose time the tool does not count"
    yield records.estimated(
        records.compiled("autoencoder"),
        run_id=RUN,
        fallback_operators=1,
        latency_ns=None,
        missing={"latency_ns": reason},
    )
    tpu = records.compiled("resnet50", "Google TPU v5e 1x1", "bf16", backend="tpu", engine="jax")
    flat = "an XLA program for a TPU has no such figure"
    yield records.estimated(
        tpu, run_id=RUN, source="jax 0.10.2, libtpu 0.0.44", caveat="", latency_ns=None, cycles=1_184_000,
        clock_mhz=None, memory_peak_bytes=182 << 20, memory_limit_bytes=16 << 30, sram_peak_bytes=None,
        fallback_operators=None, flops=8_201_000_000, evidence=_unchecked(),
        missing={
            "latency_ns": "the clock is not told, so cycles are not turned into time",
            "clock_mhz": "the compiler does not tell it",
            "sram_peak_bytes": flat, "fallback_operators": flat,
        },
    )  # fmt: skip
    simulated = records.compiled("kws", "Qualcomm HTP v75", backend="qualcomm", engine="onnxruntime_qnn")
    figures = [name for name, field in Estimate.model_fields.items() if field.default is None]
    yield records.estimated(
        simulated, "simulator", run_id=RUN, source="onnxruntime-qnn 2.7.0", caveat="",
        missing=dict.fromkeys(figures, "a simulator's time and memory are this processor's"), **dict.fromkeys(figures),
    )  # fmt: skip
    yield records.record(
        records.compiled("bert-base"), status="unsupported", run_id=RUN,
        reason="bert-base does not fit Arm Ethos-U55-128: 437.9 MB of weights, 32.0 MB of memory",
    )  # fmt: skip


def _unchecked() -> Evidence:
    names = (
        "outputs", "timed_outputs", "same_input", "stages", "peak_memory_bytes", "quality", "artefact", "kernels",
        "training",
    )  # fmt: skip
    placement = Placement(device="Google TPU v5e 1x1", share=1.0, proof="one XLA program for platform tpu")
    return Evidence(placement=placement, missing=dict.fromkeys(names, "nothing here computes what the device would"))


def _made(identity: Identity, repeat: int, order: int, queries: int, speed: float, changes: dict[str, Any]) -> Record:
    made = records.record(identity, run_id=RUN, repeat=repeat, order=order, queries=queries, speed=speed)
    assert made.window is not None
    joules = 35.0 * made.window.duration_ns / 1e9
    few = {"power_valid": False, "power_reasons": ("too_few_readings",), "readings": 3}
    energy = records.energy(
        energy_j=joules, net_energy_j=0.4 * joules, **(few if identity.scenario == "multi_stream" else {})
    )
    run_ns = records.query_ns(records.of("single_stream", identity.workload, identity.engine))
    run_ns *= SUSPECT if "card" in changes else 1
    stages = Stages(
        queries=20, put_ns=4_000, run_ns=run_ns, get_ns=2_000, device_ns=int(0.7 * run_ns), enqueue_ns=run_ns // 5
    )
    metered = {"energy": energy} if changes.pop("metered") else {}
    return made.model_copy(update={"evidence": records.evidence(identity, stages=stages), **metered, **changes})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
