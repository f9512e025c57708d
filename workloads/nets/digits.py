"""Small convolutional networks for 8x8 images: one shape, three widths, and what pruning leaves of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """Channels of the three convolutions."""

    first: int
    second: int
    third: int

    @classmethod
    def of(cls, width: int) -> Size:
        return cls(width, 2 * width, 2 * width)


def build(size: Size) -> Any:
    """x (batch, 1, 8, 8) float32 in 0..1 -> logits (batch, 10) float32."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, size.first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(size.first, size.second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(size.second, size.third, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(size.third * 2 * 2, 10),
    )
