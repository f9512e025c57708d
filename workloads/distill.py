"""Distillation: a small network learns from a large one's answers (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

Needs torch. What it buys over training from scratch: `python -m workloads.retrain --seeds 3 digits-large+distill
digits-large+distill-scratch`.
"""

from __future__ import annotations

from typing import Any

from workloads.train import Answer, Loss, cross_entropy

TEMPERATURE = 3.0
SOFT = 0.7
"""The published guide's own defaults: 0.7 of the loss is the teacher's answers, 0.3 the labels."""


def divergence(student: Any, teacher: Any, temperature: float) -> Any:
    """Kullback-Leibler divergence of the student's softened answer from the teacher's, times temperature squared.

    Logits are (samples, ..., classes). It is summed over the classes of one answer and averaged over answers: every
    position of every sample is one. Hinton et al. 2015, section 2, say why the square: it keeps the gradients' size.

    `KLDivLoss(reduction="batchmean")` divides by samples alone, so that 256 positions weigh 256 times too much, and
    "mean" divides by the classes as well.
    """
    from torch.nn import functional

    log_student, log_teacher = ((logits / temperature).log_softmax(-1) for logits in (student, teacher))
    apart = functional.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)
    return apart.mean() * temperature**2


def loss(teacher: Any, answer: Answer, temperature: float = TEMPERATURE, soft: float = SOFT) -> Loss:
    """Learn from `teacher`, a network in eval mode, and from the targets."""
    import torch

    def mixed(net: Any, inputs: Any, targets: Any) -> Any:
        logits = answer(net, inputs)
        with torch.no_grad():
            known = answer(teacher, inputs)
        return soft * divergence(logits, known, temperature) + (1 - soft) * cross_entropy(logits, targets)

    return mixed
