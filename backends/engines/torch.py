"""PyTorch: the network as its authors run it, operator by operator, compiled, or replayed as a CUDA graph."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from backends import _cuda, _nvml
from backends._cores import usable
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
)
from backends.engines import _torch_training
from backends.engines._torch_modes import TUNES, compiled, refuse_without_compiler
from backends.engines._torch_profile import held_bytes
from backends.engines._torch_sessions import CudaTorchSession, TorchSession
from backends.engines._tuning import (
    CHECKOUT,
    Spread,
    check_options,
    check_precision,
    choice,
    importable,
    installed,
    spread,
    unreachable,
    whole,
)
from workloads.contract import TensorSpec

DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
AROUND = {"cpu": "fp32", "cuda": "bf16"}
"""What is not quantised in a quantised network: torchao's kernels for a GPU give bf16."""
FUSIONS = {"fusion=off": {"mode": "eager"}, "fusion=compile": {"mode": "compile"}}
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}
OPTIONS = {
    "cpu": ("threads", "streams", "mode", "tune", "compile_cache"),
    "cuda": ("streams", "mode", "tune", "compile_cache", "pinned", "cudnn_benchmark"),
}
MODES = {"cpu": ("eager", "compile"), "cuda": ("eager", "compile", "graphs")}
TRAINING_OPTIONS = {
    "cpu": ("threads", "mode", "compile_cache"),
    "cuda": ("mode", "compile_cache", "pinned", "cudnn_benchmark"),
}
TRAINING_MODES = ("eager", "compile")


class TorchEngine(Engine):
    """Options: mode (eager, compile, graphs), streams; for mode=compile tune (default, max-autotune) and compile_cache.

    On a processor also threads, on a GPU pinned and cudnn_benchmark (on, off). A reduced precision casts weights and
    activations, and outputs back to fp32; tf32 is fp32 whose matrix products a GPU rounds. The module, which lies in no
    file, is made from the weights of the network. Training (`_torch_training.py`) knows all of these but streams, tune
    and graphs, and computes a reduced precision by autocast.
    """

    name = "torch"
    form = "weights"

    def available(self, device: Device) -> Presence:
        address = device.address.get(self.name)
        if address is None:
            return unreachable(self.name, device.name)
        extra = "torch" if address == "cpu" else "cuda"
        presence = importable(self.name, "torch", extra)
        version = installed("torch") or ""
        if address == "cpu" or presence.state != "present":
            return presence
        if version.endswith("+cpu"):
            remedy = f"pip uninstall -y torch, then {CHECKOUT.format(extra=extra)}"
            return Presence("broken", f"torch {version} is built for processors only", remedy)
        return _cuda.too_old("torch", _cuda.runtime_of("torch")) or presence

    def options_for(self, wish: str) -> Mapping[str, str]:
        return FUSIONS.get(wish) or super().options_for(wish)

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` makes the module and fills it with its weights; what its form makes on the device is `compile_ns`.

        So is a cast copy on the device, and compiling or capturing with one run of zeros in the plan's batch.
        """
        address = device.address[self.name]
        kind = address.partition(":")[0]
        options = OPTIONS if plan.mode == "infer" else TRAINING_OPTIONS
        check_options(self.name, plan, options[kind], trains=True)
        check_precision(self.name, plan, PRECISIONS[kind], "others need a quantised network: --technique", model)
        mode = choice(plan.options, "mode", "eager", MODES[kind] if plan.mode == "infer" else TRAINING_MODES)
        if mode == "compile":
            refuse_without_compiler(kind)
        started = time.monotonic_ns()
        import torch

        imported = time.monotonic_ns()
        kind_of_session = _Made if plan.mode == "infer" else _Taught
        form = kind_of_session.module_of(model)
        loaded = time.monotonic_ns()
        made = kind_of_session(torch, model, plan, device, _where(torch, address), mode)
        return made.session(form, imported - started, loaded - imported)


def _where(torch: Any, address: str) -> Any:
    if address == "cpu":
        return torch.device(address)
    return torch.device("cuda", _cuda.ordinal(address, torch.cuda.is_initialized()))


class _Made:
    """One session in the making."""

    @staticmethod
    def module_of(model: Model) -> Any:
        return model.form("torch")

    def __init__(self, torch: Any, model: Model, plan: Plan, device: Device, where: Any, mode: str) -> None:
        self._torch, self._model, self._plan, self._device = torch, model, plan, device
        self._where, self._mode = where, mode
        self._gpu = device.address["torch"] != "cpu"
        base = plan.precision if plan.precision in DTYPES else AROUND["cuda" if self._gpu else "cpu"]
        self._dtype = getattr(torch, DTYPES[base])
        if self._gpu:
            _check_gpu(torch, where, base)

    def session(self, form: Any, import_ns: int, load_ns: int) -> Session:
        torch = self._torch
        begin_ns, threads_before = time.monotonic_ns(), torch.get_num_threads()
        load = self._spread()
        self._configure(load)
        module = self._placed(form)
        facts = Facts(self._settings(load), self._placement(module), import_ns, load_ns, 0)
        session = self._open(module, facts)
        session.weights_bytes = held_bytes(module)
        session.at_close(lambda: torch.set_num_threads(threads_before))
        session.facts = replace(facts, compile_ns=time.monotonic_ns() - begin_ns)
        return session

    def _spread(self) -> Spread:
        if not self._gpu:
            return spread(self._plan)
        overlap = _cuda.OVERLAP if self._plan.goal == "throughput" else 1
        return Spread(1, whole(self._plan.options, "streams", overlap))

    def _configure(self, load: Spread) -> None:
        """fp32 means fp32: no TF32 in products or convolutions. Every thread that calls torch gets these threads."""
        tf32 = self._plan.precision == "tf32"
        self._torch.set_float32_matmul_precision("high" if tf32 else "highest")
        self._torch.backends.cudnn.allow_tf32 = tf32
        self._torch.backends.cudnn.benchmark = self._is_on("cudnn_benchmark", "off")
        self._torch.set_num_threads(load.threads)

    def _placed(self, form: Any) -> Any:
        if hasattr(form, "place"):
            return form.place(self._where, self._dtype)
        return copy.deepcopy(form).to(self._where, self._dtype).eval()

    def _open(self, module: Any, facts: Facts) -> TorchSession:
        names = [spec.name for spec in self._model.outputs]
        arguments = (self._torch, module, self._specs(), names, facts, self._dtype)
        if self._gpu:
            session: Any = CudaTorchSession(*arguments, where=self._where, pinned=self._is_on("pinned", "on"))
        else:
            session = TorchSession(*arguments)
        if self._mode == "compile":
            session.compile_with(self._compiler, self._zeros())
        elif self._mode == "graphs":
            session.capture(self._zeros())
        opened: TorchSession = session
        return opened

    def _compiler(self, forward: Any, arguments: Sequence[Any]) -> Any:
        tune = choice(self._plan.options, "tune", "default", TUNES)
        return compiled(self._torch, forward, arguments, tune, self._is_on("compile_cache", "off"))

    def _specs(self) -> Sequence[TensorSpec]:
        return [self._batched(spec) for spec in self._model.inputs]

    def _batched(self, spec: TensorSpec) -> TensorSpec:
        """What is made for one shape takes no other."""
        if self._mode == "eager":
            return spec
        if None in spec.shape[1:]:
            raise Unsupported(f"mode={self._mode} is made for one shape, and {spec.name} has a size that is free")
        return replace(spec, shape=(self._plan.batch, *spec.shape[1:]))

    def _zeros(self) -> Arrays:
        """Inputs to compile or capture with: their shapes and types count, and 0 is an index that every table has."""
        import numpy as np

        return {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in self._specs()}

    def _is_on(self, option: str, default: str) -> bool:
        return choice(self._plan.options, option, default, ("on", "off")) == "on"

    def _settings(self, load: Spread) -> dict[str, Setting]:
        torch, mode = self._torch, self._mode
        shared: dict[str, Setting] = {
            "precision": self._plan.precision,
            "dtype": str(self._dtype).rpartition(".")[2],
            "threads": torch.get_num_threads(),
            "streams": load.streams,
            "mode": f"{mode}, inference_mode",
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
        if mode == "compile":
            shared["tune"] = choice(self._plan.options, "tune", "default", TUNES)
            shared["compile_cache"] = self._is_on("compile_cache", "off")
        if not self._gpu:
            mkldnn = torch.backends.mkldnn.is_available()
            return {**shared, "cpu_capability": torch.backends.cpu.get_cpu_capability(), "mkldnn": mkldnn}
        return {
            **shared,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() or "none",
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "fp16_reduced_reduction": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
            "bf16_reduced_reduction": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
            "pinned": self._is_on("pinned", "on"),
            **_nvml.configuration(self._device),
        }

    def _placement(self, module: Any) -> Placement:
        """Share of the weights that lie on the device; operators run where they lie: torch refuses to mix devices."""
        tensors = [*module.parameters(), *module.buffers()]
        there = sum(tensor.numel() for tensor in tensors if tensor.device == self._where)
        total = sum(tensor.numel() for tensor in tensors)
        called = self._torch.cuda.get_device_name(self._where) if self._gpu else "host memory"
        proof = f"{there} of {total} weights are on {self._where}, {called}"
        return Placement(self._device.name, there / total if total else 1.0, proof)


class _Taught(_Made):
    """A session that trains in the making: its network begins with new weights, as training does."""

    @staticmethod
    def module_of(model: Model) -> Any:
        return _torch_training.new_network(model)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._objective = _torch_training.objective_of(self._model)
        self._dtype = self._torch.float32  # the weights': autocast rounds what is computed from them

    def _spread(self) -> Spread:
        """One step at a time, on all cores."""
        return Spread(1 if self._gpu else whole(self._plan.options, "threads", usable().cores), 1)

    def _placed(self, form: Any) -> Any:
        if self._gpu:
            self._torch.cuda.reset_peak_memory_stats(self._where)
        return form.to(self._where).train()

    def _specs(self) -> Sequence[TensorSpec]:
        return [*super()._specs(), *(self._batched(target) for target in self._objective.targets)]

    def _open(self, module: Any, facts: Facts) -> TorchSession:
        kind = "cuda" if self._gpu else "cpu"
        step = _torch_training.Step(self._torch, module, self._objective, self._plan.precision, kind)
        arguments = (self._torch, step, self._specs(), ["loss"], facts, self._dtype)
        if self._gpu:
            session: TorchSession = _torch_training.CudaTrainingSession(
                *arguments, where=self._where, pinned=self._is_on("pinned", "on")
            )
        else:
            session = _torch_training.TrainingSession(*arguments)
        if self._mode == "compile":
            session.compile_with(partial(step.compiled, self._is_on("compile_cache", "off")), self._zeros())
        return session

    def _settings(self, load: Spread) -> dict[str, Setting]:
        told = _torch_training.settings(self._objective, self._plan)
        return {**super()._settings(load), "mode": f"{self._mode}, train", **told}


def _check_gpu(torch: Any, where: Any, precision: str) -> None:
    if not torch.cuda.is_available():
        raise Unsupported("this build of torch cannot use the GPU: torch.cuda.is_available() is False")
    _cuda.check_capability(torch.cuda.get_device_capability(where), precision)
