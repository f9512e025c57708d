"""The ONNX graph of a committed network: small, without its weights, and the same whichever machine writes it.

Needs torch, onnx and onnxscript; `workloads/rebuild.py` uses it.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workloads import weights
from workloads.seeded import Committed

if TYPE_CHECKING:
    Tensors = tuple[weights.Tensor, ...]

OPSET = 20
"""The first with Gelu; onnxruntime 1.20 and openvino 2025.0, the oldest we support, know it."""
FOLDED_MAX = 4096
"""Elements of the largest constant that is computed beforehand: the file is to stay small."""


def export(workload: Committed, net: Any, tensors: Tensors) -> Any:
    """The ONNX graph, its weights by reference to weights.bin and nothing of this machine in it."""
    import torch

    inputs = workload.samples("perf", 2, 0).inputs
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which no network here needs
    with warnings.catch_warnings(), _plain_attention():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            tuple(torch.from_numpy(array) for array in inputs.values()),
            dynamo=True,
            optimize=False,  # otherwise weights are renamed, transposed and folded, and no longer the state_dict's
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            input_names=list(inputs),
            output_names=list(workload.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    _name_tied(program.model, net)
    _simplify(program.model, {t.name for t in tensors})
    _refer(program.model, tensors)
    proto = program.model_proto
    _strip(proto)
    return proto


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Export attention as the four operators it is; torch's own translation rebuilds its scale in 20 more per layer."""
    from torch.nn import functional

    def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, is_causal: bool = False) -> Any:
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]))
        if is_causal:
            attn_mask = scores.new_full(scores.shape[-2:], -1e4).triu(1)
        if attn_mask is not None:
            scores = scores + attn_mask
        return scores.softmax(-1) @ value

    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def _name_tied(model: Any, net: Any) -> None:
    """A tensor of several names is exported under one of them; here the first stands for all."""
    first: dict[int, str] = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        known = first.setdefault(id(tensor), name)
        if known != name and name in model.graph.initializers:
            model.graph.initializers[name].name = known


def _simplify(model: Any, kept: set[str]) -> None:
    """Compute what is known beforehand (shapes, mostly) and merge what is there twice; the tensors in `kept` stay."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass, IdentityEliminationPass
    from onnxscript import optimizer

    def may_fold(node: Any) -> bool | None:
        return False if any(value is not None and value.name in kept for value in node.inputs) else None

    optimizer.fold_constants(model, should_fold=may_fold, output_size_limit=FOLDED_MAX)
    _drop_zero_biases(model)
    IdentityEliminationPass()(model)
    CommonSubexpressionEliminationPass()(model)
    optimizer.remove_unused_nodes(model)


def _drop_zero_biases(model: Any) -> None:
    """A convolution without a bias is exported with one made of zeros."""
    for node in model.graph:
        bias = node.inputs[2].const_value if node.op_type == "Conv" and len(node.inputs) == 3 else None
        if bias is not None and node.inputs[2].name.startswith("val_") and not bias.numpy().any():
            node.resize_inputs(2)


def _strip(proto: Any) -> None:
    """Drop metadata and doc strings, which hold absolute paths, and inferred shapes, which quantisers trip over."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def _refer(model: Any, tensors: Tensors) -> None:
    """Weights by reference to weights.bin: what the exporter holds of them is not looked at."""
    from onnx_ir import ExternalTensor

    initializers = model.graph.initializers
    if absent := [tensor.name for tensor in tensors if tensor.name not in initializers]:
        raise ValueError(f"the exported graph does not use {', '.join(absent)}: remove them from the network")
    for tensor in tensors:
        value = initializers[tensor.name]
        place = weights.FILE_NAME, tensor.offset, 4 * tensor.size
        value.const_value = ExternalTensor(*place, value.dtype, shape=value.shape, name=tensor.name)
