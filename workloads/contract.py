"""What is computed: the words every workload and every lowering share.

One rule runs through the whole room: **axis 0 of every input and output array is the sample axis**. A batch is a slice
of that axis, so nothing outside a workload needs to know what its tensors mean.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Arrays = Mapping[str, Array]
else:  # numpy is not imported to collect cases
    Array = Any
    Arrays = Mapping

Split = Literal["perf", "calibration", "evaluation"]
Role = Literal["model", "ceiling_flops", "ceiling_bytes"]


class Unsupported(Exception):  # noqa: N818 - an answer, not an error
    """An answer, not a fault: this combination cannot be run, and the message says why."""


@dataclass(frozen=True)
class Bound:
    """A latency promise: `percentile` % of the samples answer within `latency_ms` milliseconds."""

    latency_ms: float
    percentile: float = 99.0


@dataclass(frozen=True)
class Quality:
    """How answers are graded. `floor` is the worst value at which a result still counts; None: no floor."""

    metric: str
    unit: str
    better: Literal["higher", "lower"]
    floor: float | None = None


@dataclass(frozen=True)
class Card:
    """The workload in numbers; every record carries a copy of it.

    `flops` counts a multiply-add as two operations, for one sample; None: some operator cannot be counted.
    `weight_bytes` are the weights in fp32, `io_bytes` the inputs plus outputs of one sample. `distinct_inputs` samples
    rotate through a measurement. A role other than "model" marks a probe of the machine's own ceilings, drawn as roofs
    and never ranked.
    """

    name: str
    task: str
    sample_unit: str
    flops: int | None
    parameters: int
    weight_bytes: int
    io_bytes: int
    distinct_inputs: int
    bounds: tuple[Bound, ...]
    quality: Quality | None
    source: str
    role: Role = "model"


@dataclass(frozen=True)
class Samples:
    """`inputs` feed the model, `labels` grade it; all arrays share the length of axis 0."""

    inputs: Arrays
    labels: Arrays = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, rows: Sequence[int] | slice) -> Samples:
        """The same samples at `rows` only."""
        return Samples(
            {name: array[rows] for name, array in self.inputs.items()},
            {name: array[rows] for name, array in self.labels.items()},
        )


@dataclass(frozen=True)
class Golden:
    """Outputs computed in float64 for the first rows of `samples("perf", seed=0)`, as (n, ...) arrays.

    `steps` runs were made per sample, each fed the previous one's outputs along the workload's `feedback`. An output
    that would be too large to keep (a KV cache) is left out.
    """

    outputs: Arrays
    steps: int = 1


@dataclass(frozen=True)
class Tolerance:
    """What an output may differ from golden and still be right.

    Outputs are centred by the mean golden output first: on networks with random weights plain cosine is blind.
    `centred_cosine_min` bounds each sample's cosine with its own golden; `relative_error_max` bounds
    max|error| / max|golden| (None: not bounded, the precision cannot promise it).
    """

    centred_cosine_min: float
    relative_error_max: float | None = None


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` has None where a size is free; axis 0 is always the free sample axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Model:
    """One network with its weights. `digest` names its content, `recipe` the techniques that made it.

    `origin` is what the lowerings in `workloads/forms/` start from: the stem of a graph in `workloads/graphs/`, or the
    path of a user's own ONNX file. `net` builds the same network as a torch module (torch is imported inside).
    `calibration` gives n samples to a lowering that quantises. `given` are forms that lie ready as files, by name: what
    was made on another machine takes the place of a lowering.
    """

    name: str
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    origin: str
    precision: str = "fp32"
    recipe: tuple[str, ...] = ()
    net: Callable[[], Any] | None = field(default=None, compare=False, repr=False)
    calibration: Callable[[int], Samples] | None = field(default=None, compare=False, repr=False)
    given: Mapping[str, Path] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _forms(self) -> dict[str, Any]:
        return {}

    def form(self, name: str) -> Any:
        """This model as `name` ("onnx": path of a file; "torch": a module), made once; raises Unsupported."""
        if name in self.given:
            return self.given[name]
        if name not in self._forms:
            try:
                lowering = importlib.import_module(f"workloads.forms.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"workloads.forms.{name}":
                    raise Unsupported(f"form {name} needs the package {error.name}") from error
                raise Unsupported(f"no lowering to {name}: add workloads/forms/{name}.py") from error
            self._forms[name] = lowering.build(self)
        return self._forms[name]


class Workload(ABC):
    """A thing worth computing. One file in `workloads/models/` is one workload, or one family of them."""

    card: Card
    feedback: Mapping[str, str] = {}
    """Output name to the input it becomes on the next run (a KV cache); usually empty."""
    by_default: bool = True
    """False for a workload that is only measured when `--workload` names it, as it is too large for most machines."""

    @abstractmethod
    def model(self) -> Model:
        """The network in fp32."""

    def calibrated(self) -> Model:
        """`model()` with samples of the calibration split, as a lowering that quantises needs them."""
        return replace(self.model(), calibration=lambda n: self.samples("calibration", n, 0))

    @abstractmethod
    def samples(self, split: Split, n: int, seed: int) -> Samples:
        """`n` samples, the same ones for the same arguments on every machine. Splits share no sample."""

    @abstractmethod
    def golden(self) -> Golden:
        """The right outputs, at least 12 of them."""

    @abstractmethod
    def tolerance(self, precision: str) -> Tolerance:
        """How near to golden an output of `precision` has to be; raises Unsupported for one that was never tried."""

    def score(self, outputs: Arrays, samples: Samples) -> Array:
        """Grade per example, shape (n,) float64, whose mean feeds the card's quality metric."""
        raise Unsupported(f"{self.card.name} has random weights: quality is not measurable")

    def quality_value(self, scores: Array) -> float:
        """The card's metric from the per-example scores; the mean unless the metric says otherwise."""
        return float(scores.mean())
