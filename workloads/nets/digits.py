"""Small convolutional networks for 8x8 images: one shape, three widths."""

from __future__ import annotations

from typing import Any


def build(width: int) -> Any:
    """x (batch, 1, 8, 8) float32 in 0..1 -> logits (batch, 10) float32; `width` is the first layer's channel count."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 2 * 2, 10),
    )
