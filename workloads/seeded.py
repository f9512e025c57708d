"""The base of every workload whose graph is committed in `workloads/graphs/`.

Adding one is a file in `workloads/models/` with the four things below, then `python -m workloads.rebuild NAME` (which
needs torch and onnx), which writes the graph, the manifest and the golden outputs; nothing else is touched.

Here and in the models numpy is imported where it is used: listing what there is must not wait for it.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workloads import weights
from workloads.contract import Golden, Model, Objective, Samples, Split, Tolerance, Unsupported, Workload

if TYPE_CHECKING:
    from workloads.contract import Arrays


class Committed(Workload):
    """A network whose graph, manifest and golden outputs are committed, and when it was `trained` its weights too."""

    outputs: tuple[str, ...] = ("logits",)
    """Names of what the network returns, in its order."""
    golden_outputs: tuple[str, ...] | None = None
    """The outputs that golden keeps, where keeping all would be too large for the repository."""
    golden_bits: int | None = None
    """Golden values are multiples of their largest over 2 to this power, where they would not compress enough."""
    golden_samples: int = 12
    golden_steps: int = 1
    trained: bool = False
    tolerances: Mapping[str, Tolerance] = {
        "fp32": Tolerance(0.9999, 2e-4),
        "fp16": Tolerance(0.995),
        "bf16": Tolerance(0.98),
    }
    """By precision. Measured over the seeded networks on onnxruntime 1.31, openvino 2026.4 and torch 2.13: the worst
    fp32 error is 6e-6 and the smallest fp16 one 4e-4, so 2e-4 also tells fp32 from anything less; the worst fp16 cosine
    is 0.9996, the worst bf16 one 0.9926, while answers to other inputs come as near as 0.92."""

    @abstractmethod
    def net(self) -> Any:
        """The torch module, torch being imported inside; its forward takes the inputs in `inputs` order."""

    @cached_property
    def manifest(self) -> weights.Manifest:
        return weights.Manifest.read(self.card.name)

    def model(self) -> Model:
        manifest = self.manifest
        graph = (weights.GRAPHS / f"{manifest.name}.onnx").read_bytes()
        digest = hashlib.sha256(graph + manifest.sha256.encode()).hexdigest()
        return Model(manifest.name, digest, manifest.inputs, manifest.outputs, origin=manifest.name, net=self.net)

    def golden(self) -> Golden:
        import numpy as np

        with np.load(weights.GRAPHS / f"{self.card.name}.golden.npz") as stored:
            return Golden(dict(stored), self.golden_steps)

    def tolerance(self, precision: str) -> Tolerance:
        if precision not in self.tolerances:
            known = ", ".join(self.tolerances)
            raise Unsupported(f"{self.card.name} has no tolerance for {precision}: tried are {known}")
        return self.tolerances[precision]


class Seeded(Committed):
    """A network whose weights and samples come from a seed."""

    @abstractmethod
    def inputs(self, n: int, stream: str) -> Arrays:
        """`n` samples made from generator streams whose names begin with `stream`; axis 0 is the sample axis."""

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        return Samples(self.inputs(n, f"{self.card.name}/{split}/{seed}"))

    def objective(self) -> Objective:
        """A regression of every output to targets drawn at random: its speed is real, what it learns means nothing."""
        if self.manifest.large:
            raise Unsupported(f"{self.card.name} is too large to be trained with its optimiser in one device's memory")
        targets = (replace(output, name=f"{output.name}_target") for output in self.manifest.outputs)
        return Objective("mean_squared_error", tuple(targets))

    def lessons(self, n: int, seed: int) -> Samples:
        from workloads.generator import uniform

        stream = f"{self.card.name}/training/{seed}"
        shapes = {target.name: (n, *(size or 1 for size in target.shape[1:])) for target in self.objective().targets}
        targets = {name: uniform(f"{stream}/{name}", shape) for name, shape in shapes.items()}
        return Samples(self.inputs(n, stream), targets)


class Trained(Committed):
    """A network whose weights were trained by `workloads/train.py`, on data of its own.

    The worst seen on six such networks, in onnxruntime, OpenVINO and torch on a CPU, were errors of 6e-7 in fp32,
    1.1e-3 in fp16 and 1.0e-2 in bf16. No fp16 error was below 2.9e-4: TF32 has the same mantissa, and should not pass
    for fp32.
    """

    trained = True
    tolerances = {
        "fp32": Tolerance(0.99999, 1e-4),
        "fp16": Tolerance(0.9999, 1e-2),
        "bf16": Tolerance(0.998, 5e-2),
    }
