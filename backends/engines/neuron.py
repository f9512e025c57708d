"""AWS Neuron through torch_neuronx: a torch module, traced and compiled for NeuronCores beforehand.

Written from the Neuron SDK's documentation, 2.32, and tried against a stand-in that follows it: not verified on a
device. torch_neuronx.trace ends with torch-neuronx 2.9; what AWS makes for later versions of PyTorch is another engine.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from backends._host import HOST, Host
from backends.contract import (
    Arrays,
    Device,
    Engine,
    Facts,
    Model,
    Placement,
    Plan,
    Presence,
    Session,
    Setting,
    Unsupported,
    Values,
)
from backends.engines._neuron import INDEX, NO_CAST, VISIBLE, checked, release, reserve
from backends.engines._torch_modes import several
from backends.engines._tuning import check_arrays, check_options, check_precision, choice, unreachable

if TYPE_CHECKING:
    from workloads.contract import Array

PACKAGES = {"torch-neuronx": "torch_neuronx/__init__.py", "neuronx-cc": "neuronxcc/__init__.py"}
PINS = "'torch-neuronx>=2.9,<2.10' 'neuronx-cc>=2'"
LAST = (2, 9)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
AUTOCAST = ("all", "matmult")
QUEUED = 2
"""Runs that keep one core busy: AWS' own tables have two in flight for each core (throughput times latency)."""


class NeuronEngine(Engine):
    """Option: autocast (all, matmult), which operations a reduced precision is for.

    A traced module takes and gives tensors in host memory and moves them itself: `run` holds both transfers, and no
    part of it is the device's own time. Shapes are fixed, so that a network with a free size is unsupported.
    """

    name = "neuron"
    module = "torch_neuronx"
    form = "weights"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            if device.backend == "inferentia":
                why = f"torch_neuronx does not compile for {device.name}, only for later chips"
                return Presence("absent", why, "use an instance of Inf2, Trn1 or later")
            return unreachable(self.name, device.name)
        presence = checked(self.name, PACKAGES, PINS, self._host)
        if presence.state == "present" and (why := _unfit()):
            return Presence("broken", why, f"pip install {INDEX} {PINS}")
        return presence

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` makes the module, `compile_ns` traces it, compiles it without a cache and loads it to the cores."""
        check_options(self.name, plan, ("autocast",))
        check_precision(self.name, plan, PRECISIONS, "the compiler casts to no other")
        flags = _flags(plan)
        _check_sizes(model)
        cores = int(device.address[self.name])
        reserve(cores)
        started = time.monotonic_ns()
        import torch
        import torch_neuronx

        imported = time.monotonic_ns()
        module = model.form("torch")
        if hasattr(module, "place"):
            raise Unsupported(f"{model.name} is too large for {self.name}, whose trace starts from host memory")
        loaded = time.monotonic_ns()
        split = cores if plan.batch % cores == 0 else 1
        traced = _traced(torch, torch_neuronx, module, model, plan.batch // split, flags)
        spread = _spread(torch_neuronx, traced, cores, split)
        settings = _settings(plan, flags, cores, split)
        placement = _placement(traced, device)
        facts = Facts(settings, placement, imported - started, loaded - imported, time.monotonic_ns() - loaded)
        return _Session(torch, spread, model, plan.batch, facts, QUEUED * cores)


class _Session(Session):
    """Threads of `submit` call the module at once, which its documentation says is safe."""

    def __init__(self, torch: Any, module: Any, model: Model, batch: int, facts: Facts, inflight: int) -> None:
        self._torch = torch
        self._module = module
        self._inputs, self._batch = model.inputs, batch
        self._outputs = [spec.name for spec in model.outputs]
        self.facts = facts
        self.inflight = inflight

    def put(self, arrays: Arrays) -> Values:
        """Tensors over the caller's memory: the transfer to the device is part of `run`."""
        check_arrays(self._inputs, arrays)
        if any(len(array) != self._batch for array in arrays.values()):
            raise ValueError(f"this module was compiled for batches of {self._batch} and nothing else")
        return tuple(self._tensor(arrays[spec.name]) for spec in self._inputs)

    def run(self, values: Values) -> Values:
        return several(self._module(*values))

    def get(self, values: Values) -> Arrays:
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, values)}

    def close(self) -> None:
        super().close()
        self._module = None

    def _tensor(self, array: Array) -> Any:
        # torch warns of memory that it might write to and must not; inputs are only read, yet it cannot be told.
        return self._torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def _unfit() -> str:
    """Why the installed versions do not go together; "" where they do."""
    neuron, torch = release("torch-neuronx"), release("torch")
    if neuron > LAST:
        return f"torch-neuronx {neuron[0]}.{neuron[1]} has no torch_neuronx.trace: 2.9 was the last"
    if neuron != torch:
        return f"torch-neuronx is made for torch {neuron[0]}.{neuron[1]}, and torch is {torch[0]}.{torch[1]}"
    return ""


def _flags(plan: Plan) -> list[str]:
    """Never none: the compiler's own default casts matrix products to bf16."""
    if plan.precision == "fp32":
        if "autocast" in plan.options:
            raise Unsupported("option autocast is for a reduced precision: fp32 casts nothing")
        return [NO_CAST]
    cast = choice(plan.options, "autocast", "matmult" if plan.precision == "tf32" else "all", AUTOCAST)
    return [f"--auto-cast={cast}", f"--auto-cast-type={plan.precision}"]


def _check_sizes(model: Model) -> None:
    for spec in model.inputs:
        if None in spec.shape[1:]:
            raise Unsupported(f"Neuron compiles fixed shapes, and {spec.name} of {model.name} has a free size")


def _traced(torch: Any, torch_neuronx: Any, module: Any, model: Model, batch: int, flags: Sequence[str]) -> Any:
    examples = tuple(torch.zeros((batch, *spec.shape[1:]), dtype=getattr(torch, spec.dtype)) for spec in model.inputs)
    with TemporaryDirectory(prefix="neuron-") as folder:
        return torch_neuronx.trace(module, examples, compiler_workdir=folder, compiler_args=list(flags))


def _spread(torch_neuronx: Any, traced: Any, cores: int, split: int) -> Any:
    """The module on all cores: a batch that they can share is split among them, others go to each in turn."""
    if cores == 1:
        return traced
    if split > 1:
        return torch_neuronx.DataParallel(traced, device_ids=list(range(cores)), dim=0, set_dynamic_batching=False)
    if not hasattr(getattr(torch_neuronx, "experimental", None), "set_multicore"):
        raise Unsupported(
            f"this torch_neuronx cannot copy a module to {cores} cores: choose a batch that is a multiple of {cores}, "
            "or --target inferentia:cores=1"
        )
    torch_neuronx.experimental.set_multicore(traced)
    return traced


def _settings(plan: Plan, flags: Sequence[str], cores: int, split: int) -> dict[str, Setting]:
    shared = f"split over {split} cores" if split > 1 else f"whole, {cores} cores in turn" if cores > 1 else "whole"
    return {
        "precision": plan.precision,
        "compiler_args": " ".join(flags),
        "cores": cores,
        "batch_is": shared,
        "visible_cores": os.environ.get(VISIBLE, "not set"),
    }


def _placement(traced: Any, device: Device) -> Placement:
    """Share of the traced graph's operators that are Neuron's own: all of the network is to be one of them."""
    kinds = Counter(re.findall(r"= (\w+)::\w+", str(traced.inlined_graph)))
    compiled, on_host = kinds["neuron"], kinds["aten"]
    share = compiled / (compiled + on_host) if compiled else 0.0
    return Placement(device.name, share, f"traced graph: {compiled} neuron operators, {on_host} of torch on the host")
