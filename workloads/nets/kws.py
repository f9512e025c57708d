"""DS-CNN of MLPerf Tiny (keyword spotting on Speech Commands; Zhang et al. 2017, "Hello Edge")."""

from __future__ import annotations

from typing import Any

from workloads.nets.initial import balanced


def build(classes: int = 12, channels: int = 64) -> Any:
    """mfcc (batch, 1, 49 frames, 10 coefficients) float32 -> (batch, classes) float32."""
    from torch import nn

    def normed(conv: Any) -> Any:
        return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())

    class DSCNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pad = nn.ZeroPad2d((1, 1, 4, 5))  # what TensorFlow's "same" comes to for this size and stride
            self.stem = normed(nn.Conv2d(1, channels, (10, 4), 2))
            layers = []
            for _ in range(4):
                layers.append(normed(nn.Conv2d(channels, channels, 3, padding=1, groups=channels)))
                layers.append(normed(balanced(nn.Conv2d(channels, channels, 1))))
            self.blocks = nn.Sequential(*layers)
            self.fc = balanced(nn.Linear(channels, classes))

        def forward(self, mfcc: Any) -> Any:
            return self.fc(self.blocks(self.stem(self.pad(mfcc))).mean((2, 3)))

    return DSCNN()
