"""Records of techniques with known figures: how much smaller and faster they are, and which examples they get wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from results.record import Artefact, Identity, QualityResult, Record
from results.stats import summarise
from results.store import Run
from tests.fakes import records

RIGHT = 0.97
"""Of the examples fp32 gets right."""
HARDER = 0.3
"""Spread of what examples cost a language model."""
RUN = "20261102T020000Z-7ec41c"

EXAMPLES = "5f" * 32
"""All rows of a workload are graded by the same examples."""


@dataclass(frozen=True)
class Try:
    """`speed` and `size` are ratios to fp32's, `lost` is relative; `changed` examples lost and `changed` gained beside.

    A `broken` one is below its floor, as a control may be.
    """

    technique: str
    speed: float = 1.0
    size: float = 1.0
    lost: float = 0.0
    changed: int = 0
    precision: str = "fp32"
    engine: str = "onnxruntime"
    steps: Sequence[str] = ()
    training_s: float | None = None
    workloads: Sequence[str] = ("digits-small", "bytelm-small", "resnet50")
    scenario: str = "single_stream"


PLAIN = (Try("none"), Try("none", 0.8, engine="openvino"))
USUAL = (
    *PLAIN,
    Try("int8-static", 2.6, 0.27, 0.001, 1, "int8", steps=("collect calibration samples", "quantise")),
    Try("int8-static", 1.3, 0.27, 0.001, 1, "int8", "openvino", steps=("collect calibration samples", "quantise")),
    Try("prune-structured-50", 1.1, 0.52, 0.012, 3, steps=("choose channels", "prune", "fine-tune"), training_s=90.0),
    Try("distill", 3.4, 0.31, 0.02, 4, steps=("choose a student", "train the teacher", "train the student"),
        training_s=1400.0),
    Try("distill-scratch", 3.4, 0.31, 0.035, 4, steps=("choose a student", "train it"), training_s=900.0),
    Try("int8-weights", 1.02, 0.3, 0.0004, 0, steps=("quantise the weights",)),
    Try("int3-rounded", 1.0, 0.16, 0.4, 0, steps=("round the weights",)),
    Try("fuse-off", 0.55),
    Try("prune-structured-50+int8-static", 2.9, 0.16, 0.03, 5, "int8", steps=("prune", "fine-tune", "quantise")),
)  # fmt: skip


def write(run: Run, tries: Sequence[Try] = USUAL, repeats: int = 5, n: int = 800, run_id: str = RUN) -> None:
    """Every try on each of its workloads, `repeats` times, `n` examples graded."""
    rng = np.random.default_rng(11)
    for order, (one, workload, repeat) in enumerate(_all(tries, repeats), 70_000):
        identity = _identity(one, workload)
        speed = one.speed * float(rng.lognormal(0.0, 0.004))
        data = np.full(200, round(50e6 / speed), dtype=np.int64) + rng.integers(0, 1000, 200)
        made = records.record(identity, run_id=run_id, repeat=repeat, order=order, queries=len(data))
        made = _judged(made, one, run, n)
        data.astype("<i8").tofile(run.samples_path(made.record_id))
        run.append(made)
        run.append_summary(summarise(made, data))


def grades(workload: str, one: Try, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """0 and 1 of a classifier, nats of a language model; the same examples are hard for every technique."""
    if workload.startswith("digits"):
        found = (np.arange(n) < round(RIGHT * n)).astype(float)
        found[: one.changed + round(one.lost * RIGHT * n)] = 0
        found[n - one.changed :] = 1 if one.changed else found[n - one.changed :]
        return found
    base = log(8.4) + HARDER * np.sin(np.arange(n) * 1.7)
    worse = -log(1 - one.lost) * (1 + 0.3 * np.cos(np.arange(n) * 2.3))
    return np.asarray(base + worse, dtype=np.float64)


def _all(tries: Sequence[Try], repeats: int) -> Iterator[tuple[Try, str, int]]:
    for one in tries:
        for workload in one.workloads:
            yield from ((one, workload, repeat) for repeat in range(repeats))


def _identity(one: Try, workload: str) -> Identity:
    return records.of(one.scenario, workload, one.engine, precision=one.precision, technique=one.technique)


def _judged(made: Record, one: Try, run: Run, n: int) -> Record:
    """With the artefact, and the grades where the network was trained."""
    quality = None
    if made.card.quality:
        found = grades(made.card.name, one, n)
        path = run.samples_path(made.record_id).with_suffix(".scores.f64")
        found.astype("<f8").tofile(path)
        value = float(np.exp(found.mean()) if made.card.quality.metric == "perplexity" else found.mean())
        quality = QualityResult(
            value=value,
            n=n,
            standard_error=0.006,
            scores_file=str(path.relative_to(run.folder)),
            examples_sha256=EXAMPLES,
        )
    why = {} if quality else {"quality": f"{made.card.name} has no labels to grade answers by"}
    evidence = records.evidence(made.identity, quality=quality, artefact=_artefact(made, one), missing=why)
    return made.model_copy(update={"evidence": evidence})


def _artefact(made: Record, one: Try) -> Artefact:
    size = round(one.size * made.card.weight_bytes)
    calibrated = one.precision == "int8"
    values = {
        "unpack_ns": None, "parameters": None, "zero_share": None, "making_s": 2.5 if one.steps else None,
        "training_s": one.training_s, "samples": 64 if calibrated else None,
        "samples_sha256": "5a" * 32 if calibrated else None,
    }  # fmt: skip
    return Artefact.model_validate({
        "kind": "file", "form": "onnx", "stored_bytes": size, "unpacked_bytes": size, "steps": tuple(one.steps),
        **values, "missing": {name: "made up for tests" for name, value in values.items() if value is None},
    })  # fmt: skip
