"""What runs .tflite files: an interpreter's tensors as the arrays that every session takes and gives. Holds no part.

LiteRT, TensorFlow Lite and pycoral share the interpreter's interface, and this module uses no more of it than the
oldest of them has.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from backends.contract import Arrays, Executed, Facts, Model, Plan, Session, Unsupported, Values
from backends.engines._tuning import check_arrays
from workloads.contract import TensorSpec

if TYPE_CHECKING:
    from workloads.contract import Array

KERNELS = {"xnnpack": "BUILTIN", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
"""Who computes on the CPU, by LiteRT's name of the resolver: XNNPACK where it can, LiteRT's own kernels, or those that
its own are tested against."""
PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
KINDS = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8", "int16": "int16"}
DELEGATED = "DELEGATE"
NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
MARK = ":nhwc"
"""How the tensor's name says that an image's channels come last (docs/targets/edgetpu.md)."""


@dataclass(frozen=True)
class Port:
    """One input or output of a file: `index` of its tensor, and how it differs from `spec`.

    `nhwc`: its channels come last. A real value is (stored - zero_point) × scale; a scale of 0 means that nothing is
    quantised.
    """

    spec: TensorSpec
    index: int
    nhwc: bool
    dtype: Any
    scale: float
    zero_point: int

    def encode(self, array: Array) -> Array:
        """What the tensor holds for an array of `spec`: rounded to the nearest, ties to even, cut off at the ends."""
        import numpy as np

        if self.nhwc:
            array = array.transpose(NHWC)
        if not self.scale:
            return np.ascontiguousarray(array)
        steps = np.rint(array * np.float32(1 / self.scale))
        steps += self.zero_point
        limits = np.iinfo(self.dtype)
        return np.ascontiguousarray(np.clip(steps, limits.min, limits.max, out=steps).astype(self.dtype))

    def decode(self, stored: Array) -> Array:
        """The array of `spec` that a tensor holds."""
        import numpy as np

        if self.scale:
            stored = (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return np.ascontiguousarray(stored.transpose(NCHW)) if self.nhwc else stored


@dataclass
class _Seat:
    """An interpreter, and the shapes that its inputs have now: asking it takes 3.5 us."""

    interpreter: Any
    shapes: list[tuple[int, ...]]


class InterpreterSession(Session):
    """Each of the interpreters runs one query at a time; whoever runs borrows one, so `submit` overlaps them."""

    def __init__(self, interpreters: Sequence[Any], model: Model, facts: Facts) -> None:
        self.facts = facts
        self.inflight = len(interpreters)
        self._specs = model.inputs
        self._inputs, self._outputs = ports(interpreters[0], model)
        self._idle: SimpleQueue[_Seat] = SimpleQueue()
        for interpreter in interpreters:
            self._idle.put(_Seat(interpreter, []))

    def put(self, arrays: Arrays) -> Values:
        check_arrays(self._specs, arrays)
        return [(port.index, port.encode(arrays[port.spec.name])) for port in self._inputs]

    def run(self, values: Values) -> Values:
        """Outputs are copied out of the interpreter, which the next run overwrites."""
        seat = self._idle.get()
        interpreter = seat.interpreter
        try:
            shapes = [array.shape for _, array in values]
            if shapes != seat.shapes:
                resize(interpreter, values)
                seat.shapes = shapes
            for index, array in values:
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(port.index) for port in self._outputs]
        finally:
            self._idle.put(seat)

    def get(self, values: Values) -> Arrays:
        return {port.spec.name: port.decode(stored) for port, stored in zip(self._outputs, values)}

    def executed(self, values: Values) -> Executed:
        """The operators of the interpreter's plan: LiteRT's Python has no profiler, and so no times."""
        seat = self._idle.get()
        try:
            return listed(seat.interpreter)
        finally:
            self._idle.put(seat)

    def close(self) -> None:
        super().close()
        self._idle = SimpleQueue()


class LiteRtSession(InterpreterSession):
    """A .tflite file in LiteRT on the CPU, ready for `plan.batch`; `reference` takes the reference kernels."""

    def __init__(
        self, path: Path, model: Model, plan: Plan, facts: Facts, threads: int = 1, reference: bool = False
    ) -> None:
        interpreter = create(path, threads, "reference" if reference else "xnnpack")
        prepare(interpreter, model, plan.batch)
        super().__init__([interpreter], model, facts)


def create(path: Path, threads: int, kernels: str, delegate: Any = None) -> Any:
    """An interpreter of LiteRT; raises Unsupported for a file with operators that it lacks."""
    from ai_edge_litert import interpreter as litert

    resolver = getattr(litert.OpResolverType, KERNELS[kernels])
    delegates = [delegate] if delegate else None
    try:
        return litert.Interpreter(
            str(path), None, delegates, num_threads=threads, experimental_op_resolver_type=resolver
        )
    except (ValueError, RuntimeError) as error:
        raise Unsupported(f"LiteRT cannot read {path.name}: {_last_line(error)}") from error


def prepare(interpreter: Any, model: Model, batch: int) -> None:
    """Memory for `batch` samples. Where other sizes are free too, the first query tells them."""
    inputs, _ = ports(interpreter, model)
    if any(None in port.spec.shape[1:] for port in inputs):
        return
    import numpy as np

    shapes = [(port, [batch, *(size or 1 for size in port.spec.shape[1:])]) for port in inputs]
    empty = [(port.index, port.encode(np.zeros(shape, port.spec.dtype))) for port, shape in shapes]
    try:
        resize(interpreter, empty)
    except (ValueError, RuntimeError) as error:
        raise Unsupported(f"the .tflite file cannot take batch {batch}: {_last_line(error)}") from error


def resize(interpreter: Any, values: Sequence[tuple[int, Array]]) -> None:
    """Give the input tensors the shapes of `values` where they have others, and memory to all that follow."""
    shapes = {detail["index"]: tuple(detail["shape"]) for detail in interpreter.get_input_details()}
    for index, array in values:
        if array.shape != shapes[index]:
            interpreter.resize_tensor_input(index, array.shape, strict=True)
    interpreter.allocate_tensors()


def ports(interpreter: Any, model: Model) -> tuple[list[Port], list[Port]]:
    """The file's inputs and outputs in the order of the model's; raises Unsupported where they do not belong to it."""
    names = _signature(interpreter)
    inputs = _matched(interpreter.get_input_details(), names[0], model.inputs)
    return inputs, _matched(interpreter.get_output_details(), names[1], model.outputs)


def _signature(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    """The names that the file's signature gives to its tensors, by index; a file may have none."""
    try:
        (key,) = interpreter.get_signature_list()
    except (AttributeError, ValueError):
        return {}, {}
    runner = interpreter.get_signature_runner(key)
    sides = runner.get_input_details(), runner.get_output_details()
    inputs, outputs = ({detail["index"]: name for name, detail in side.items()} for side in sides)
    return inputs, outputs


def _matched(details: Sequence[Any], names: dict[int, str], specs: Sequence[TensorSpec]) -> list[Port]:
    """By the signature's name, else by the tensor's, else because there is only one."""
    by_name = {names.get(detail["index"], _plain(detail["name"])): detail for detail in details}
    if len(details) == len(specs) == 1:
        by_name = {specs[0].name: details[0]}
    if missing := [spec.name for spec in specs if spec.name not in by_name]:
        raise Unsupported(f"the .tflite file has no tensor {', '.join(missing)}: it has {', '.join(by_name)}")
    return [_port(by_name[spec.name], spec) for spec in specs]


def _plain(name: str) -> str:
    """A tensor's name without what converters put around a model's own one."""
    return name.replace("serving_default_", "").split(":")[0]


def _port(detail: Any, spec: TensorSpec) -> Port:
    import numpy as np

    signature = [int(size) for size in detail.get("shape_signature", detail["shape"])]
    shape = [None if size < 0 else size for size in signature]
    turned = [spec.shape[axis] for axis in NHWC] if len(spec.shape) == 4 else []
    marked = detail["name"].endswith(MARK)
    nhwc = bool(turned) and _fits(shape, turned) and (marked or not _fits(shape, spec.shape))
    if not nhwc and not _fits(shape, spec.shape):
        raise Unsupported(f"the .tflite file has {spec.name} of shape {shape}, and the model {list(spec.shape)}")
    scale, zero_point = detail["quantization"]
    if not scale and np.dtype(detail["dtype"]) != np.dtype(spec.dtype):
        raise Unsupported(
            f"the .tflite file has {spec.name} as {np.dtype(detail['dtype'])}, and the model {spec.dtype}"
        )
    return Port(spec, detail["index"], nhwc, detail["dtype"], float(scale), int(zero_point))


def _fits(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(a is None or b is None or a == b for a, b in zip(shape, wanted))


def operators(interpreter: Any) -> list[str]:
    """What will run, by TFLite's names; a part that a delegate took is one operator of the delegate's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [one["op_name"] for one in interpreter._get_ops_details()]  # there is no public way


def listed(interpreter: Any) -> Executed:
    """Products by the types that they multiply. An operator that a delegate took still stands in the list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = interpreter._get_ops_details()
    types = {one["index"]: one["dtype"] for one in interpreter.get_tensor_details()}
    found, kernels = Counter[str](), Counter[str]()
    for one in plan:
        kinds = [_kind(types.get(index)) for index in one["inputs"]]
        if one["op_name"] in PRODUCTS:
            kernels[_multiplied(kinds[0], kinds[1])] += 1
            found[f"{one['op_name']} {kinds[0]} x {kinds[1]}"] += 1
        elif one["op_name"] != DELEGATED:
            found[one["op_name"]] += 1
    parts = [one["op_name"] for one in plan].count(DELEGATED)
    return Executed(
        f"the interpreter's list of operators, {parts} parts of it taken by XNNPACK; no profile", kernels, found
    )


def _kind(dtype: Any) -> str:
    import numpy as np

    return "none" if dtype is None else KINDS.get(np.dtype(dtype).name, np.dtype(dtype).name)


def _multiplied(left: str, right: str) -> str:
    """Floats by whole numbers: weights are stored smaller, or the kernel quantises as it goes, which the list hides."""
    return left if left == right else f"{left} by {right} weights"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
