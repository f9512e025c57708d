"""An ONNX graph with its weights and activations in 16 bits, for engines whose precision lies in the graph.

Inputs and outputs keep their names, shapes and types: casts stand behind the one and before the other. What is made of
integers alone (a mask, the angle of a position) stays in fp32 until it meets an activation, as in a network that is
cast in torch. An operator that ONNX does not define in 16 bits stays in fp32 between casts. Constants beyond the range
of fp16 become its largest number; infinity stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached
from workloads.forms._packages import installed
from workloads.weights import FILE_NAME, aligned

if TYPE_CHECKING:
    from workloads.contract import Array

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
BF16_OPSET = 22
"""The first one that defines convolution, pooling and trigonometry in bfloat16."""
INLINE_BYTES = 1024
"""As the onnx package has it: size_threshold of convert_model_to_external_data."""


class Weights:
    """The open file of weights beside a graph; tensors of equal content lie in it once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self._places: dict[str, dict[str, str]] = {}

    def add(self, array: Array) -> Mapping[str, str]:
        """Where the array lies, as ONNX's external data says it."""
        content = array.reshape(-1).view("u1").data
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._places:
            offset = aligned(self._end, len(content))
            self._file.write(bytes(offset - self._end))
            self._file.write(content)
            self._end = offset + len(content)
            self._places[digest] = {"location": FILE_NAME, "offset": str(offset), "length": str(len(content))}
        return self._places[digest]


def narrow(model: Model, form: str, kind: str) -> Path:
    """The file of `model` in `kind`, "float16" or "bfloat16", its weights beside it; raises Unsupported."""
    tools = installed(form, "model", "onnx")
    source = Path(model.form("onnx"))

    def make(part: Path) -> None:
        with part.with_name(FILE_NAME).open("wb") as file:
            graph = _converted(source, kind, Weights(file))
        part.write_bytes(graph)

    return cached(model, form, (VERSION, *tools), f"{model.name}.onnx", make)


def _converted(source: Path, kind: str, weights: Weights) -> bytes:
    """The bytes of the new graph, whose weights go to `weights`."""
    import onnx

    proto = onnx.load(source, load_external_data=False)
    if proto.functions:
        raise Unsupported(f"{source.stem} has functions of its own, which are not cast to {kind}: inline them")
    if kind == "bfloat16":
        _raise_opset(onnx, proto)
    _Cast(onnx, proto, source.parent, kind, weights).apply()
    del proto.graph.value_info[:]
    made: bytes = proto.SerializeToString(deterministic=True)
    return made


def _raise_opset(onnx: Any, proto: Any) -> None:
    """To where operators are defined in bfloat16, if they differ in nothing else."""
    (opset,) = (one for one in proto.opset_import if one.domain == "")
    if opset.version >= BF16_OPSET:
        return
    for name in sorted({node.op_type for node in proto.graph.node if node.domain == ""}):
        old, new = (onnx.defs.get_schema(name, version, "") for version in (opset.version, BF16_OPSET))
        if _form(old) != _form(new):
            raise Unsupported(f"operator {name} changed after opset {opset.version}: export with opset {BF16_OPSET}")
    opset.version = BF16_OPSET
    proto.ir_version = max(proto.ir_version, 10)


def _form(schema: Any) -> tuple[Any, ...]:
    """Names and number of what an operator takes and gives, and its attributes with their defaults."""
    ends = [(end.name, str(end.option)) for end in (*schema.inputs, *schema.outputs)]
    attributes = {(name, str(one.type), str(one.default_value)) for name, one in schema.attributes.items()}
    return ends, attributes, schema.min_input, schema.max_input


class _Cast:
    """One graph, changed in place, node after node in the order of the file, which is one of computing."""

    def __init__(self, onnx: Any, proto: Any, folder: Path, kind: str, weights: Weights) -> None:
        self._onnx, self._graph, self._folder, self._kind, self._weights = onnx, proto.graph, folder, kind, weights
        self._wide = onnx.TensorProto.FLOAT
        self._narrow = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}[kind]
        self._opsets = {one.domain: one.version for one in proto.opset_import}
        self._floats = _floats(onnx, proto)
        self._constants = {one.name: one for one in proto.graph.initializer}
        self._held: dict[tuple[str, bool], str] = {}
        """What a float tensor is called, by its name of old and whether it is narrow."""
        self._nodes: list[Any] = []
        self._kept: dict[str, Any] = {}

    def apply(self) -> None:
        outputs = {one.name for one in self._graph.output} & self._floats
        # Files before IR 4 list their weights among the inputs.
        entering = [value for value in self._graph.input if value.name not in self._constants]
        for value in entering:
            if value.name in self._floats:
                self._held[value.name, False] = value.name
                self._named(value.name, narrow=True)  # what enters is an activation, whoever reads it first
        for node in self._graph.node:
            self._take(node, outputs)
        for name in sorted(outputs):
            if (name, False) not in self._held:
                self._add_cast(self._held[name, True], name, self._wide)
        graph = self._graph
        changed = (graph.input, entering), (graph.node, self._nodes), (graph.initializer, list(self._kept.values()))
        for field, values in changed:
            del field[:]
            field.extend(values)

    def _take(self, node: Any, outputs: set[str]) -> None:
        if any(one.type in (one.GRAPH, one.GRAPHS) for one in node.attribute):
            raise Unsupported(f"{node.op_type} {node.name} holds a graph of its own, which is not cast to {self._kind}")
        if node.op_type == "Constant" and node.output[0] in self._floats:
            self._constants[node.output[0]] = self._constant(node)
            return
        narrow = self._is_narrow(node)
        schema = self._schema(node)
        if narrow and node.op_type == "Cast":
            _retarget(node, self._wide, self._narrow)
        for index, name in enumerate(node.input):
            if name in self._floats:
                node.input[index] = self._named(name, narrow and self._may_be_narrow(schema.inputs, index))
            elif name in self._constants:
                self._kept.setdefault(name, self._inline(self._constants[name]))
        self._nodes.append(node)
        for index, name in enumerate(node.output):
            if name in self._floats:
                small = narrow and self._may_be_narrow(schema.outputs, index)
                held = f"{name}.{self._kind}" if small and name in outputs else name
                self._held[name, small] = node.output[index] = held

    def _is_narrow(self, node: Any) -> bool:
        """Whether an activation flows in, or nothing does but weights: a table that integers look up."""
        floats = [name for name in node.input if name in self._floats]
        flowing = [name for name in floats if name not in self._constants]
        return any((name, True) in self._held for name in flowing) if flowing else bool(floats)

    def _named(self, name: str, narrow: bool) -> str:
        """What a float tensor is called in this width: a constant converted, anything else behind a cast."""
        if (name, narrow) in self._held:
            return self._held[name, narrow]
        called = f"{name}.{self._kind}" if narrow else name
        if name in self._constants:
            self._kept[called] = self._stored(self._constants[name], called, narrow)
        else:
            called = called if narrow else f"{name}.float"
            self._add_cast(self._held[name, not narrow], called, self._narrow if narrow else self._wide)
        self._held[name, narrow] = called
        return called

    def _add_cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(self._onnx.helper.make_node("Cast", [source], [target], f"cast {target}", to=to))

    def _stored(self, tensor: Any, name: str, narrow: bool) -> Any:
        """A float constant, its values in the weights file; few, as those that say a size, in the graph."""
        array = narrowed(self._array(tensor), self._kind) if narrow else self._array(tensor)
        kind = self._narrow if narrow else self._wide
        stored = self._onnx.TensorProto(name=name, dims=tensor.dims, data_type=kind)
        if array.nbytes < INLINE_BYTES:
            stored.raw_data = array.tobytes()
            return stored
        stored.data_location = self._onnx.TensorProto.EXTERNAL
        for key, value in self._weights.add(array).items():
            stored.external_data.add(key=key, value=value)
        return stored

    def _inline(self, tensor: Any) -> Any:
        """A constant that is no float, its values in the graph itself."""
        if tensor.data_location != self._onnx.TensorProto.EXTERNAL:
            return tensor
        return self._onnx.numpy_helper.from_array(self._array(tensor), tensor.name)

    def _array(self, tensor: Any) -> Array:
        array: Array = self._onnx.numpy_helper.to_array(tensor, base_dir=str(self._folder))
        return array

    def _constant(self, node: Any) -> Any:
        (attribute,) = node.attribute
        value = self._onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return value
        if attribute.name not in ("value_float", "value_floats"):
            raise Unsupported(f"constant {node.output[0]} comes as {attribute.name}, which is not cast to {self._kind}")
        import numpy as np

        return self._onnx.numpy_helper.from_array(np.asarray(value, np.float32), node.output[0])

    def _schema(self, node: Any) -> Any:
        try:
            return self._onnx.defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
        except (KeyError, self._onnx.defs.SchemaError) as error:
            raise Unsupported(f"operator {node.op_type} is not of ONNX, so nobody knows it in {self._kind}") from error

    def _may_be_narrow(self, ends: Any, index: int) -> bool:
        """Whether ONNX defines this end of an operator in 16 bits; the last one may stand for many."""
        return f"tensor({self._kind})" in ends[min(index, len(ends) - 1)].types


def _floats(onnx: Any, proto: Any) -> set[str]:
    """Names of all fp32 tensors; raises Unsupported where ONNX cannot tell the type of one."""
    seen = onnx.shape_inference.infer_shapes(proto).graph
    kinds = {one.name: one.type.tensor_type.elem_type for one in (*seen.input, *seen.output, *seen.value_info)}
    kinds.update({one.name: one.data_type for one in proto.graph.initializer})
    made = (name for node in proto.graph.node for name in node.output if name)
    if unknown := [name for name in made if not kinds.get(name)]:
        raise Unsupported(f"the type of {unknown[0]} cannot be told, so the graph is not cast")
    return {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}


def _retarget(node: Any, old: int, new: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == old:
            attribute.i = new


def narrowed(array: Array, kind: str) -> Array:
    """fp32 rounded to the nearest, ties to even; bfloat16 as its bits, which NumPy has no type for.

    Finite numbers beyond the largest of the type become that.
    """
    import numpy as np

    array = np.ascontiguousarray(array, "<f4")
    if kind == "float16":
        largest = np.float32(np.finfo(np.float16).max)
        return np.where(np.isinf(array), array, np.clip(array, -largest, largest)).astype("<f2")
    bits = array.view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    overflowed = np.isfinite(array) & (rounded & 0x7FFF == 0x7F80)
    rounded = np.where(overflowed, rounded - 1, rounded)
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype("<u2")
