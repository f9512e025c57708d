"""A small root in which everything that a report can show is there once: every scenario, LoadGen, energy, notes.

python -m tests.fakes.showcase PATH
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from results.record import Identity, Record, Stages
from results.stats import summarise
from results.store import Run
from tests.fakes import records

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
    stages = Stages(queries=20, put_ns=4_000, run_ns=run_ns, get_ns=2_000, device_ns=int(0.7 * run_ns))
    metered = {"energy": energy} if changes.pop("metered") else {}
    return made.model_copy(update={"evidence": records.evidence(identity, stages=stages), **metered, **changes})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
