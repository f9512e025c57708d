"""A stand-in for AWS' torch_neuronx 2.9, from its documentation: strict in what it takes, computing with torch.

Documentation: aws-neuron-sdk, frameworks/torch/torch-neuronx/api-reference-guide/inference, and
compiler/neuronx-cc/api-reference-guide. What the documentation does not name is an error here.
"""

from __future__ import annotations

import copy
import itertools
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torch_neuronx import experimental, runtime

__all__ = ["DataParallel", "experimental", "trace"]

CASTS = {"bf16": torch.bfloat16, "fp16": torch.float16}
FLAGS = {"--auto-cast": ("none", "matmult", "all"), "--auto-cast-type": ("bf16", "fp16", "tf32", "fp8_e4m3")}
TF32_BITS = 13
"""Of fp32's 23 bits of mantissa, those that TF32 drops."""


class _Compiled(NamedTuple):
    """What a NEFF holds: the network with its weights as they were, and the shapes it was traced for."""

    module: Any
    shapes: list[tuple[torch.Size, torch.dtype]]
    cast: str


_models: dict[int, _Compiled] = {}
_handles = itertools.count()


class _Traced(torch.nn.Module):
    def __init__(self, handle: int, single: bool) -> None:
        super().__init__()
        self.handle, self.single = handle, single

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs = torch.ops.neuron.forward_v2(list(inputs), self.handle)
        return outputs[0] if self.single else tuple(outputs)


def trace(
    func: Any,
    example_inputs: Any,
    *_: Any,
    input_output_aliases: dict | None = None,
    compiler_workdir: str | None = None,
    compiler_args: str | list[str] | None = None,
    partitioner_config: Any = None,
    inline_weights_to_neff: bool = True,
    cpu_backend: bool = False,
) -> torch.jit.ScriptModule:
    """A module whose graph is one neuron::forward operator, loaded to the first core."""
    if _ or input_output_aliases or partitioner_config or cpu_backend or not inline_weights_to_neff:
        raise NotImplementedError("this stand-in knows only func, example_inputs, compiler_workdir and compiler_args")
    if compiler_workdir is not None and not Path(compiler_workdir).is_dir():
        raise FileNotFoundError(compiler_workdir)
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    runtime.cores()
    handle = next(_handles)
    shapes = [(one.shape, one.dtype) for one in inputs]
    _models[handle] = _Compiled(copy.deepcopy(func), shapes, _cast(compiler_args))
    single = isinstance(func(*inputs), torch.Tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which torch 2.9 still recommends
        traced = torch.jit.trace(_Traced(handle, single), inputs, check_trace=False)
    weakref.finalize(traced, _models.pop, handle)
    return traced


def _cast(compiler_args: str | list[str] | None) -> str:
    """To which type operations are cast; "" for none."""
    words = compiler_args.split() if isinstance(compiler_args, str) else compiler_args or []
    chosen = {"--auto-cast": "matmult", "--auto-cast-type": "bf16"}
    for word in words:
        flag, _, value = word.partition("=")
        if value not in FLAGS.get(flag, ()):
            raise RuntimeError(f"neuronx-cc: unrecognized arguments: {word}")
        chosen[flag] = value
    return "" if chosen["--auto-cast"] == "none" else chosen["--auto-cast-type"]


def _forward(inputs: list[torch.Tensor], handle: int) -> list[torch.Tensor]:
    compiled = _models[handle]
    if [(one.shape, one.dtype) for one in inputs] != compiled.shapes:
        raise RuntimeError("inputs have other shapes or types than the example inputs of the trace")
    with torch.inference_mode():
        outputs = _computed(compiled, inputs)
    several = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    return [(one.float() if one.is_floating_point() else one).clone() for one in several]


def _computed(compiled: _Compiled, inputs: list[torch.Tensor]) -> Any:
    if compiled.cast == "":
        return compiled.module(*inputs)
    module = copy.deepcopy(compiled.module)
    if compiled.cast == "tf32":
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(_tf32(parameter))
        return module(*(_tf32(one) for one in inputs))
    kind = CASTS[compiled.cast]
    return module.to(kind)(*(one.to(kind) if one.is_floating_point() else one for one in inputs))


def _tf32(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.float32:
        return tensor
    return (tensor.contiguous().view(torch.int32) >> TF32_BITS << TF32_BITS).view(torch.float32)


_library = torch.library.Library("neuron", "DEF")
_library.define("forward_v2(Tensor[] inputs, int model) -> Tensor[]")
_library.impl("forward_v2", _forward, "CPU")


class DataParallel:
    """One module on several cores, each of which takes its share of axis `dim`."""

    def __init__(
        self,
        model: torch.jit.ScriptModule,
        device_ids: list | None = None,
        dim: int = 0,
        set_dynamic_batching: bool = True,
    ) -> None:
        if not isinstance(model, torch.jit.ScriptModule):
            raise TypeError("model is not a ScriptModule that torch_neuronx.trace made")
        if set_dynamic_batching:
            raise NotImplementedError("this stand-in has no dynamic batching")
        self._model, self._dim = model, dim
        self._devices = list(range(runtime.cores())) if device_ids is None else device_ids
        if not set(self._devices) <= set(range(runtime.cores())):
            raise ValueError(f"device_ids {device_ids}: this process has {runtime.cores()} NeuronCores")
        self.num_workers = 2 * len(self._devices)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        parts = list(zip(*(one.chunk(len(self._devices), self._dim) for one in inputs), strict=True))
        with ThreadPoolExecutor(self.num_workers) as pool:
            answers = list(pool.map(lambda part: self._model(*part), parts))
        if isinstance(answers[0], torch.Tensor):
            return torch.cat(answers, self._dim)
        return tuple(torch.cat(several, self._dim) for several in zip(*answers, strict=True))
