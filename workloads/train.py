"""Train the networks whose weights are committed: `python -m workloads.train digits-small bytelm-large ...`.

Needs torch. One thread and one seed, so the same machine and torch give the same weights again; another processor adds
in another order and ends nearby. Afterwards `python -m workloads.rebuild NAME` renews the manifest and golden outputs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from workloads import weights
from workloads.models import bytelm, digits
from workloads.nets.initial import state
from workloads.seeded import Trained

Draw = Callable[[Any, int], tuple[Any, Any]]
"""(torch generator, batch) -> (inputs, targets)"""
Answer = Callable[[Any, Any], Any]
"""(net, inputs) -> logits (..., classes) of everything that is learnt from"""
Loss = Callable[[Any, Any, Any], Any]
"""(net, inputs, targets) -> the mean loss of a batch"""


@dataclass(frozen=True)
class Recipe:
    """AdamW with a one-cycle rate (Smith, Topin 2017): up to `rate` in the first tenth of the steps, then a cosine."""

    steps: int
    batch: int
    rate: float
    decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_norm_max: float = 1.0


@dataclass(frozen=True)
class Lesson:
    """What a network learns from, and how."""

    workload: Trained
    draw: Draw
    answer: Answer
    recipe: Recipe


def train(lesson: Lesson, seed: int = 0, report: Callable[[str], object] = print) -> Any:
    """A new network of the lesson's workload, trained, in eval mode. Sets torch to one thread."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return fit(lesson.workload.net(), lesson.draw, hard(lesson.answer), lesson.recipe, seed, report)


def fit(
    net: Any,
    draw: Draw,
    loss: Loss,
    recipe: Recipe,
    seed: int,
    report: Callable[[str], object] = print,
    after_step: Callable[[], object] = lambda: None,
) -> Any:
    """`net`, trained in place; `report` gets a line after every tenth of the steps."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, recipe.betas, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.1)
    net.train()
    begin_s, total = time.process_time(), 0.0
    every = max(recipe.steps // 10, 1)
    for step in range(1, recipe.steps + 1):
        value = loss(net, *draw(generator, recipe.batch))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.gradient_norm_max)
        optimiser.step()
        after_step()
        schedule.step()
        total += value.item()
        if step % every == 0:
            spent_s = time.process_time() - begin_s
            report(f"step {step} of {recipe.steps}: loss {total / every:.4f}, {spent_s:.0f} CPU-seconds")
            total = 0.0
    return net.eval()


def draw_digits(generator: Any, batch: int) -> tuple[Any, Any]:
    """Training images, each a little turned, sized and shifted, as hands differ, and their labels."""
    import torch
    from torch.nn import functional

    samples = digits.part("training")
    rows = torch.randint(len(samples), (batch,), generator=generator)
    images = torch.from_numpy(samples.inputs["x"])[rows]
    spread = torch.tensor([0.2, 0.15, 0.25, 0.25])
    turn, scale, across, down = ((torch.rand(batch, 4, generator=generator) * 2 - 1) * spread).T
    cos, sin = (1 + scale) * turn.cos(), (1 + scale) * turn.sin()
    maps = torch.stack((cos, -sin, across, sin, cos, down), dim=1).reshape(batch, 2, 3)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    labels = torch.from_numpy(samples.labels["label"])[rows].long()
    return functional.grid_sample(images, grid, align_corners=False), labels


def draw_text(generator: Any, batch: int) -> tuple[Any, Any]:
    """Windows of the training text, and the byte after each of their positions."""
    import torch

    text = torch.from_numpy(bytelm.training_text().copy())
    starts = torch.randint(len(text) - bytelm.WINDOW + 1, (batch, 1), generator=generator)
    windows = text[starts + torch.arange(bytelm.WINDOW)].int()
    return windows[:, :-1], windows[:, 1:].long()


def of_images(net: Any, images: Any) -> Any:
    return net(images)


def of_text(net: Any, text: Any) -> Any:
    """Of every position, not only of the scored ones."""
    return net(text, text.shape[1])


def cross_entropy(logits: Any, targets: Any) -> Any:
    """The mean over samples, and over their positions where they have several."""
    from torch.nn import functional

    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def hard(answer: Answer) -> Loss:
    """Learn from the targets alone."""
    return lambda net, inputs, targets: cross_entropy(answer(net, inputs), targets)


LESSONS = {
    lesson.workload.card.name: lesson
    for lesson in (
        *(
            Lesson(workload, draw_digits, of_images, Recipe(steps=1500, batch=64, rate=6e-3))
            for workload in (digits.DigitsSmall(), digits.DigitsMedium(), digits.DigitsLarge())
        ),
        Lesson(bytelm.ByteLMSmall(), draw_text, of_text, Recipe(steps=2400, batch=8, rate=2e-2)),
        Lesson(bytelm.ByteLMMedium(), draw_text, of_text, Recipe(steps=1500, batch=8, rate=1.2e-2)),
        Lesson(bytelm.ByteLMLarge(), draw_text, of_text, Recipe(steps=1800, batch=8, rate=6e-3)),
    )
}


def quality(workload: Trained, net: Any) -> float:
    """The card's metric of `net` on all evaluation samples."""
    import torch

    samples = workload.samples("evaluation", 1000, 0)
    with torch.inference_mode():
        answers = net(*(torch.from_numpy(array) for array in samples.inputs.values()))
    return workload.quality_value(workload.score({"logits": answers.numpy()}, samples))


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m workloads.train", description="Train and save weights.")
    parser.add_argument("names", nargs="+", choices=LESSONS, metavar="NAME", help=", ".join(LESSONS))
    for name in parser.parse_args().names:
        lesson = LESSONS[name]
        net = train(lesson, report=partial(_say, name))
        path = weights.save_trained(
            f"{name}.{weights.FILE_NAME}", {key: tensor.numpy() for key, tensor in state(net).items()}
        )
        _say(name, f"quality {quality(lesson.workload, net):.6f} on the evaluation samples, saved {path.name}")


if __name__ == "__main__":
    main()
