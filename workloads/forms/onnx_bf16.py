"""The ONNX graph in bfloat16."""

from __future__ import annotations

from pathlib import Path

from workloads.contract import Model
from workloads.forms._cast import narrow


def build(model: Model) -> Path:
    """The path of an .onnx file whose inputs and outputs are those of the form "onnx", fp32 ones included."""
    return narrow(model, "onnx_bf16", "bfloat16")
