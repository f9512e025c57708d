"""The shared artefact itself: an ONNX file whose weights lie beside it, so that engines can map them."""

from __future__ import annotations

from pathlib import Path

from workloads.contract import Model
from workloads.weights import Manifest, materialise


def build(model: Model) -> Path:
    """The path of the .onnx file: a user's own where it is, ours in the cache with its weights."""
    if model.origin.endswith(".onnx"):
        return Path(model.origin)
    manifest = Manifest.read(model.origin)
    return materialise(manifest) / f"{manifest.name}.onnx"
