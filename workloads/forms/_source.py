"""The ONNX graph that a lowering starts from. Builds no form itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.contract import Unsupported
from workloads.onnxfile import PROTOBUF_MAX_BYTES

OPSETS = range(13, 29)
"""Versions of ONNX' operator set. Before 13, Softmax means something else, and sizes are attributes that are inputs
since; of 28, the newest in November 2026, every official test case of the form jax passes or is refused."""
DOMAINS = ("", "ai.onnx")


def check_opset(proto: Any) -> None:
    """Raises Unsupported for an operator set that the lowerings to other formats do not know."""
    version = next((one.version for one in proto.opset_import if one.domain in DOMAINS), 0)
    if version not in OPSETS:
        known = f"{OPSETS[0]} to {OPSETS[-1]}"
        raise Unsupported(f"opset {version} is none of {known}: convert it with onnx.version_converter")


def whole(path: Path, form: str) -> Any:
    """The onnx.ModelProto with its weights; Unsupported, before they are read, where no single file could hold them.

    A FlatBuffer ends where a message of protobuf does.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in proto.graph.initializer]
    files = {place["location"] for place in places if place}
    size_bytes = proto.ByteSize() + sum((path.parent / name).stat().st_size for name in files)
    if size_bytes > PROTOBUF_MAX_BYTES:
        raise Unsupported(f"{path.stem} is {size_bytes / 1e9:.3g} GB, and form {form} is one file of less than 2.15 GB")
    onnx.load_external_data_for_model(proto, str(path.parent))
    return proto
