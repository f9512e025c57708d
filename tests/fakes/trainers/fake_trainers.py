"""A lesson whose loss halves with each step, an engine that takes the steps, and engines that only look as if."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends.contract import Device, Facts, Learned, Model, Placement, Plan, Session
from backends.engines._tuning import check_options
from tests.fakes.fake_engines import FakeEngine
from tests.fakes.fake_workloads import FakeProject
from workloads.contract import Objective, Samples, TensorSpec

FIRST_LOSS = 8.0
PARAMETERS = FakeProject.card.parameters


class FakeLesson(FakeProject):
    """fake-project with something to learn; its lessons are 40 samples, told by their first number."""

    card = replace(FakeProject.card, name="fake-lesson")

    def objective(self) -> Objective:
        return Objective("mean_squared_error", (TensorSpec("y_target", "float32", (None, 5)),))

    def lessons(self, n: int, seed: int) -> Samples:
        count = min(n, 40)
        inputs = np.repeat(np.arange(count, dtype=np.float32)[:, None], 6, axis=1)
        return Samples({"x": inputs}, {"y_target": np.zeros((count, 5), np.float32)})


class Trainer(Session):
    """The loss halves with each step, and all parameters are told to have moved."""

    factor = 0.5
    told = Learned(PARAMETERS, PARAMETERS, PARAMETERS)

    def __init__(self, plan: Plan) -> None:
        assert plan.mode == "train"
        settings = {"precision": plan.precision, "threads": 1}
        self.facts = Facts(settings, Placement("Fake 1", 1.0, "it says so"), 500, 1_000, 2_000)
        self.loss, self.seen = FIRST_LOSS, []

    def run(self, values: Any) -> Any:
        assert sorted(values) == ["x", "y_target"]
        self.seen.append(int(values["x"][0, 0]))
        before, self.loss = self.loss, self.loss * self.factor
        return {"loss": np.array([before], np.float32)}

    def learned(self) -> Learned:
        return self.told

    def device_peak_bytes(self) -> int | None:
        return 4096


class OnlyForward(Trainer):
    factor = 1.0
    told = Learned(PARAMETERS, 0, 0)


class Frozen(Trainer):
    """It goes backward, and throws the gradients away."""

    factor = 1.0
    told = Learned(PARAMETERS, PARAMETERS, 0)


class HeadOnly(Trainer):
    told = Learned(5, 5, 5)


class Diverging(Trainer):
    factor = float("nan")


class Silent(Trainer):
    def learned(self) -> Learned:
        return Session.learned(self)


class FakeTrainer(FakeEngine):
    name = "fake-trainer"
    session = Trainer

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        made: Session = self.session(plan)
        return made


class FakeAnswers(FakeEngine):
    """As most engines, it asks `check_options`."""

    name = "fake-answers"

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        check_options(self.name, plan, ())
        return super().compile(model, plan, device)


class FakeOnlyForward(FakeTrainer):
    name = "fake-only-forward"
    session = OnlyForward


class FakeFrozen(FakeTrainer):
    name = "fake-frozen"
    session = Frozen


class FakeHeadOnly(FakeTrainer):
    name = "fake-head-only"
    session = HeadOnly


class FakeDiverging(FakeTrainer):
    name = "fake-diverging"
    session = Diverging


class FakeSilent(FakeTrainer):
    name = "fake-silent"
    session = Silent
