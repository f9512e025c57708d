"""MobileNetV2 (Sandler et al. 2018, table 2): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from typing import Any

from workloads.nets.initial import scaled

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion factor, channels, blocks and first stride of each stage."""


def build(classes: int = 1000) -> Any:
    """(batch, 3, 224, 224) float32 -> (batch, classes) float32."""
    from torch import nn

    def conv_norm(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
        conv = nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU6())

    class Inverted(nn.Module):
        def __init__(self, cin: int, cout: int, stride: int, expansion: int) -> None:
            super().__init__()
            mid = cin * expansion
            self.residual = stride == 1 and cin == cout
            self.expand = nn.Identity() if expansion == 1 else conv_norm(cin, mid, 1)
            self.filter = conv_norm(mid, mid, 3, stride, groups=mid)
            norm = scaled(nn.BatchNorm2d(cout), 0.2 if self.residual else 1.0)
            self.project = nn.Sequential(nn.Conv2d(mid, cout, 1, bias=False), norm)

        def forward(self, x: Any) -> Any:
            y = self.project(self.filter(self.expand(x)))
            return x + y if self.residual else y

    class MobileNetV2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks, channels = [], 32
            for expansion, cout, count, stride in STAGES:
                for index in range(count):
                    blocks.append(Inverted(channels, cout, stride if index == 0 else 1, expansion))
                    channels = cout
            self.stem = conv_norm(3, 32, 3, 2)
            self.blocks = nn.Sequential(*blocks)
            self.head = conv_norm(channels, 1280, 1)
            self.fc = nn.Linear(1280, classes)

        def forward(self, x: Any) -> Any:
            return self.fc(self.head(self.blocks(self.stem(x))).mean((2, 3)))

    return MobileNetV2()
