"""ResNet-8 of MLPerf Tiny (image classification on CIFAR-10): three residual blocks of 16, 32 and 64 channels."""

from __future__ import annotations

from typing import Any

from workloads.nets.initial import balanced, scaled


def build(classes: int = 10) -> Any:
    """(batch, 3, 32, 32) float32 -> (batch, classes) float32."""
    from torch import nn

    def conv_norm(cin: int, cout: int, stride: int, gain: float = 1.0) -> Any:
        conv = nn.Conv2d(cin, cout, 3, stride, padding=1)
        return nn.Sequential(conv if cin == 3 else balanced(conv), scaled(nn.BatchNorm2d(cout), gain))

    class Block(nn.Module):
        def __init__(self, cin: int, cout: int, stride: int) -> None:
            super().__init__()
            self.first = conv_norm(cin, cout, stride)
            self.second = conv_norm(cout, cout, 1, gain=0.5)
            self.shortcut = nn.Identity() if stride == 1 else balanced(nn.Conv2d(cin, cout, 1, stride))

        def forward(self, x: Any) -> Any:
            y = self.second(self.first(x).relu())
            return (y + self.shortcut(x)).relu()

    class ResNet8(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv_norm(3, 16, 1)
            self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
            self.fc = balanced(nn.Linear(64, classes))

        def forward(self, x: Any) -> Any:
            return self.fc(self.blocks(self.stem(x).relu()).mean((2, 3)))

    return ResNet8()
