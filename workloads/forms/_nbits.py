"""The ONNX graph with its matrices in 4 or 8 bits, as ONNX Runtime's MatMulNBits has them. Builds no form itself.

The operator is described in
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits.
`onnxruntime.quantization.matmul_nbits_quantizer` rounds to the same numbers, but needs onnx_ir, which its wheel does
not bring, and sets up Python's root logger when it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model
from workloads.forms._cache import cached
from workloads.forms._matrices import Matrix, drop_unread, matrices, refuse_crumbs
from workloads.forms._packages import installed
from workloads.forms._source import whole

if TYPE_CHECKING:
    from workloads.contract import Array

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
BLOCK = 32
"""Weights that share one fp32 scale: consecutive inputs of one output channel."""
ACCURACY_LEVEL = 4
"""Activations become int8 by block too, so that products are of integers."""
DOMAIN = "com.microsoft"


def treated(model: Model, name: str, precision: str, bits: int) -> Model:
    """The outcome of a technique of this name; torch has weights of torchao's."""

    def module() -> Any:
        from workloads.forms import _torchao

        return _torchao.converted(model, name)

    made = {"onnx": lambda: build(model, bits), "torch": module}
    return model.treated(name, precision=precision, made=made, net=None)


def build(model: Model, bits: int) -> Path:
    """The path of the .onnx file, its weights within, in the cache; raises Unsupported with nothing to compress."""
    form = f"onnx_int{bits}_weights"
    tools = installed(form, "techniques", "onnx")
    source = Path(model.form("onnx"))

    def make(to: Path) -> None:
        proto = whole(source, form)
        compress(proto, bits)
        to.write_bytes(proto.SerializeToString(deterministic=True))

    return cached(model, form, (VERSION, *tools), f"{model.name}.onnx", make)


def compress(proto: Any, bits: int) -> None:
    """Replace every product with a constant matrix in the graph, in place."""
    from onnx import helper

    found = matrices(proto.graph, "compress")
    refuse_crumbs(proto.graph, found)
    for matrix in found:
        _replace(proto.graph, matrix, bits)
    drop_unread(proto.graph)
    del proto.graph.value_info[:]
    if all(one.domain != DOMAIN for one in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _replace(graph: Any, matrix: Matrix, bits: int) -> None:
    from onnx import helper, numpy_helper

    rows, columns = matrix.value.shape
    names = [f"{matrix.name}/int{bits}", f"{matrix.name}/scales"]
    if all(tensor.name != names[0] for tensor in graph.initializer):  # two nodes may share a matrix
        arrays = blockwise(matrix.value, bits)
        graph.initializer.extend(numpy_helper.from_array(array, name) for array, name in zip(arrays, names))
    made = helper.make_node(
        "MatMulNBits",
        [matrix.node.input[0], *names],
        [matrix.node.output[0]],
        name=matrix.node.name,
        domain=DOMAIN,
        K=rows,
        N=columns,
        bits=bits,
        block_size=BLOCK,
        accuracy_level=ACCURACY_LEVEL,
    )
    matrix.node.CopyFrom(made)


def blockwise(value: Array, bits: int) -> tuple[Array, Array]:
    """(K, N) fp32 as (N, ceil(K / 32), bytes of a block) uint8 and its scales, (N, ceil(K / 32)) fp32.

    A number of `bits` bits q stands for (q - 2^(bits - 1)) scale. The largest of a block by magnitude is exactly
    -2^(bits - 1) scale, so all of the range is used. The first of two 4-bit numbers is in the lower half of a byte.
    """
    import numpy as np

    middle = 1 << (bits - 1)
    blocks = -(-value.shape[0] // BLOCK)
    padded = np.pad(value.T, ((0, 0), (0, blocks * BLOCK - value.shape[0]))).reshape(-1, blocks, BLOCK)
    largest = np.take_along_axis(padded, np.abs(padded).argmax(axis=2)[..., None], axis=2)
    scales = (largest / -middle).astype(np.float32)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    numbers = np.clip(np.rint(padded * inverse) + middle, 0, 2 * middle - 1).astype(np.uint8)
    packed = numbers if bits == 8 else numbers[..., ::2] | numbers[..., 1::2] << 4
    return np.ascontiguousarray(packed), scales[..., 0]
