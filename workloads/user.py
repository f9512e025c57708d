"""A user's own model as a workload: what lies in its prepared folder. `bench/usermodel/` prepares one.

    graph/         model.onnx, free dimensions fixed except the sample axis; its external data, if any, beside it
    inputs.npz     the samples that are measured, by input name, axis 0 being the sample axis
    golden.npz     the right outputs of the first of them, by output name
    calibration.npz  samples that calibrate where the model is quantised; no row of them is graded
    card.json      everything else, see `Prepared`

Workers read it, so this needs numpy and the standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import (
    Bound,
    Card,
    Golden,
    Model,
    Quality,
    Samples,
    Split,
    TensorSpec,
    Tolerance,
    Unsupported,
    Workload,
)
from workloads.usermetric import Metric, MetricError

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays, Evaluation

MODEL, INPUTS, GOLDEN, CARD = "graph/model.onnx", "inputs.npz", "golden.npz", "card.json"
CALIBRATION = "calibration.npz"
NOISE_FACTOR = 10
"""An engine may differ from the reference by as many times what the reference differs from itself."""


@dataclass(frozen=True)
class Noise:
    """How far the reference differs from itself where the same graph is computed in another order, at worst.

    Measured with and without graph optimisations, in other batches: what fp32 cannot promise is not asked for.
    """

    relative_error: float = 0.0
    centred_cosine: float = 1.0


@dataclass(frozen=True)
class Prepared:
    """What card.json says. `batch` is the one that the graph was written for; None: its sample axis is free.

    `metric` grades its answers; None: nobody said how.
    """

    card: Card
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int | None
    noise: Noise
    metric: Metric | None = None

    def write(self, folder: Path) -> None:
        (folder / CARD).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        values = json.loads((folder / CARD).read_text())
        card = {**values["card"], "bounds": tuple(Bound(**bound) for bound in values["card"]["bounds"])}
        specs = {side: tuple(_spec(**spec) for spec in values[side]) for side in ("inputs", "outputs")}
        if card["quality"]:
            card["quality"] = Quality(**card["quality"])
        metric = Metric(**values["metric"]) if values["metric"] else None
        return cls(**{**values, **specs, "card": Card(**card), "noise": Noise(**values["noise"]), "metric": metric})


def _spec(name: str, dtype: str, shape: list[int | None]) -> TensorSpec:
    return TensorSpec(name, dtype, tuple(shape))


class UserModel(Workload):
    """Outputs are compared with golden ones. Quality is measured where the user has brought a metric."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._prepared = Prepared.read(Path(folder))
        self.card = self._prepared.card
        self.batch = self._prepared.batch

    def model(self) -> Model:
        told = self._prepared
        return Model(self.card.name, told.digest, told.inputs, told.outputs, origin=str(Path(self.folder) / MODEL))

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        """perf: the stored samples from the first on, over and over where there are fewer than `n`."""
        if split == "perf":
            return Samples(self._inputs).take([row % len(Samples(self._inputs)) for row in range(n)])
        if split == "calibration":
            return Samples(_arrays(Path(self.folder) / CALIBRATION)).take(slice(n))
        return Samples(self._evaluation.inputs, self._evaluation.labels).take(slice(n))

    def score(self, outputs: Arrays, samples: Samples) -> Array:
        """Raises Unsupported for what is no finite grade for each sample."""
        try:
            return self._metric.grades(self._evaluation, outputs, samples.labels, len(samples))
        except MetricError as error:
            raise Unsupported(str(error)) from error

    def golden(self) -> Golden:
        return Golden(_arrays(Path(self.folder) / GOLDEN))

    def tolerance(self, precision: str) -> Tolerance:
        """fp32: 2e-4 tells it from TF32 and fp16 (`Committed.tolerances`), unless this graph's own noise is as large.

        The reduced ones are those of our own networks: fp16 reached cosines of 0.9996, bf16 of 0.9926, int8 of 0.93 at
        worst, int4 of trained ones 0.98.
        """
        noise = self._prepared.noise
        tolerances = {
            "fp32": Tolerance(
                min(0.9999, 1 - NOISE_FACTOR * (1 - noise.centred_cosine)),
                max(2e-4, NOISE_FACTOR * noise.relative_error),
            ),
            "fp16": Tolerance(0.995),
            "bf16": Tolerance(0.98),
            "int8": Tolerance(0.9),
            "int4": Tolerance(0.8),
        }
        if precision not in tolerances:
            raise Unsupported(f"{self.card.name} has no tolerance for {precision}: tried are {', '.join(tolerances)}")
        return tolerances[precision]

    @property
    def _metric(self) -> Metric:
        if self._prepared.metric is None:
            raise Unsupported(f"nobody said how to grade {self.card.name}: bring a metric, --eval MODULE:FUNCTION")
        return self._prepared.metric

    @cached_property
    def _evaluation(self) -> Evaluation:
        return self._metric.again()

    @cached_property
    def _inputs(self) -> Arrays:
        return _arrays(Path(self.folder) / INPUTS)


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)
