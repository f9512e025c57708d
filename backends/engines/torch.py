"""PyTorch, eager: the network as its authors run it, before any compiler."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

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
from backends.engines._tuning import (
    Spread,
    check_arrays,
    check_options,
    check_precision,
    importable,
    spread,
    unreachable,
)
from workloads.contract import TensorSpec

if TYPE_CHECKING:
    from workloads.contract import Array

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16")}


class TorchEngine(Engine):
    """Options: threads, streams. A reduced precision casts weights and activations, and outputs back to fp32.

    It starts from the files of the ONNX form: the module, which lies in no file, is made from their weights.
    """

    name = "torch"

    def available(self, device: Device) -> Presence:
        address = device.address.get(self.name)
        if address is None:
            return unreachable(self.name, device.name)
        return importable(self.name, "torch", "torch" if address == "cpu" else "cuda")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` makes the module and fills it with its weights, `compile_ns` makes a cast copy on the device."""
        check_options(self.name, plan, ("threads", "streams"))
        address = device.address[self.name]
        kind = address.partition(":")[0]
        check_precision(self.name, plan, PRECISIONS[kind], "others need a quantised network")
        started = time.monotonic_ns()
        import torch

        imported = time.monotonic_ns()
        module = model.form("torch")
        loaded = time.monotonic_ns()
        if kind == "cuda" and not torch.cuda.is_available():
            raise Unsupported("this build of torch cannot use the GPU: torch.cuda.is_available() is False")
        load = spread(plan) if kind == "cpu" else Spread(1, 1)
        threads_before = torch.get_num_threads()
        _configure(torch, load)
        placed = copy.deepcopy(module).to(address, getattr(torch, DTYPES[plan.precision])).eval()
        facts = Facts(
            _settings(torch, plan, load),
            _placement(torch, placed, device),
            imported - started,
            loaded - imported,
            time.monotonic_ns() - loaded,
        )
        return _Session(torch, placed, model, address, facts, threads_before)


class _Session(Session):
    """Threads of `submit` run the module at once, as torch lets go of the interpreter inside its operators."""

    def __init__(self, torch: Any, module: Any, model: Model, address: str, facts: Facts, threads_before: int) -> None:
        self._torch = torch
        self._module = module
        self._specs: tuple[TensorSpec, ...] = model.inputs
        self._outputs = [spec.name for spec in model.outputs]
        self._address = address
        self._dtype = getattr(torch, DTYPES[str(facts.settings["precision"])])
        self._threads_before = threads_before
        self.facts = facts
        self.inflight = int(facts.settings["streams"])

    def put(self, arrays: Arrays) -> Values:
        """Tensors over the caller's memory on a CPU in fp32, copies otherwise."""
        check_arrays(self._specs, arrays)
        return [self._tensor(arrays[spec.name]) for spec in self._specs]

    def run(self, values: Values) -> Values:
        with self._torch.inference_mode():
            outputs = self._module(*values)
        if self._address != "cpu":
            self._torch.cuda.synchronize(self._address)
        return outputs if isinstance(outputs, (tuple, list)) else (outputs,)

    def get(self, values: Values) -> Arrays:
        return {name: self._array(tensor) for name, tensor in zip(self._outputs, values)}

    def close(self) -> None:
        super().close()
        self._module = None
        self._torch.set_num_threads(self._threads_before)

    def _tensor(self, array: Array) -> Any:
        # torch warns of memory that it might write to and must not; it never writes to inputs here, yet cannot be told.
        tensor = self._torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor.to(self._address, self._dtype if tensor.is_floating_point() else tensor.dtype)

    def _array(self, tensor: Any) -> Array:
        array: Array = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
        return array


def _configure(torch: Any, load: Spread) -> None:
    """fp32 means fp32: no TF32 in matrix products or convolutions. Every thread that calls torch gets these threads."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(load.threads)


def _settings(torch: Any, plan: Plan, load: Spread) -> dict[str, Setting]:
    return {
        "precision": plan.precision,
        "threads": torch.get_num_threads(),
        "streams": load.streams,
        "mode": "eager, inference_mode",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
    }


def _placement(torch: Any, module: Any, device: Device) -> Placement:
    """Share of the weights that lie on the device; operators run where they lie, as torch refuses to mix devices."""
    wanted = torch.device(device.address["torch"])
    tensors = [*module.parameters(), *module.buffers()]
    there = sum(tensor.numel() for tensor in tensors if tensor.device == wanted)
    total = sum(tensor.numel() for tensor in tensors)
    where = torch.cuda.get_device_name(wanted) if wanted.type == "cuda" else "host memory"
    return Placement(
        device.name, there / total if total else 1.0, f"{there} of {total} weights are on {wanted}, {where}"
    )
