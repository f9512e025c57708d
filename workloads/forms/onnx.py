"""The shared artefact itself: an ONNX file whose weights lie beside it, so that engines can map them."""

from __future__ import annotations

from pathlib import Path

from workloads.contract import Model, Unsupported
from workloads.weights import Manifest, lacking_bytes, materialise


def build(model: Model) -> Path:
    """The path of the .onnx file: a user's own where it is, ours in the cache with its weights.

    Raises Unsupported where the disk has no room for them.
    """
    if model.origin.endswith(".onnx"):
        return Path(model.origin)
    manifest = Manifest.read(model.origin)
    if short := lacking_bytes(manifest):
        raise Unsupported(
            f"the weights of {manifest.name} are a file of {manifest.bytes / 1e9:.3g} GB, and the disk lacks "
            f"{short / 1e9:.3g} GB: set ACCELMARK_CACHE to another, or use an engine that draws them on the device"
        )
    return materialise(manifest) / f"{manifest.name}.onnx"
