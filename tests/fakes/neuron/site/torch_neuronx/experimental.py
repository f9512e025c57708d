"""Placement of modules on cores (beta)."""

from __future__ import annotations

from typing import Any

import torch

from torch_neuronx import runtime


def set_multicore(trace: Any) -> None:
    """Copies the module to every core; runs go to each in turn."""
    if not isinstance(trace, torch.jit.ScriptModule):
        raise TypeError("trace is not a ScriptModule that torch_neuronx.trace made")
    runtime.cores()
