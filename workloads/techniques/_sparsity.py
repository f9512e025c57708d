"""Weights set to zero: which ones, and a graph that holds the outcome. Holds no technique.

The rules see a weight with its output channels on axis 0 and its input channels on axis 1, however the graph lays it
out. Tables that are looked up, biases and normalisation are left alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported

if TYPE_CHECKING:
    from workloads.contract import Array

    Change = Callable[[str, Array], Array]

VERSION = 3
"""Goes up with every change of what is written, as files are kept between runs."""
GROUP, KEPT = 4, 2
MULTIPLIED = {"Conv": 1, "Gemm": 1, "MatMul": 1}
"""Operators whose input of this index is a weight that is multiplied."""


def l1(array: Array, share: float) -> Array:
    """The same with the `share` of its weights that is smallest in magnitude set to zero."""
    import numpy as np

    count = round(share * array.size)
    kept = array.copy()
    kept.reshape(-1)[np.argsort(np.abs(array), axis=None, kind="stable")[:count]] = 0
    return kept


def two_of_four(array: Array) -> Array:
    """The same with the two smallest of every four consecutive input channels set to zero.

    After Mishra et al. 2021, https://arxiv.org/abs/2104.08378. A weight whose input channels do not come in fours, or
    that has none, is left as it is.
    """
    import numpy as np

    if array.ndim < 2 or array.shape[1] % GROUP:
        return array
    groups = np.moveaxis(array, 1, -1).reshape(-1, GROUP).copy()
    smallest = np.argsort(np.abs(groups), axis=1, kind="stable")[:, : GROUP - KEPT]
    np.put_along_axis(groups, smallest, 0, axis=1)
    last = (array.shape[0], *array.shape[2:], array.shape[1])
    return np.ascontiguousarray(np.moveaxis(groups.reshape(last), -1, 1))


def rewritten(model: Model, how: str, change: Change) -> Path:
    """The path of an ONNX file in which every weight that is multiplied is what `change` makes of (name, array).

    `how` names the change and all that it depends on, as the file is kept under it. The weights lie beside the file,
    which makes it an `origin`. Raises Unsupported where the graph multiplies no weight.
    """
    from workloads.forms._cache import cached
    from workloads.forms._packages import installed

    tools = installed("onnx", "techniques", "onnx")
    source, about = Path(model.form("onnx")), {}  # type: tuple[Path, dict[str, object]]

    def make(part: Path) -> None:
        about.update(_write(source, part, change))

    return cached(model, "rewritten", (VERSION, how, *tools), f"{model.name}.onnx", make, about)


def _write(source: Path, part: Path, change: Change) -> dict[str, object]:
    """Write the changed graph to `part`, its weights beside; how many there are, and the share of them that is zero.

    Weights are changed where they lie in a copy of their file, so that all files stay as large as they were.
    """
    import numpy as np
    import onnx

    from workloads.forms._matrices import statistics

    proto = onnx.load(source, load_external_data=False)
    laid = dict(_multiplied(proto.graph))
    if not laid:
        raise Unsupported(f"{source.stem} has no weight that is multiplied: there is nothing to change")
    _copy_weights(onnx, proto.graph, source.parent, part.parent)
    parameters, zeros, kept = 0, 0, statistics(proto.graph)
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor, base_dir=str(source.parent))
        if tensor.name in laid:
            array = _changed(tensor.name, array, laid[tensor.name], change)
            _put(onnx, tensor, array, part.parent)
        if array.dtype.kind == "f" and array.ndim and tensor.name not in kept:
            parameters, zeros = parameters + array.size, zeros + array.size - int(np.count_nonzero(array))
    part.write_bytes(proto.SerializeToString(deterministic=True))
    return {"parameters": parameters, "zero_share": zeros / parameters}


def _copy_weights(onnx: Any, graph: Any, source: Path, to: Path) -> None:
    """The files that hold the graph's weights, each once."""
    outside = (one for one in graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL)
    for location in {onnx.external_data_helper.ExternalDataInfo(one).location for one in outside}:
        (to / location).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / location, to / location)


def _put(onnx: Any, tensor: Any, array: Array, folder: Path) -> None:
    """The array as the tensor's values, in the graph or in its file in `folder`."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        return
    place = onnx.external_data_helper.ExternalDataInfo(tensor)
    with (folder / place.location).open("r+b") as file:
        file.seek(place.offset or 0)
        file.write(array.tobytes())


def _changed(name: str, array: Array, outputs_last: bool, change: Change) -> Array:
    """`change` of a weight with its output channels first."""
    import numpy as np

    turned = array.T if outputs_last else array
    changed = change(name, np.ascontiguousarray(turned)).astype(array.dtype, copy=False)
    return np.ascontiguousarray(changed.T if outputs_last else changed)


def _multiplied(graph: Any) -> Iterator[tuple[str, bool]]:
    """Names of fp32 weights that are multiplied, and whether their output channels lie on the last axis."""
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    floats = {one.name for one in graph.initializer if one.data_type == 1 and len(one.dims) > 1}
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    for node in graph.node:
        if node.op_type not in MULTIPLIED:
            continue
        name = node.input[MULTIPLIED[node.op_type]]
        weight = turned.get(name, name)
        if weight in floats - looked_up:
            yield weight, (node.op_type != "Conv" and not _transposed(node)) == (weight == name)


def _transposed(node: Any) -> bool:
    return any(one.name == "transB" and one.i for one in node.attribute)
