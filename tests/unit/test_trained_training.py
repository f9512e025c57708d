"""Training itself, a few steps of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workloads import train

pytestmark = pytest.mark.torch


def _trained(name: str, seed: int = 0, steps: int = 20, batch: int = 4) -> tuple[dict[str, bytes], list[str]]:
    pytest.importorskip("torch")
    lesson, lines = train.LESSONS[name], []
    short = replace(lesson, recipe=replace(lesson.recipe, steps=steps, batch=batch))
    net = train.train(short, seed, lines.append)
    return {key: tensor.numpy().tobytes() for key, tensor in net.state_dict().items()}, lines


@pytest.mark.parametrize("name", ["digits-small", "bytelm-small"])
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    first, again, other = _trained(name)[0], _trained(name)[0], _trained(name, seed=1)[0]
    assert first == again
    assert first != other


@pytest.mark.parametrize(("name", "batch"), [("digits-small", 64), ("bytelm-small", 4)])
def test_a_few_steps_lower_the_loss(name: str, batch: int) -> None:
    _, lines = _trained(name, steps=100, batch=batch)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.2


def test_every_trained_workload_has_a_lesson() -> None:
    from workloads.rebuild import workloads

    assert set(train.LESSONS) == {name for name, workload in workloads().items() if workload.trained}
