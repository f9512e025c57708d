"""ResNet-50 v1.5 (He et al. 2015; the stride in the 3x3 convolution, as MLPerf Inference uses it)."""

from __future__ import annotations

from typing import Any

from workloads.nets.initial import balanced, scaled

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Bottleneck channels, blocks and first stride of each stage."""


def build(classes: int = 1000) -> Any:
    """(batch, 3, 224, 224) float32 -> (batch, classes) float32."""
    from torch import nn

    def conv_norm(cin: int, cout: int, kernel: int, stride: int = 1, gain: float = 1.0) -> Any:
        conv = nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, bias=False)
        return nn.Sequential(conv if cin == 3 else balanced(conv), scaled(nn.BatchNorm2d(cout), gain))

    class Bottleneck(nn.Module):
        def __init__(self, cin: int, mid: int, stride: int) -> None:
            super().__init__()
            self.reduce = conv_norm(cin, mid, 1)
            self.filter = conv_norm(mid, mid, 3, stride)
            self.expand = conv_norm(mid, 4 * mid, 1, gain=0.3)
            same = stride == 1 and cin == 4 * mid
            self.shortcut = nn.Identity() if same else conv_norm(cin, 4 * mid, 1, stride)

        def forward(self, x: Any) -> Any:
            y = self.filter(self.reduce(x).relu()).relu()
            return (self.expand(y) + self.shortcut(x)).relu()

    class ResNet50(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
            blocks, channels = [], 64
            for mid, count, stride in STAGES:
                for index in range(count):
                    blocks.append(Bottleneck(channels, mid, stride if index == 0 else 1))
                    channels = 4 * mid
            self.blocks = nn.Sequential(*blocks)
            self.fc = balanced(nn.Linear(channels, classes))

        def forward(self, x: Any) -> Any:
            return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

    return ResNet50()
