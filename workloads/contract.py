"""What is computed: the words every workload and every lowering share.

One rule runs through the whole room: **axis 0 of every input and output array is the sample axis**. A batch is a slice
of that axis, so nothing outside a workload needs to know what its tensors mean.
"""

from __future__ import annotations

import hashlib
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
Stage = Literal["network", "graph", "file", "engine"]
STAGES: tuple[Stage, ...] = ("network", "graph", "file", "engine")
"""The order in which techniques are applied, whatever the order in which they are named."""


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
class Evaluation:
    """A metric of a user's own (`--eval`): samples, and how to grade answers to them.

    `score` takes outputs and labels by name, of any n of the samples in their order, and gives each one's grade, (n,).
    The metric is the grades' mean.
    """

    inputs: Arrays
    labels: Arrays
    score: Callable[[Arrays, Arrays], Array]
    quality: Quality


@dataclass(frozen=True)
class Golden:
    """Outputs computed in float64 for the first rows of `samples("perf", seed=0)`, as (n, ...) arrays.

    What a technique made another function of has its own, computed in fp32 without graph optimisations.

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
class Training:
    """What training cost that went into a network: processor seconds on one core, and how many samples there were."""

    cpu_s: float
    samples: int


@dataclass(frozen=True)
class Objective:
    """What a step of training makes smaller: the mean `loss` between what a network returns and the `targets`.

    cross_entropy: targets are numbers of classes, which the last axis of the one output has. mean_squared_error: as
    many targets as outputs, of their shapes. `arguments` go to the network behind its inputs, where training asks more
    of it than measuring does.
    """

    loss: Literal["cross_entropy", "mean_squared_error"]
    targets: tuple[TensorSpec, ...]
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True)
class Model:
    """One network with its weights. `digest` names its content, `recipe` the techniques that made it.

    `origin` is what the lowerings in `workloads/forms/` start from: the stem of a graph in `workloads/graphs/`, or the
    path of a user's own ONNX file. `net` builds the same network as a torch module (torch is imported inside).
    `calibration` gives n samples to a lowering that quantises: of the calibration split, whatever else there may be.
    `given` are forms that lie ready as files, by name: what was made on another machine takes the place of a lowering.
    `made` are forms that a technique makes in place of a lowering, by name; every other form is lowered from `origin`.
    `training` is what a technique's own training took; None: it trained nothing. `objective` is what steps of training
    are timed on (`--mode train`); None: it only answers. `steps` are what somebody had to do to make it.
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
    made: Mapping[str, Callable[[], Any]] = field(default_factory=dict, compare=False, repr=False)
    training: Training | None = None
    steps: tuple[str, ...] = ()
    objective: Objective | None = field(default=None, compare=False, repr=False)

    def treated(self, technique: str, version: int = 1, **changes: Any) -> Model:
        """What a technique makes of this model: `changes`, under a digest of its own.

        `version` goes up with every change of what the technique does, as files are kept between runs. Where anything
        changes, forms that were given or made for the model before are none of the outcome's.
        """
        digest = hashlib.sha256(f"{self.digest} {technique} {version}".encode()).hexdigest()
        stale: dict[str, Any] = {"given": {}, "made": {}} if changes else {}
        return replace(self, digest=digest, recipe=(*self.recipe, technique), **{**stale, **changes})

    @cached_property
    def _forms(self) -> dict[str, Any]:
        return {}

    def form(self, name: str) -> Any:
        """This model as `name` ("onnx": path of a file; "torch": a module), made once; raises Unsupported."""
        if name in self.given:
            return self.given[name]
        if name not in self._forms:
            self._forms[name] = self.made[name]() if name in self.made else self._lowered(name)
        return self._forms[name]

    def _lowered(self, name: str) -> Any:
        try:
            lowering = importlib.import_module(f"workloads.forms.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"workloads.forms.{name}":
                raise Unsupported(f"form {name} needs the package {error.name}") from error
            raise Unsupported(f"no lowering to {name}: add workloads/forms/{name}.py") from error
        return lowering.build(self)


class Workload(ABC):
    """A thing worth computing. One file in `workloads/models/` is one workload, or one family of them."""

    card: Card
    feedback: Mapping[str, str] = {}
    """Output name to the input it becomes on the next run (a KV cache); usually empty."""
    by_default: bool = True
    """False for a workload that is only measured when `--workload` names it, as it is too large for most machines."""
    subject: bool = False
    """Whether `--technique=all` tries techniques on it where no `--workload` is named."""
    technique_batch: int = 1
    """Samples of a query where techniques are compared and no `--batch` is given: enough to be timed."""

    @abstractmethod
    def model(self) -> Model:
        """The network in fp32."""

    def calibrated(self) -> Model:
        """`model()` with samples of the calibration split, as a lowering that quantises needs them."""
        return replace(self.model(), calibration=lambda n: self.samples("calibration", n, 0))

    @abstractmethod
    def samples(self, split: Split, n: int, seed: int) -> Samples:
        """`n` samples, the same ones for the same arguments on every machine. Splits share no sample."""

    def objective(self) -> Objective:
        """What training makes smaller; raises Unsupported."""
        raise Unsupported(f"{self.card.name} brings nothing to train on: it is only asked for answers")

    def lessons(self, n: int, seed: int) -> Samples:
        """At most `n` samples to train on, which no other split shares; `labels` are the objective's targets."""
        raise Unsupported(f"{self.card.name} brings nothing to train on: it is only asked for answers")

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


class Technique(ABC):
    """Turns a model into a cheaper one. One file in `workloads/techniques/` is one technique, or one family of them.

    Techniques are joined by a plus (`prune-structured-50+int8-static`) and applied by `stage`: "network" makes another
    network or other weights, "graph" another graph (quantised, mostly), "file" stores it otherwise, "engine" asks the
    engine for something by `wish`. `precision` is what the outcome computes in, "" where that stays as it is asked for.

    `steps` are what somebody has to do beyond running fp32, in a few words each: their number is its complexity.
    `own_outputs`: the outcome is another function, whose right outputs are not fp32's. `recipe` are the techniques that
    it merely stands for. A `control` is measured to compare with, and never recommended.
    """

    name: str
    stage: Stage
    precision: str = ""
    steps: tuple[str, ...] = ()
    own_outputs: bool = False
    wish: str = ""
    recipe: tuple[str, ...] = ()
    control: bool = False

    def suits(self, workload: Workload) -> bool:
        """Whether `--technique=all` tries it on this workload; one that is named is tried on any."""
        return True

    def taken(self, outcome: Model) -> tuple[str, ...]:
        """Which of the steps were taken to make `outcome`."""
        return self.steps

    def treat(self, model: Model) -> Model:
        """The outcome; raises Unsupported, in one line, for a model that it cannot be applied to."""
        return model.treated(self.name)


class Packing(Technique):
    """A technique of stage "file": it stores what an engine starts from otherwise, and gives it back unchanged."""

    stage = "file"
    version: int = 1
    """Goes up with every change of what `pack` writes, as files are kept between runs."""

    @abstractmethod
    def pack(self, path: Path, to: Path) -> None:
        """Write the file or folder at `path` to the file `to`."""

    @abstractmethod
    def unpack(self, path: Path, folder: Path) -> Path:
        """Write what `pack` stored at `path` into `folder`; the path of the artefact there."""
