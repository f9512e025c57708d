"""NVIDIA GPUs, found through the kernel driver's own files.

Their layout: the chapter "/proc Filesystem Interface" in the README of NVIDIA's Linux driver.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backends._host import HOST, Host, distinct, no_targets
from backends._nvml import NvmlError, gpu
from backends.contract import Backend, Device, DeviceState, Presence

DISPLAY = "03"
"""First digits of the PCI class of GPUs (0300 VGA, 0302 3D controller); other functions of a card are sound and USB."""
DRIVER = "install NVIDIA's driver and load it: modprobe nvidia"
CONTAINER = "in a container: start it with --gpus all; on a host: nvidia-modprobe -c 0"


class CudaBackend(Backend):
    """GPUs that the NVIDIA driver lists and this process may open, one device for each model of GPU."""

    name = "cuda"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if targets:
            return no_targets(self.name, targets)
        if self._host.text("proc/driver/nvidia/version") is None:
            return self._without_driver()
        if not (gpus := self._host.glob("proc/driver/nvidia/gpus/*")):
            return Presence("broken", "NVIDIA's driver is loaded and lists no GPU", "see dmesg, then nvidia-smi")
        return self._with_gpus(gpus)

    def state(self, device: Device) -> DeviceState:
        """As NVML tells it."""
        try:
            return gpu(device).state(self._host)
        except NvmlError as error:
            return DeviceState.unknown(str(error))

    def _without_driver(self) -> Presence:
        cards = [card for card in self._host.pci("10de") if card.class_code.startswith(DISPLAY)]
        if not cards:
            reason = "no NVIDIA GPU: looked for /proc/driver/nvidia and PCI vendor 10de"
            return Presence("absent", reason, "run on a machine with an NVIDIA GPU")
        card = cards[0]
        if card.driver == "vfio-pci":
            reason = f"NVIDIA GPU {card.address} is reserved for virtual machines (vfio-pci)"
            return Presence("absent", reason, "run inside the virtual machine that has it")
        bound = f"driven by {card.driver}" if card.driver else "without a driver"
        return Presence("broken", f"NVIDIA GPU {card.address} is {bound}, and CUDA needs NVIDIA's", DRIVER)

    def _with_gpus(self, gpus: Sequence[Path]) -> Presence:
        nodes = {node: self._information(gpu).get("Model", "NVIDIA GPU") for gpu in gpus if (node := self._node(gpu))}
        control = self._host.root / "dev/nvidiactl"
        if not nodes or not self._host.exists(control):
            reason = f"NVIDIA's driver lists {len(gpus)} GPU and /dev/nvidia0 or /dev/nvidiactl is not there"
            return Presence("broken", reason, CONTAINER)
        if denied := self._host.denied([control, *nodes]):
            reason = f"this user may not open /{denied[0].relative_to(self._host.root)}"
            return Presence("no_permission", reason, f"let this user read and write it: ls -l /dev/{denied[0].name}")
        if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
            return Presence("absent", "CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
        return Presence("present", devices=distinct(self._device(i, model) for i, model in enumerate(nodes.values())))

    def _device(self, index: int, model: str) -> Device:
        address = {"onnxruntime": f"CUDAExecutionProvider:{index}", "torch": f"cuda:{index}"}
        return Device(self.name, model, address)

    def _node(self, gpu: Path) -> Path | None:
        """The device node of a GPU, which a container need not have been given."""
        node = self._host.root / f"dev/nvidia{self._information(gpu).get('Device Minor', '')}"
        return node if node.name != "nvidia" and self._host.exists(node) else None

    def _information(self, gpu: Path) -> dict[str, str]:
        lines = (self._host.within(gpu, "information") or "").splitlines()
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
