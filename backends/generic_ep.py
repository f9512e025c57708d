"""Any execution provider of ONNX Runtime, without a line of code: `--target ep:openvino?device_type=NPU`."""

from __future__ import annotations

from collections.abc import Sequence

from backends import _providers
from backends.contract import Backend, Device, Presence

REMEDY = f"name one: --target '{_providers.SYNTAX}', as in --target 'ep:openvino?device_type=NPU'"


class GenericEpBackend(Backend):
    """What the targets name, taken at its word: whether this build has the provider, only onnxruntime itself knows."""

    name = "generic_ep"
    family = "asic"
    scheme = _providers.SCHEME

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if not targets:
            return Presence("absent", "no execution provider was named", REMEDY)
        try:
            providers = [_providers.parse(target) for target in targets]
        except ValueError as error:
            return Presence("no_such_target", str(error), REMEDY)
        devices = {one.title: Device(self.name, one.title, {"onnxruntime": one.text}) for one in providers}
        return Presence("present", devices=tuple(devices.values()))
