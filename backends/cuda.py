"""NVIDIA GPUs and their MIG slices, found through the kernel driver's own files.

Their layout: the chapter "/proc Filesystem Interface" in the README of NVIDIA's Linux driver. Which of them CUDA shows,
and in which order: "CUDA Environment Variables" in the CUDA programming guide, and the MIG user guide.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends._host import HOST, Host, distinct
from backends._nvml import NvmlError, gpu
from backends.contract import Backend, Device, DeviceState, Presence

DISPLAY = "03"
"""First digits of the PCI class of GPUs (0300 VGA, 0302 3D controller); other functions of a card are sound and USB."""
DRIVER = "install NVIDIA's driver and load it: modprobe nvidia"
CONTAINER = "in a container: start it with --gpus all; on a host: nvidia-modprobe -c 0"
SLICES = "proc/driver/nvidia/capabilities/gpu*/mig/gi*"
LISTED_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
LISTED_SLICE = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class _Card:
    """A GPU that this process may be given. `slices` are the names and UUIDs of its MIG devices."""

    pci: str
    model: str
    uuid: str
    node: Path
    slices: tuple[tuple[str, str], ...] = ()


class CudaBackend(Backend):
    """GPUs that the NVIDIA driver lists and this process may open, one device for each model of GPU and kind of slice.

    Targets: `cuda:1`, CUDA's own number, or the beginning of a UUID: `cuda:GPU-5d5ba0d6`, `cuda:MIG-c6d4f1ef`.
    """

    name = "cuda"

    def __init__(
        self, host: Host = HOST, listing: Callable[[], str] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        """`listing` gives what `nvidia-smi -L` prints."""
        self._host, self._listing, self._environ = host, listing or _nvidia_smi, environ

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        if self._host.text("proc/driver/nvidia/version") is None:
            return self._without_driver()
        if not (gpus := self._host.glob("proc/driver/nvidia/gpus/*")):
            return Presence("broken", "NVIDIA's driver is loaded and lists no GPU", "see dmesg, then nvidia-smi")
        presence = self._with_gpus(gpus)
        return presence if presence.state != "present" else _chosen(presence.devices, targets)

    def state(self, device: Device) -> DeviceState:
        """As NVML tells it; a slice's is that of its whole GPU."""
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

    def _with_gpus(self, folders: Sequence[Path]) -> Presence:
        cards = [card for folder in sorted(folders, key=lambda one: one.name) if (card := self._card(folder))]
        control = self._host.root / "dev/nvidiactl"
        if not cards or not self._host.exists(control):
            reason = f"NVIDIA's driver lists {len(folders)} GPU and /dev/nvidia0 or /dev/nvidiactl is not there"
            return Presence("broken", reason, CONTAINER)
        if denied := self._host.denied([control, *(card.node for card in cards)]):
            reason = f"this user may not open /{denied[0].relative_to(self._host.root)}"
            return Presence("no_permission", reason, f"let this user read and write it: ls -l /dev/{denied[0].name}")
        if self._host.glob(SLICES):
            listed = _slices(self._listing())
            if not listed:
                reason = "a GPU is divided into MIG slices, and nvidia-smi -L does not name them"
                return Presence("broken", reason, "run nvidia-smi -L; in a container: give it the utility capability")
            cards = [_Card(**{**vars(card), "slices": listed.get(card.uuid, ())}) for card in cards]
        return self._numbered(cards)

    def _numbered(self, cards: Sequence[_Card]) -> Presence:
        """The GPUs that CUDA shows, called as CUDA calls them."""
        visible = self._environ.get("CUDA_VISIBLE_DEVICES")
        words = [str(index) for index in range(len(cards))] if visible is None else visible.split(",")
        models = {card.model for card in cards}
        by_speed = self._environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len(models) > 1
        if by_speed and any(word.strip().isdecimal() for word in words):
            reason = f"{' and '.join(sorted(models))} are here, and CUDA numbers them by speed"
            return Presence("broken", reason, "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
        devices: list[Device] = []
        for word in (one.strip() for one in words):
            shown = self._shown(cards, word, len(devices), alone=len(words) == 1 and visible is not None)
            if not shown:
                break  # CUDA shows none behind a name that it does not know
            devices += shown
        if not devices:
            return Presence("absent", f"CUDA_VISIBLE_DEVICES={visible} hides every GPU", "unset CUDA_VISIBLE_DEVICES")
        return Presence("present", devices=tuple(devices))

    def _shown(self, cards: Sequence[_Card], word: str, number: int, alone: bool) -> list[Device]:
        if word.startswith("MIG-"):
            found = [(card, *one) for card in cards for one in card.slices if one[1].startswith(word)]
            return [self._named(card, f" MIG {profile}", uuid, alone) for card, profile, uuid in found[:1]]
        if word.isdecimal():
            several = cards[int(word) : int(word) + 1]
        else:
            several = [card for card in cards if word and card.uuid.startswith(word)][:1]
        if several and several[0].slices:
            return [self._named(several[0], f" MIG {one[0]}", one[1], alone=False) for one in several[0].slices]
        if any(card.slices for card in cards):
            return [self._named(card, "", card.uuid, alone) for card in several]
        return [self._device(card, "", card.uuid, f"cuda:{number}", number) for card in several]

    def _named(self, card: _Card, suffix: str, uuid: str, alone: bool) -> Device:
        """Where slices are about, CUDA's numbers tell nothing; `alone`: CUDA_VISIBLE_DEVICES shows nothing but this."""
        return self._device(card, suffix, uuid, f"cuda:{uuid}", 0 if alone else None)

    def _device(self, card: _Card, suffix: str, uuid: str, called: str, number: int | None) -> Device:
        address = {"torch": called, "tensorrt": called, "nvml": card.pci, "uuid": uuid}
        known = {} if number is None else {"onnxruntime": f"CUDAExecutionProvider:{number}"}
        return Device(self.name, card.model + suffix, {**address, **known})

    def _card(self, folder: Path) -> _Card | None:
        """A GPU with its device node, which a container need not have been given."""
        lines = (self._host.within(folder, "information") or "").splitlines()
        told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        minor = told.get("Device Minor", "")
        node = self._host.root / f"dev/nvidia{minor}"
        if not minor or not self._host.exists(node):
            return None
        return _Card(folder.name, told.get("Model", "NVIDIA GPU"), told.get("GPU UUID", ""), node)


def _chosen(devices: Sequence[Device], targets: Sequence[str]) -> Presence:
    """One device of each name; those of `targets`, if there are any."""
    if not targets:
        return Presence("present", devices=distinct(devices))
    chosen = [device for target in targets for device in devices if _is(device, target)]
    if missing := [target for target in targets if not any(_is(device, target) for device in devices)]:
        known = ", ".join(f"{device.address['torch']} ({device.name})" for device in devices)
        return Presence("absent", f"cuda knows no target {', '.join(missing)}", f"name one of: {known}")
    return Presence("present", devices=distinct(chosen))


def _is(device: Device, target: str) -> bool:
    scheme, _, name = target.partition(":")
    if scheme != "cuda" or not name:
        return False
    return device.address["torch"] == target or (not name.isdecimal() and device.address["uuid"].startswith(name))


def _slices(listing: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Profile and UUID of the MIG devices of each GPU, by its UUID, from what `nvidia-smi -L` prints."""
    found: dict[str, list[tuple[str, str]]] = {}
    gpu_uuid = ""
    for line in listing.splitlines():
        if whole := LISTED_GPU.match(line):
            gpu_uuid = whole.group(1)
        elif part := LISTED_SLICE.match(line):
            found.setdefault(gpu_uuid, []).append((part.group(1), part.group(2)))
    return {uuid: tuple(several) for uuid, several in found.items()}


def _nvidia_smi() -> str:
    """A process of its own: probing loads no vendor's library."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
