"""The dense autoencoder of MLPerf Tiny (anomaly detection on ToyADMOS, after DCASE 2020 task 2)."""

from __future__ import annotations

from typing import Any

from workloads.nets.initial import balanced

INPUT = 640
WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)


def build() -> Any:
    """spectrogram (batch, 640) float32, five frames of 128 mel bands -> its reconstruction, the same shape."""
    from torch import nn

    layers: list[Any] = []
    cin = INPUT
    for cout in WIDTHS:
        layers += [balanced(nn.Linear(cin, cout)), nn.BatchNorm1d(cout), nn.ReLU()]
        cin = cout
    return nn.Sequential(*layers, balanced(nn.Linear(cin, INPUT)))
