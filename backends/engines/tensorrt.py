"""NVIDIA TensorRT 11: the ONNX graph in the precision that it is written in, fused and tuned for one GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from backends import _cuda, _nvml
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
    Unsupported,
    Values,
)
from backends.engines._cudart import Block, Cuda, Pool
from backends.engines._tensorrt_build import OPTIONS, build, layer_types, layers, parse
from backends.engines._tensorrt_layers import executed, profiler
from backends.engines._tuning import (
    CHECKOUT,
    ONNX_FORMS,
    check_arrays,
    check_options,
    check_precision,
    choice,
    importable,
    installed,
    unreachable,
    whole,
)
from workloads.contract import TensorSpec

if TYPE_CHECKING:
    from workloads.contract import Array

FORMS = {**ONNX_FORMS, "int8": "onnx_qdq_symmetric"}
PRECISIONS = ("fp32", "tf32", *FORMS)
ADA = (8, 9)
"""The compute capability that fp8 came with (CUDA C++ Programming Guide, tensor cores)."""
MAJOR = "11"
RELEASES = ("tensorrt-cu13", "tensorrt-cu12")
"""What `tensorrt` stands for: the libraries for one CUDA release each."""


class TensorRtEngine(Engine):
    """Options: streams, pinned (on, off), optimization_level (0 to 5), workspace_mib, timing_cache (on, off), free_max.

    The engine is built anew each time; what its kernels took when they were tried is kept, unless timing_cache=off.
    """

    name = "tensorrt"

    def form_for(self, precision: str) -> str:
        return FORMS.get(precision, self.form)

    def form_of(self, model: Model, precision: str) -> str:
        """int8 comes as explicit quantisation, of which TensorRT takes no form but one."""
        return FORMS["int8"] if precision == "int8" else super().form_of(model, precision)

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        remedy = CHECKOUT.format(extra="tensorrt")
        for release in RELEASES:
            if installed(f"{release}-bindings") and not installed(f"{release}-libs"):
                why = f"{release}-bindings is installed without {release}-libs, which NVIDIA's own index has"
                fetch = f"pip install --extra-index-url https://pypi.nvidia.com {release}"
                return Presence("broken", why, fetch)
        presence = importable(self.name, "tensorrt", "tensorrt")
        if presence.state != "present":
            return presence
        version = next((found for one in ("tensorrt", *RELEASES) if (found := installed(one))), None)
        if version is not None and version.partition(".")[0] != MAJOR:
            return Presence("broken", f"tensorrt {version} is not {MAJOR}, whose networks are strongly typed", remedy)
        if installed("cuda-bindings") is None:
            return Presence("absent", "tensorrt needs the package cuda-bindings", remedy)
        cuda = next((int(one[-2:]) for one in RELEASES if installed(one)), None)
        return _cuda.too_old("tensorrt", cuda) or presence

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` parses the graph and reads its weights, `compile_ns` builds the engine and allocates."""
        check_options(self.name, plan, OPTIONS)
        check_precision(self.name, plan, PRECISIONS, "others are not written into the graph", model)
        path = model.form(self.form_of(model, plan.precision))
        started = time.monotonic_ns()
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        imported = time.monotonic_ns()
        cuda = Cuda(cudart, _cuda.ordinal(device.address[self.name], begun=False))
        _check_capability(cuda.capability(), plan.precision)
        logger = trt.Logger(trt.Logger.ERROR)
        parsed = parse(trt, logger, path)
        loaded = time.monotonic_ns()
        engine, settings = build(trt, logger, parsed, plan, cuda.name())
        streams = whole(plan.options, "streams", _cuda.OVERLAP if plan.goal == "throughput" else 1)
        pinned = choice(plan.options, "pinned", "on", ("on", "off")) == "on"
        types = layer_types(trt, engine)
        proof = f"{engine.num_layers} layers built for {cuda.name()}; TensorRT runs none on the host"
        facts = Facts(
            {
                **settings,
                "streams": streams,
                "pinned": pinned,
                **({"layer_types": types} if types else {}),
                **_nvml.configuration(device),
            },
            Placement(device.name, 1.0, proof),
            import_ns=imported - started,
            load_ns=loaded - imported,
            compile_ns=0,
        )
        session = _Session(trt, cuda, engine, model, plan.batch, facts, pinned)
        session.facts = replace(facts, compile_ns=time.monotonic_ns() - loaded)
        return session


@dataclass(frozen=True)
class _Tensor:
    """One input or output in the memory of the GPU."""

    block: Block
    shape: tuple[int, ...]


class _Lane:
    """A stream with an execution context, for one run at a time."""

    def __init__(self, trt: Any, cuda: Cuda, engine: Any) -> None:
        self._cuda = cuda
        self.stream = cuda.stream()
        self.begin, self.end = cuda("cudaEventCreate"), cuda("cudaEventCreate")
        self.context = engine.create_execution_context()
        if self.context is None:
            raise MemoryError("TensorRT has no memory for an execution context")
        self.context.nvtx_verbosity = trt.ProfilingVerbosity.NONE  # the engine's own would cost time in each run
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.enqueue_ns = 0

    def take(self, name: str, tensor: _Tensor) -> None:
        if self.shapes.get(name) != tensor.shape:
            if not self.context.set_input_shape(name, tensor.shape):
                raise ValueError(f"{name} may not be of shape {tensor.shape}: the engine was not built for it")
            self.shapes[name] = tensor.shape
        self.context.set_tensor_address(name, tensor.block.pointer)

    def start(self) -> None:
        began = time.monotonic_ns()
        self._cuda("cudaEventRecord", self.begin, self.stream)
        started = self.context.execute_async_v3(int(self.stream))
        self._cuda("cudaEventRecord", self.end, self.stream)
        self.enqueue_ns = time.monotonic_ns() - began
        if not started:
            self.finish()
            raise RuntimeError("TensorRT did not start the run: its messages are in the worker's output")

    def finish(self) -> None:
        self._cuda("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        self.context = None
        for event in (self.begin, self.end):
            self._cuda("cudaEventDestroy", event)
        self._cuda("cudaStreamDestroy", self.stream)


class _Session(Session):
    """Each stage ends with its stream: transfers of one query overlap with another's run, never with its own."""

    def __init__(self, trt: Any, cuda: Cuda, engine: Any, model: Model, batch: int, facts: Facts, pinned: bool) -> None:
        self._trt, self._cuda, self._engine, self.facts = trt, cuda, engine, facts
        self._inputs = [replace(spec, shape=(batch, *spec.shape[1:])) for spec in model.inputs]
        self._outputs: Sequence[TensorSpec] = model.outputs
        for spec in (*model.inputs, *model.outputs):
            _check_tensor(trt, engine, spec)
        self.inflight = int(facts.settings["streams"])
        self._memory = Pool(cuda, "cudaMalloc", "cudaFree")
        self._staging = Pool(cuda, "cudaMallocHost", "cudaFreeHost") if pinned else None
        self._lanes = [_Lane(trt, cuda, engine) for _ in range(self.inflight)]
        self._free: SimpleQueue[_Lane] = SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)
        self._last: _Lane | None = None

    def put(self, arrays: Arrays) -> Values:
        check_arrays(self._inputs, arrays)
        return self._in_lane(self._sent, arrays)

    def run(self, values: Values) -> Values:
        return self._in_lane(self._ran, values)

    def get(self, values: Values) -> Arrays:
        fetched: Arrays = self._in_lane(self._fetched, values)
        return fetched

    def device_ns(self) -> int | None:
        """Between the events around the last run: of the GPU's work, and of its waiting for the host in between."""
        if self._last is None:
            return None
        elapsed_ms: float = self._cuda("cudaEventElapsedTime", self._last.begin, self._last.end)
        return round(elapsed_ms * 1e6)

    def enqueue_ns(self) -> int | None:
        return None if self._last is None else self._last.enqueue_ns

    def executed(self, values: Values) -> Executed:
        """In a lane of its own: a profiler makes a run wait for each layer, and cannot be taken off again."""
        self._cuda.bind()
        lane = _Lane(self._trt, self._cuda, self._engine)
        try:
            lane.context.profiler = told = profiler(self._trt)
            self._ran(lane, values)
        finally:
            self._last = None
            lane.close()
        return executed(layers(self._trt, self._engine), told.times_ms, self.facts.settings["precision"] == "tf32")

    def close(self) -> None:
        super().close()
        self._cuda.bind()
        self._last = None
        while self._lanes:
            self._lanes.pop().close()
        for pool in (self._memory, self._staging):
            if pool is not None:
                pool.close()
        self._engine = None

    def _in_lane(self, stage: Any, argument: Any) -> Any:
        lane = self._free.get()
        try:
            self._cuda.bind()
            return stage(lane, argument)
        finally:
            self._free.put(lane)

    def _sent(self, lane: _Lane, arrays: Arrays) -> Values:
        import numpy as np

        sent: list[_Tensor] = []
        held: list[Any] = []
        for spec in self._inputs:
            array = np.ascontiguousarray(arrays[spec.name])
            block = self._memory.block(array.nbytes)
            source = array.ctypes.data
            if self._staging is not None:
                staged = self._staging.block(array.nbytes)
                np.copyto(staged.bytes(), array.reshape(-1).view("u1"))
                source = staged.pointer
                held.append(staged)
            self._cuda("cudaMemcpyAsync", block.pointer, source, array.nbytes, self._cuda.to_device, lane.stream)
            held.append(array)
            sent.append(_Tensor(block, array.shape))
        lane.finish()  # until then the sources are held
        return sent

    def _ran(self, lane: _Lane, values: Sequence[_Tensor]) -> Values:
        for spec, tensor in zip(self._inputs, values):
            lane.take(spec.name, tensor)
        outputs = [self._room(lane, spec) for spec in self._outputs]
        lane.start()
        lane.finish()
        self._last = lane
        return outputs

    def _room(self, lane: _Lane, spec: TensorSpec) -> _Tensor:
        shape = tuple(lane.context.get_tensor_shape(spec.name))
        if min(shape, default=0) < 0:
            raise RuntimeError(f"the shape of {spec.name} depends on the data, which this session has no memory for")
        tensor = _Tensor(self._memory.block(_bytes(shape, spec.dtype)), shape)
        lane.context.set_tensor_address(spec.name, tensor.block.pointer)
        return tensor

    def _fetched(self, lane: _Lane, values: Sequence[_Tensor]) -> Arrays:
        import numpy as np

        arrays = {spec.name: np.empty(one.shape, spec.dtype) for spec, one in zip(self._outputs, values)}
        staged = [self._copy_out(lane, array, one) for array, one in zip(arrays.values(), values)]
        lane.finish()
        for array, block in zip(arrays.values(), staged):
            if block is not None:
                np.copyto(array.reshape(-1).view("u1"), block.bytes())
        return arrays

    def _copy_out(self, lane: _Lane, array: Array, tensor: _Tensor) -> Block | None:
        block = None if self._staging is None else self._staging.block(array.nbytes)
        target = array.ctypes.data if block is None else block.pointer
        self._cuda("cudaMemcpyAsync", target, tensor.block.pointer, array.nbytes, self._cuda.to_host, lane.stream)
        return block


def _check_capability(capability: tuple[int, int], precision: str) -> None:
    _cuda.check_capability(capability, precision)
    if precision == "fp8" and capability < ADA:
        major, minor = capability
        raise Unsupported(f"a GPU of compute capability {major}.{minor} has no fp8: that came with 8.9")


def _check_tensor(trt: Any, engine: Any, spec: TensorSpec) -> None:
    """TensorRT takes shapes from the host's memory, and types that it was not given as they are."""
    import numpy as np

    if engine.get_tensor_location(spec.name) != trt.TensorLocation.DEVICE:
        raise Unsupported(f"{spec.name} says a shape, which TensorRT wants in the host's memory")
    kind = np.dtype(trt.nptype(engine.get_tensor_dtype(spec.name)))
    if kind != np.dtype(spec.dtype):
        raise Unsupported(f"TensorRT has {spec.name} as {kind}, and the network as {spec.dtype}")


def _bytes(shape: Sequence[int], dtype: str) -> int:
    import numpy as np

    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
