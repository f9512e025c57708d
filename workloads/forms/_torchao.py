"""A torch module whose Linear layers torchao quantises where they are to run. Builds no form itself.

torchao's tensors take the place of a Linear's weight, so its layers keep their type and their inputs theirs. Nothing
but Linear is quantised: convolutions and embeddings stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workloads.contract import Model, Unsupported
from workloads.forms._matrices import MIN_SHARE
from workloads.forms._packages import installed

GROUP = 32
"""Input channels that share a scale in int4, as everywhere on the shelf."""
FP8_MIN = (8, 9)
"""The compute capability since which NVIDIA multiplies fp8: Ada and Hopper."""
INT4_MIN = (8, 0)


@dataclass(frozen=True)
class Converted:
    """`form` is the fp32 network, a module or what places one; `place` makes the quantised one of it."""

    name: str
    form: Any
    kind: str

    def place(self, device: Any, dtype: Any) -> Any:
        """A new module in eval mode on a torch device, what is not quantised in `dtype`; raises Unsupported."""
        import torch

        config = CONFIGS[self.kind](device)
        if hasattr(self.form, "place"):
            module = self.form.place(device, torch.float32)
        else:
            module = copy.deepcopy(self.form).to(device)
        from torchao.quantization import quantize_

        _refuse_without_linear(torch, module, self.name)
        module = module.to(dtype).eval()
        quantize_(module, config)
        return module


def converted(model: Model, kind: str) -> Converted:
    """`kind`: "int8-dynamic", "int8-weights", "int4-weights" or "fp8"."""
    installed("torch", "torch", "torchao")
    return Converted(model.name, model.form("torch"), kind)


def _int8_dynamic(device: Any) -> Any:
    """Rows of activations get a scale as they come. Without VNNI an x86 product of full-range int8 overflows."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    from torchao.utils import should_reduce_range

    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, reduce_range=should_reduce_range(device))


def _int8_weights(_: Any) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return Int8WeightOnlyConfig(set_inductor_config=False)


def _int4_weights(device: Any) -> Any:
    """In the order of torch's own kernel (tinygemm), which needs no further package."""
    _require(device, INT4_MIN, "int4", "use --engine onnxruntime or openvino")
    from torchao.quantization import Int4WeightOnlyConfig
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    return Int4WeightOnlyConfig(
        group_size=GROUP, int4_packing_format=Int4PackingFormat.TILE_PACKED_TO_4D, set_inductor_config=False
    )


def _fp8(device: Any) -> Any:
    _require(device, FP8_MIN, "fp8", "use int8-dynamic")
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig

    return Float8DynamicActivationFloat8WeightConfig(set_inductor_config=False)


CONFIGS: Mapping[str, Callable[[Any], Any]] = {
    "int8-dynamic": _int8_dynamic,
    "int8-weights": _int8_weights,
    "int4-weights": _int4_weights,
    "fp8": _fp8,
}


def _require(device: Any, least: tuple[int, int], what: str, remedy: str) -> None:
    if device.type != "cuda":
        raise Unsupported(f"torchao has no {what} kernel for a {device.type.upper()}: {remedy}")
    import torch

    have = torch.cuda.get_device_capability(device)
    if have < least:
        needs, is_ = (".".join(map(str, version)) for version in (least, have))
        raise Unsupported(f"{what} needs a GPU of compute capability {needs}, and this one has {is_}: {remedy}")


def _refuse_without_linear(torch: Any, module: Any, name: str) -> None:
    linear = sum(one.weight.numel() for one in module.modules() if isinstance(one, torch.nn.Linear))
    share = linear / max(1, sum(one.numel() for one in module.parameters()))
    if share < MIN_SHARE:
        raise Unsupported(
            f"there is nothing worth quantising in {name}: torchao takes Linear layers alone, which hold {share:.0%} "
            "of its weights; use int8-static with --engine onnxruntime or openvino"
        )
