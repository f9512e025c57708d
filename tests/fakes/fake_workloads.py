"""Workloads small enough to know by heart. `Model.net` is a plain function of arrays, which the fake engines call."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.contract import (
    Bound,
    Card,
    Golden,
    Model,
    Quality,
    Samples,
    TensorSpec,
    Tolerance,
    Unsupported,
    Workload,
)

DISTINCT = 24
SPLITS = {"perf": 0, "calibration": 1, "evaluation": 2}
WEIGHTS = np.random.default_rng(7).standard_normal((6, 5))


def project(x: Any) -> dict[str, Any]:
    """x (n, 6) -> y (n, 5)"""
    return {"y": np.tanh(x @ WEIGHTS.astype(x.dtype))}


def remember(x: Any, state: Any) -> dict[str, Any]:
    """x (n, 6), state (n, 5) -> y (n, 5) and the next state (n, 5)"""
    new = np.tanh(state + x @ WEIGHTS.astype(x.dtype))
    return {"y": new * 2, "new_state": new}


class _Fake(Workload):
    steps = 1
    function: Any
    outputs: tuple[str, ...] = ("y",)

    def model(self) -> Model:
        name = self.card.name
        inputs = tuple(
            TensorSpec(key, "float32", (None, *array.shape[1:])) for key, array in self._inputs("perf", 1, 0)
        )
        outputs = tuple(TensorSpec(key, "float32", (None, 5)) for key in self.outputs)
        return Model(name, f"digest-of-{name}", inputs, outputs, name, net=lambda: type(self).function)

    def samples(self, split: str, n: int, seed: int) -> Samples:
        return Samples(dict(self._inputs(split, n, seed)))

    def _inputs(self, split: str, n: int, seed: int) -> list[tuple[str, Any]]:
        rng = np.random.default_rng((SPLITS[split], seed))
        return [("x", rng.standard_normal((n, 6)).astype(np.float32))]

    def golden(self) -> Golden:
        inputs = {key: array.astype(np.float64) for key, array in self._inputs("perf", 12, 0)}
        outputs = type(self).function(**inputs)
        for _ in range(self.steps - 1):
            outputs = type(self).function(**{**inputs, **{to: outputs[name] for name, to in self.feedback.items()}})
        return Golden(outputs, self.steps)

    def tolerance(self, precision: str) -> Tolerance:
        if precision != "fp32":
            raise Unsupported(f"{self.card.name} has no tolerance for {precision}: tried are fp32")
        return Tolerance(0.9999, 1e-4)


def _card(name: str, quality: Quality | None = None) -> Card:
    return Card(
        name=name,
        task="known answers",
        sample_unit="sample",
        flops=60,
        parameters=30,
        weight_bytes=120,
        io_bytes=44,
        distinct_inputs=DISTINCT,
        bounds=(Bound(5.0),),
        quality=quality,
        source="made up",
    )


class FakeProject(_Fake):
    """Random weights, no quality."""

    card = _card("fake-project")
    function = staticmethod(project)


class FakeGraded(_Fake):
    """Quality is the share of samples whose sign of y[0] is right; 3 of 4 labels are what the model says."""

    card = _card("fake-graded", Quality("accuracy", "share", "higher", 0.5))
    function = staticmethod(project)
    examples = 400

    def samples(self, split: str, n: int, seed: int) -> Samples:
        plain = super().samples(split, min(n, self.examples) if split == "evaluation" else n, seed)
        said = project(plain.inputs["x"])["y"][:, 0] > 0
        flipped = np.arange(len(plain)) % 4 == 0
        return Samples(plain.inputs, {"sign": said ^ flipped})

    def score(self, outputs: Any, samples: Samples) -> Any:
        return ((outputs["y"][:, 0] > 0) == samples.labels["sign"]).astype(np.float64)


class FakeMemory(_Fake):
    """An output becomes an input, three steps long, as a KV cache does."""

    card = _card("fake-memory")
    function = staticmethod(remember)
    feedback = {"new_state": "state"}
    outputs = ("y", "new_state")
    steps = 3

    def _inputs(self, split: str, n: int, seed: int) -> list[tuple[str, Any]]:
        state = np.random.default_rng((9, SPLITS[split], seed)).standard_normal((n, 5)).astype(np.float32)
        return [*super()._inputs(split, n, seed), ("state", state)]
