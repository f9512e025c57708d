"""OpenVINO on one device, never on one that it picks itself (AUTO, HETERO)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from backends.contract import (
    Arrays,
    Device,
    Engine,
    Executed,
    Facts,
    Model,
    Placement,
    Plan,
    Presence,
    Session,
    Setting,
    Unsupported,
    Values,
)
from backends.engines import _openvino_npu as npu
from backends.engines import _openvino_profile as profile
from backends.engines._tuning import Spread, check_options, check_precision, choice, importable, spread, unreachable
from workloads.contract import TensorSpec

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""A graph that is quantised has its precision in itself; what is left of it computes in f32."""
ACTIVATION_GROUP = {"int8": 32, "int4": 32}
"""Activations that meet compressed weights become int8 by so many, as in onnxruntime's MatMulNBits; 0: they stay."""
PRECISIONS = {"CPU": ("fp32", "bf16", "fp16"), "NPU": ("fp16",)}
CONVERSION_FAILURES = ("OpConversionFailure", "NotImplementedFailure")
OPTIONS = {"CPU": ("threads", "streams", "pinning", "dynamic_shapes"), "NPU": npu.OPTIONS}
READ_BACK = (
    "INFERENCE_PRECISION_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS", "PERFORMANCE_HINT", "EXECUTION_MODE_HINT",
    "ENABLE_CPU_PINNING", "ENABLE_HYPER_THREADING", "DYNAMIC_QUANTIZATION_GROUP_SIZE", "CPU_DENORMALS_OPTIMIZATION",
    "RUNTIME_REQUIREMENTS",
)  # fmt: skip


class OpenVinoEngine(Engine):
    """Options: threads (of each stream), streams, pinning (on, off), dynamic_shapes (on, off); on an NPU: compiler
    (driver, plugin).
    """

    name = "openvino"

    def form_of(self, model: Model, precision: str) -> str:
        """The library's own IR where a technique made one, as some write nothing else that it reads."""
        return "openvino" if "openvino" in model.made else super().form_of(model, precision)

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        return importable(self.name, "openvino", "cpu")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` is reading the graph and fixing its shapes; `compile_ns` is compile_model.

        Shapes are fixed to the plan's batch, as the library then plans memory and picks kernels for it.
        """
        address = device.address[self.name]
        check_options(self.name, plan, OPTIONS[address])
        check_precision(self.name, plan, PRECISIONS[address], "others need a quantised graph: --technique", model)
        path = model.form(self.form_of(model, plan.precision))
        started = time.monotonic_ns()
        import openvino

        imported = time.monotonic_ns()
        core = openvino.Core()
        if address == "NPU":
            npu.check(core)
        static = choice(plan.options, "dynamic_shapes", "off", ("on", "off")) == "off"
        batch = plan.batch if static else None
        graph = _read(core, path, model, batch)
        loaded = time.monotonic_ns()
        load = spread(plan) if address == "CPU" else Spread(1, 1)
        compiled = _compiled(core, graph, address, _properties(plan, address, load))
        done = time.monotonic_ns()
        if address == "NPU":  # how many requests keep it busy is the plug-in's to say
            load = Spread(1, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        settings = _settings(compiled, plan, load, static)
        settings |= _layer_types(compiled, plan) if address == "CPU" else npu.settings(core, plan)
        placement = _placement(compiled, address, device)
        facts = Facts(settings, placement, imported - started, loaded - imported, done - loaded)
        if address == "NPU":
            return _Session(openvino.Tensor, compiled, model, facts)

        def again() -> Any:
            properties = {**_properties(plan, address, load), **profile.COUNTING}
            return _compiled(core, _read(core, path, model, batch), address, properties)

        return _CpuSession(openvino.Tensor, compiled, model, facts, again, Path(path))


class _Session(Session):
    """Each of `streams` requests owns a stream. Whoever runs borrows one, so `submit` overlaps them on plain threads.

    The library's own callbacks were not clearly faster (throughput ratios of 0.5 to 1.1 in eight alternated runs on 2
    busy cores), and as documented they are not called when a run fails.
    """

    def __init__(self, tensor: Any, compiled: Any, model: Model, facts: Facts) -> None:
        import numpy

        self._contiguous = numpy.ascontiguousarray
        self._tensor = tensor
        self._compiled = compiled
        self._inputs = _ports(compiled.inputs, model.inputs)
        self._outputs = _ports(compiled.outputs, model.outputs)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self.facts = facts
        self.inflight = int(facts.settings["streams"])
        for _ in range(self.inflight):
            self._idle.put(compiled.create_infer_request())

    def put(self, arrays: Arrays) -> Values:
        """Tensors over the caller's memory. The library's dictionaries would cast and reshape what does not fit."""
        if len(arrays) != len(self._inputs):
            raise ValueError(f"inputs are {', '.join(arrays)} and must be {', '.join(self._inputs)}")
        tensor, contiguous = self._tensor, self._contiguous
        return [(i, tensor(contiguous(arrays[name]), shared_memory=True)) for name, i in self._inputs.items()]

    def run(self, values: Values) -> Values:
        """Outputs are copied out of the request, which the next run overwrites."""
        request = self._idle.get()
        try:
            for index, tensor in values:
                request.set_input_tensor(index, tensor)
            request.infer(share_outputs=True)
            return {name: request.get_output_tensor(index).data.copy() for name, index in self._outputs.items()}
        finally:
            self._idle.put(request)

    def close(self) -> None:
        super().close()
        self._idle = SimpleQueue()
        self._compiled = None


class _CpuSession(_Session):
    """A session that can be compiled `again`, from the file at `path`, to look at what it executes."""

    def __init__(
        self, tensor: Any, compiled: Any, model: Model, facts: Facts, again: Callable[[], Any], path: Path
    ) -> None:
        super().__init__(tensor, compiled, model, facts)
        self._again, self._path = again, path

    def executed(self, values: Values) -> Executed:
        return profile.executed(self._compiled, self._again, self.facts, self._path, values)

    def close(self) -> None:
        super().close()
        del self._again


def _ports(ports: Any, specs: Sequence[TensorSpec]) -> dict[str, int]:
    """The index of each tensor's port; a port may have several names, and ports may be in another order."""
    return {spec.name: next(i for i, port in enumerate(ports) if spec.name in port.get_names()) for spec in specs}


def _properties(plan: Plan, address: str, load: Spread) -> dict[str, Any]:
    """The precision is always set: on a CPU that has bf16 it would be bf16 by default."""
    hints = {"INFERENCE_PRECISION_HINT": HINTS.get(plan.precision, "f32"), "PERFORMANCE_HINT": plan.goal.upper()}
    if address == "NPU":
        return {**hints, **npu.properties(plan)}
    return {
        **hints,
        "NUM_STREAMS": load.streams,
        "INFERENCE_NUM_THREADS": load.streams * load.threads,
        "ENABLE_CPU_PINNING": choice(plan.options, "pinning", "on", ("on", "off")) == "on",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATION_GROUP.get(plan.precision, 0),
    }


def _compiled(core: Any, graph: Any, address: str, properties: dict[str, Any]) -> Any:
    try:
        return core.compile_model(graph, address, properties)
    except RuntimeError as error:
        if address == "NPU":
            npu.explain(error)
        raise


def _read(core: Any, path: Any, model: Model, batch: int | None) -> Any:
    """The graph, its free sizes fixed where there is a `batch`."""
    try:
        graph = core.read_model(path)
    except RuntimeError as error:
        if not any(failure in str(error) for failure in CONVERSION_FAILURES):
            raise
        raise Unsupported(f"openvino cannot read the graph: {str(error).strip().splitlines()[-1]}") from error
    if batch is not None:
        graph.reshape({spec.name: [batch, *(n or -1 for n in spec.shape[1:])] for spec in model.inputs})
    return graph


def _settings(compiled: Any, plan: Plan, load: Spread, static: bool) -> dict[str, Setting]:
    """What the compiled model says of itself."""
    known = compiled.get_property("SUPPORTED_PROPERTIES")
    return {
        "precision": plan.precision,
        "threads": load.threads,
        "streams": load.streams,
        "static_shapes": static,
        **{name: _plain(compiled.get_property(name)) for name in READ_BACK if name in known},
    }


def _layer_types(compiled: Any, plan: Plan) -> dict[str, Setting]:
    """The proof of the precision: raises Unsupported where the layers compute in another one than asked.

    A CPU without bf16 or fp16 instructions takes the hint and computes in fp32.
    """
    layers = _layers(compiled)
    counts = " ".join(f"{kind}:{n}" for kind, n in sorted(layers.items()))
    reduced = {kind for kind in ("bf16", "f16") if layers[kind]}
    if reduced != {HINTS.get(plan.precision, "f32")} - {"f32"}:
        raise Unsupported(f"openvino was asked for {plan.precision}, and this CPU computes its layers as {counts}")
    return {"layer_types": counts}


def _layers(compiled: Any) -> Counter[str]:
    """How many of the layers that will really run compute in which type; inputs, constants and outputs do not count."""
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    kinds = [(_info(info, "layerType"), _info(info, "runtimePrecision")) for info in infos]
    return Counter(kind for layer, kind in kinds if layer not in ("Input", "Const", "Output"))


def _info(info: Any, key: str) -> str:
    return str(info[key].value) if key in info else "unknown"


def _plain(value: Any) -> Setting:
    """A property as plain data: the library has its own classes for types and enumerations."""
    if hasattr(value, "get_type_name"):
        return str(value.get_type_name())
    return value if isinstance(value, (bool, int, float, str)) else str(getattr(value, "name", value))


def _placement(compiled: Any, address: str, device: Device) -> Placement:
    """The devices that the compiled model itself names; it has all of its layers there."""
    places = compiled.get_property("EXECUTION_DEVICES")
    share = sum(place.partition(".")[0] == address.partition(".")[0] for place in places) / max(1, len(places))
    return Placement(device.name, share, f"EXECUTION_DEVICES is {' '.join(places)}")
