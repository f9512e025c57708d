"""The weights of a committed network, for engines that make the network itself in torch and read no graph."""

from __future__ import annotations

from pathlib import Path

from workloads.contract import Model
from workloads.weights import FILE_NAME, GRAPHS, Manifest, materialise


def build(model: Model) -> Path:
    """The file that holds them; of a network whose weights are drawn on the device, the manifest that says how."""
    if model.origin.endswith(".onnx"):
        return Path(model.origin)
    manifest = Manifest.read(model.origin)
    return GRAPHS / f"{manifest.name}.json" if manifest.large else materialise(manifest) / FILE_NAME
