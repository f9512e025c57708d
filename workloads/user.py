"""A user's own model as a workload: what lies in its prepared folder. `bench/usermodel/` prepares one.

    graph/         model.onnx, free dimensions fixed except the sample axis; its external data, if any, beside it
    inputs.npz     the samples that are measured, by input name, axis 0 being the sample axis
    golden.npz     the right outputs of the first of them, by output name
    card.json      everything else, see `Prepared`

Workers read it, so this needs numpy and the standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Golden, Model, Samples, Split, TensorSpec, Tolerance, Unsupported, Workload

if TYPE_CHECKING:
    from workloads.contract import Arrays

MODEL, INPUTS, GOLDEN, CARD = "graph/model.onnx", "inputs.npz", "golden.npz", "card.json"
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
    """What card.json says. `batch` is the one that the graph was written for; None: its sample axis is free."""

    card: Card
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int | None
    noise: Noise

    def write(self, folder: Path) -> None:
        (folder / CARD).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        values = json.loads((folder / CARD).read_text())
        card = {**values["card"], "bounds": tuple(Bound(**bound) for bound in values["card"]["bounds"])}
        specs = {side: tuple(_spec(**spec) for spec in values[side]) for side in ("inputs", "outputs")}
        return cls(**{**values, **specs, "card": Card(**card), "noise": Noise(**values["noise"])})


def _spec(name: str, dtype: str, shape: list[int | None]) -> TensorSpec:
    return TensorSpec(name, dtype, tuple(shape))


class UserModel(Workload):
    """Outputs are compared with golden ones; there is no metric of quality, as nobody said how to grade them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._prepared = Prepared.read(Path(folder))
        self.card = self._prepared.card
        self.batch = self._prepared.batch

    def model(self) -> Model:
        told = self._prepared
        return Model(self.card.name, told.digest, told.inputs, told.outputs, origin=str(Path(self.folder) / MODEL))

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        """The stored samples from the first on, over and over where there are fewer than `n`."""
        if split != "perf":
            raise Unsupported(f"{self.card.name} has no samples for {split}: a model of your own is only measured")
        return Samples(self._inputs).take([row % len(Samples(self._inputs)) for row in range(n)])

    def golden(self) -> Golden:
        return Golden(_arrays(Path(self.folder) / GOLDEN))

    def tolerance(self, precision: str) -> Tolerance:
        """fp32: 2e-4 tells it from TF32 and fp16 (`Committed.tolerances`), unless this graph's own noise is as large.

        The reduced ones are those of our own networks: fp16 reached cosines of 0.9996, bf16 of 0.9926 at worst.
        """
        noise = self._prepared.noise
        tolerances = {
            "fp32": Tolerance(
                min(0.9999, 1 - NOISE_FACTOR * (1 - noise.centred_cosine)),
                max(2e-4, NOISE_FACTOR * noise.relative_error),
            ),
            "fp16": Tolerance(0.995),
            "bf16": Tolerance(0.98),
        }
        if precision not in tolerances:
            raise Unsupported(f"{self.card.name} has no tolerance for {precision}: tried are {', '.join(tolerances)}")
        return tolerances[precision]

    @cached_property
    def _inputs(self) -> Arrays:
        return _arrays(Path(self.folder) / INPUTS)


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)
