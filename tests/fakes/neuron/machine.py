"""The engine under test on a device that is made up; where its files lie, ACCELMARK_FAKE_NEURON says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backends._host import Host
from backends.contract import Backend, Device, Presence
from backends.engines.neuron import NeuronEngine


class FakeInferentia(Backend):
    name = "fake_inferentia"

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return Presence("absent", f"{self.name} knows no target {targets[0]}", "leave --target out")
        cores = os.environ.get("ACCELMARK_FAKE_NEURON_CORES", "2")
        return Presence("present", devices=(Device(self.name, f"fake NeuronCores {cores}", {"neuron_fake": cores}),))


class FakeNeuronEngine(NeuronEngine):
    """Everything as in the real one, but for the name and the root that its files lie under."""

    name = "neuron_fake"

    def __init__(self) -> None:
        super().__init__(Host(Path(os.environ.get("ACCELMARK_FAKE_NEURON", "/"))))
