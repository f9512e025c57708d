"""Writes a TFLite file (FlatBuffers, schema version 3) with one subgraph and one signature."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workloads.contract import Array, Unsupported

SIGNATURE = "serving_default"
SCHEMA_VERSION = 3
OLD_CODE_MAX = 127
"""Operators above it do not fit into the field that older readers look at (schema.fbs, BuiltinOperator)."""
TYPES = {
    "float32": "FLOAT32", "float64": "FLOAT64", "int32": "INT32", "int64": "INT64", "int8": "INT8", "bool": "BOOL",
}  # fmt: skip


class TfliteFile:
    """Tensors and operators in the order in which they are added; equal additions make equal bytes."""

    def __init__(self, schema: types.ModuleType) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        self._buffers = [schema.BufferT()]  # the first is the empty one
        self._names: Counter[str] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def tensor(self, name: str, shape: Sequence[int | None], dtype: np.dtype[Any]) -> int:
        """A tensor that is computed; None where a size is free: it is 1 until the file is resized."""
        tensor = self._tensor(name, [size or 1 for size in shape], dtype)
        if None in shape:
            tensor.shapeSignature = [-1 if size is None else size for size in shape]
        return len(self._tensors) - 1

    def constant(self, name: str, array: Array) -> int:
        """A tensor that is stored. Of equal shapes and axes one is; each layer has weights of its own."""
        data = np.ascontiguousarray(array).tobytes()
        key = (array.dtype.name, array.shape, data)
        if key in self._constants:
            return self._constants[key]
        tensor = self._tensor(name, list(array.shape), array.dtype)
        tensor.buffer = len(self._buffers)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self._buffers.append(buffer)
        index = len(self._tensors) - 1
        if array.dtype.kind == "i":
            self._constants[key] = index
        return index

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **values: Any
    ) -> None:
        """An operator by TFLite's name ("CONV_2D"), with the fields of its `options` table ("Conv2DOptions")."""
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            operator.builtinOptions = table = getattr(self._schema, f"{options}T")()
            for name, value in values.items():
                if not hasattr(table, name):
                    raise AttributeError(f"{options} has no {name}")
                setattr(table, name, value)
        self._operators.append(operator)

    def number(self, enumeration: str, name: str) -> int:
        """The number of a name in one of the schema's enumerations ("Padding", "SAME")."""
        return int(getattr(getattr(self._schema, enumeration), name))

    def serialised(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """The file, whose signature calls these tensors by these names."""
        graph = self._schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        signature = self._schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs, signature.outputs = self._named(inputs), self._named(outputs)
        model = self._schema.ModelT()
        model.version = SCHEMA_VERSION
        model.description = "accelmark"
        model.operatorCodes = [self._code(kind) for kind in self._codes]
        model.buffers = self._buffers
        model.subgraphs, model.signatureDefs = [graph], [signature]
        return packed(model)

    def _tensor(self, name: str, shape: list[int], dtype: np.dtype[Any]) -> Any:
        if dtype.name not in TYPES:
            raise Unsupported(f"tflite has no tensors of {dtype.name}, as {name} is")
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = self._unique(name), shape, 0
        tensor.type = self.number("TensorType", TYPES[dtype.name])
        self._tensors.append(tensor)
        return tensor

    def _unique(self, name: str) -> str:
        """The quantizer knows tensors by their names, and graphs use one shape or scale for several operators."""
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}/{self._names[name]}"

    def _code(self, kind: str) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = self.number("BuiltinOperator", kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, OLD_CODE_MAX)
        code.version = 1
        return code

    def _named(self, tensors: Mapping[str, int]) -> list[Any]:
        maps = []
        for name, index in tensors.items():
            entry = self._schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            maps.append(entry)
        return maps


def packed(model: Any) -> bytes:
    """A model of the schema's objects as the bytes of a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unpacked(schema: types.ModuleType, data: bytes) -> Any:
    """A file as the schema's objects, all constants in it: the quantizer puts large ones behind the FlatBuffer, where
    older readers, Coral's compiler among them, do not look."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model
