"""Cores of this process: the environment is read when the runtime is first used, and never again."""

from __future__ import annotations

import os
from functools import cache

PRESENT = 2


@cache
def cores() -> int:
    asked = int(os.environ.get("NEURON_RT_NUM_CORES", str(PRESENT)))
    if not 1 <= asked <= PRESENT:
        raise RuntimeError(f"NRT: {asked} NeuronCores were asked for and {PRESENT} are here")
    return asked
