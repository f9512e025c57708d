"""Train the networks that techniques ship: `python -m workloads.retrain [digits-large+distill ...]`.

Needs torch, onnx and onnxscript. Writes weights, graph and manifest of each to `workloads/graphs/`. One thread and one
seed, like `workloads/train.py`. With `--seeds 3` it writes nothing, and prints what three seeds come to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from workloads import distill, pruning, train, weights
from workloads.models.bytelm import WINDOW, training_text
from workloads.models.digits import part
from workloads.nets import bytelm, digits
from workloads.nets.initial import state
from workloads.outcomes import Outcome, file_of
from workloads.train import LESSONS, Lesson, Recipe

Report = Callable[[str], object]


@dataclass(frozen=True)
class Family:
    """What techniques train on one workload.

    `net` is a module in `workloads/nets/`. `student` is the lesson whose network learns from this one's. `pruned` takes
    a network and the size that structured pruning leaves it. `tuning` is how a network learns once more after pruning.
    """

    net: str
    lesson: Lesson
    student: Lesson
    size: Any
    student_size: Any
    pruned_size: Any
    pruned: Callable[[Any, Any], Any]
    tuning: Recipe
    samples: Callable[[], int]

    def trained(self) -> Any:
        """The network that is made smaller, with its weights."""
        return self.lesson.workload.model().form("torch")


FAMILIES = {
    "digits-large": Family(
        net="digits",
        lesson=LESSONS["digits-large"],
        student=LESSONS["digits-medium"],
        size=digits.Size.of(32),
        student_size=digits.Size.of(16),
        pruned_size=digits.Size(24, 44, 44),
        pruned=pruning.smaller_digits,
        tuning=Recipe(steps=500, batch=64, rate=2e-3),
        samples=lambda: len(part("training")),
    ),
    "bytelm-large": Family(
        net="bytelm",
        lesson=LESSONS["bytelm-large"],
        student=LESSONS["bytelm-medium"],
        size=bytelm.LARGE,
        student_size=bytelm.MEDIUM,
        pruned_size=replace(bytelm.LARGE, heads=2, hidden=168),
        pruned=pruning.smaller_bytelm,
        tuning=Recipe(steps=300, batch=8, rate=2e-3),
        samples=lambda: len(training_text()) // WINDOW,
    ),
}


@dataclass(frozen=True)
class Result:
    """A trained network in eval mode, its size, and by which recipe it learnt last."""

    net: Any
    size: Any
    recipe: Recipe


def distilled(family: Family, seed: int, report: Report) -> Result:
    """The student, taught by the family's network."""
    return _student(family, distill.loss(family.trained(), family.student.answer), seed, report)


def from_scratch(family: Family, seed: int, report: Report) -> Result:
    """The same student from the same seed by as many steps on the same data, without its teacher."""
    return _student(family, train.hard(family.student.answer), seed, report)


def _student(family: Family, loss: train.Loss, seed: int, report: Report) -> Result:
    import torch

    torch.manual_seed(seed)
    lesson = family.student
    net = train.fit(lesson.workload.net(), lesson.draw, loss, lesson.recipe, seed, report)
    return Result(net, family.student_size, lesson.recipe)


def unstructured(family: Family, seed: int, report: Report, share: float, longer: int = 1) -> Result:
    """The `share` of smallest weights set to zero, little by little, while the others learn once more."""
    net = family.trained()
    recipe = replace(family.tuning, steps=longer * family.tuning.steps, rate=2 * family.tuning.rate)
    return _tuned(family, net, family.size, recipe, seed, report, pruning.Gradually(net, share, recipe.steps))


def structured(family: Family, seed: int, report: Report) -> Result:
    """Half of the parameters removed, the others learning once more."""
    net = family.pruned(family.trained(), family.pruned_size)
    recipe = replace(family.tuning, steps=2 * family.tuning.steps)
    return _tuned(family, net, family.pruned_size, recipe, seed, report, lambda: None)


def unpruned(family: Family, seed: int, report: Report) -> Result:
    """The whole network learning once more: what is owed to the further steps, and not to pruning. Never shipped."""
    return _tuned(family, family.trained(), family.size, family.tuning, seed, report, lambda: None)


def _tuned(
    family: Family, net: Any, size: Any, recipe: Recipe, seed: int, report: Report, after_step: Callable[[], object]
) -> Result:
    import torch

    torch.manual_seed(seed)
    net.requires_grad_(True)
    lesson = family.lesson
    train.fit(net, lesson.draw, train.hard(lesson.answer), recipe, seed, report, after_step)
    return Result(net, size, recipe)


TECHNIQUES: dict[str, Callable[[Family, int, Report], Result]] = {
    "distill": distilled,
    "distill-scratch": from_scratch,
    "prune-unstructured-30": partial(unstructured, share=0.3),
    "prune-unstructured-50": partial(unstructured, share=0.5),
    "prune-unstructured-90": partial(unstructured, share=0.9, longer=2),
    "prune-structured-50": structured,
}
NAMES = tuple(f"{workload}+{technique}" for workload in FAMILIES for technique in TECHNIQUES)
COMPARED = {**TECHNIQUES, "unpruned": unpruned}


def run(name: str, seed: int, report: Report) -> tuple[Any, weights.Made]:
    """The trained network of `<workload>+<technique>`, and what it took. Sets torch to one thread."""
    import torch

    torch.set_num_threads(1)
    workload, _, technique = name.partition("+")
    family, begin_s = FAMILIES[workload], time.process_time()
    result = COMPARED[technique](family, seed, report)
    made = weights.Made(
        net=family.net,
        size=asdict(result.size),
        steps=result.recipe.steps,
        batch=result.recipe.batch,
        seed=seed,
        samples=family.samples(),
        cpu_s=round(time.process_time() - begin_s, 1),
        quality=train.quality(family.lesson.workload, result.net),
    )
    return result.net, made


def retrain(name: str, seed: int = 0, report: Report = print) -> weights.Made:
    """Train one outcome and write its three files to `weights.GRAPHS`."""
    from workloads import rebuild

    net, made = run(name, seed, report)
    workload, _, technique = name.partition("+")
    tensors = {key: tensor.detach().numpy() for key, tensor in state(net).items()}
    weights.save_trained(file_of(name), tensors, weights.GRAPHS)
    rebuild.rebuild(Outcome(FAMILIES[workload].lesson.workload, technique, made), weights.GRAPHS)
    return made


def compare(name: str, seeds: int, report: Report) -> str:
    """Qualities after training with each of the seeds 0, 1, ..., their mean and its standard error; writes nothing."""
    found = [run(name, seed, report)[1].quality for seed in range(seeds)]
    error = f", standard error {stdev(found) / sqrt(seeds):.4f}" if seeds > 1 else ""
    return f"quality {' '.join(f'{value:.4f}' for value in found)}: mean {fmean(found):.4f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m workloads.retrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to train; all of it when nothing is named")
    parser.add_argument("--seeds", type=int, metavar="N", help="only compare: train with N seeds each, write nothing")
    options = parser.parse_args()
    known = [f"{workload}+{technique}" for workload in FAMILIES for technique in COMPARED] if options.seeds else NAMES
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"unknown outcome {', '.join(unknown)}; known: {', '.join(known)}")
    for name in options.names or known:
        report = partial(_say, name)
        if options.seeds:
            report(compare(name, options.seeds, report))
        else:
            made = retrain(name, report=report)
            report(f"quality {made.quality:.6f}, {made.cpu_s:.0f} CPU-seconds")


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
