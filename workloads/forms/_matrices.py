"""The constant matrices of an ONNX graph, each as the right side of a MatMul. Builds no form itself.

Exporters write `x W` in many ways: as a Gemm that transposes W, as a MatMul of a Transpose of W. What compresses
weights should see one of them only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.contract import Unsupported

if TYPE_CHECKING:
    from workloads.contract import Array


MIN_SHARE = 0.5
"""Of the weights. Where a technique of matrices reaches less, a network that bears its name would be fp32 for the most
part."""


@dataclass(frozen=True)
class Matrix:
    """`node` multiplies by `value`, (K, N) fp32: rows are what comes in, columns are output channels."""

    node: Any
    value: Array

    @property
    def name(self) -> str:
        return str(self.node.input[1])


def matrices(graph: Any, what: str) -> list[Matrix]:
    """All of them, after `plain`; raises Unsupported where there is none: `what` is to be done with them."""
    plain(graph)
    check(graph, what)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    multiplied = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in constants]
    return [
        Matrix(node, _array(constants[node.input[1]])) for node in multiplied if _is_matrix(constants[node.input[1]])
    ]


def plain(graph: Any) -> None:
    """Rewrite the graph so that a constant matrix is multiplied in one way only, and what is not read is gone."""
    _turn(graph)
    _split(graph)


def check(graph: Any, what: str, operators: Sequence[str] = ("MatMul",)) -> None:
    """Raises Unsupported where these have no constant weights, or one with a value that is no number."""
    import numpy as np

    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = [node.input[1] for node in graph.node if node.op_type in operators and node.input[1] in constants]
    if not any(_is_float(constants[name]) and len(constants[name].dims) > 1 for name in weights):
        raise Unsupported(f"there is nothing to {what}: no {' or '.join(operators)} has constant weights in fp32")
    for name in weights:
        if _is_float(constants[name]) and not np.isfinite(_array(constants[name])).all():
            raise Unsupported(f"weight {name} has values that are no finite numbers: train it anew, or mend it")


def refuse_crumbs(graph: Any, found: Sequence[Matrix]) -> None:
    """Raises Unsupported where matrices hold so few of the weights that compressing them leaves the network fp32.

    Engines unpack the weights of a convolution when they load it, and compute it in fp32.
    """
    compressed, total = sum(matrix.value.size for matrix in found), counted(graph)["parameters"]
    if compressed < MIN_SHARE * total:
        raise Unsupported(
            f"there is nothing worth compressing: matrices hold {compressed / total:.0%} of the weights, and "
            "convolutions would be computed in fp32; use int8-static"
        )


def replace(graph: Any, name: str, value: Array) -> None:
    """Give the initialiser `name` another value of the same shape."""
    from onnx import numpy_helper

    constant = next(tensor for tensor in graph.initializer if tensor.name == name)
    constant.CopyFrom(numpy_helper.from_array(value, name))


def drop_unread(graph: Any) -> None:
    """Remove the initialisers that no node reads any more."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [one for one in graph.initializer if one.name not in read]:
        graph.initializer.remove(tensor)


def counted(graph: Any) -> dict[str, Any]:
    """How many numbers the fp32 constants of the graph hold, and which share of them is zero; see `statistics`."""
    import numpy as np

    kept = statistics(graph)
    arrays = [_array(one) for one in graph.initializer if _is_float(one) and one.name not in kept]
    total = sum(array.size for array in arrays)
    zeros = total - sum(int(np.count_nonzero(array)) for array in arrays)
    return {"parameters": total, "zero_share": zeros / max(1, total)}


def statistics(graph: Any) -> set[str]:
    """Names of the means and variances of its batch normalizations, which no card counts as parameters."""
    return {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}


def _turn(graph: Any) -> None:
    """Each Transpose of a constant matrix becomes a constant."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [one for one in graph.node if one.op_type == "Transpose" and _is_matrix(constants.get(one.input[0]))]:
        turned = next((list(helper.get_attribute_value(one)) for one in node.attribute), [1, 0])
        value = _array(constants[node.input[0]]).transpose(turned)
        graph.initializer.append(numpy_helper.from_array(value.copy(), node.output[0]))
        graph.node.remove(node)
    drop_unread(graph)


def _split(graph: Any) -> None:
    """Each Gemm with a constant matrix becomes a MatMul and an Add."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [made for node in graph.node for made in _split_one(graph, node, constants)]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)


def _split_one(graph: Any, node: Any, constants: dict[str, Any]) -> Iterator[Any]:
    from onnx import helper, numpy_helper

    how = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    plain = not how.get("transA") and how.get("alpha", 1.0) == how.get("beta", 1.0) == 1.0
    if node.op_type != "Gemm" or not plain or not _is_matrix(constants.get(node.input[1])):
        yield node
        return
    weight, biased = node.input[1], len(node.input) == 3 and bool(node.input[2])
    if how.get("transB"):
        weight = f"{node.output[0]}/weight"
        graph.initializer.append(numpy_helper.from_array(_array(constants[node.input[1]]).T.copy(), weight))
    product = f"{node.output[0]}/product" if biased else node.output[0]
    yield helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name)
    if biased:
        yield helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias")


def _is_matrix(tensor: Any) -> bool:
    return tensor is not None and len(tensor.dims) == 2 and _is_float(tensor)


def _is_float(tensor: Any) -> bool:
    import onnx

    return bool(tensor.data_type == onnx.TensorProto.FLOAT)


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    array: Array = numpy_helper.to_array(tensor)
    return array
