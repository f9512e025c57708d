"""TensorRT 11, as far as the engine calls it, on a processor. No part.

Names and parameters are those of TensorRT's own binding (python/src/infer/pyCore.cpp and python/src/parsers/pyOnnx.cpp
of its release 11.1); a name that is not here raises AttributeError. A run happens as its stream is waited for.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.fakes.fake_cudart import Runtime

Answers = Callable[[str, dict[str, np.ndarray]], list[np.ndarray]]


class DataType(enum.Enum):
    FLOAT = np.float32
    HALF = np.float16
    INT64 = np.int64
    INT32 = np.int32
    BOOL = np.bool_


class BuilderFlag(enum.Enum):
    TF32 = "TF32"
    DISABLE_TIMING_CACHE = "DISABLE_TIMING_CACHE"


class ParserErrorCode(enum.Enum):
    INVALID_GRAPH = 1
    UNSUPPORTED_NODE = 2


class _Error:
    def __init__(self, code: ParserErrorCode, operator: str, text: str) -> None:
        self._told = code, operator, text

    def code(self) -> ParserErrorCode:
        return self._told[0]

    def node_operator(self) -> str:
        return self._told[1]

    def desc(self) -> str:
        return self._told[2]


class _Network:
    path = ""

    def __init__(self) -> None:
        self.inputs: list[SimpleNamespace] = []
        self.outputs: list[SimpleNamespace] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> SimpleNamespace:
        return self.inputs[index]


class _OnnxParser:
    def __init__(self, network: _Network, logger: Any) -> None:
        self._network, self._errors = network, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _Error:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        import onnx

        try:
            graph = onnx.load(model).graph
        except Exception as error:  # noqa: BLE001 - as the real one, it says and does not raise
            self._errors.append(_Error(ParserErrorCode.INVALID_GRAPH, "", str(error)))
            return False
        unknown = [node.op_type for node in graph.node if node.domain not in ("", "ai.onnx")]
        self._errors = [_Error(ParserErrorCode.UNSUPPORTED_NODE, name, "no importer") for name in unknown]
        self._errors += [_Error(ParserErrorCode.UNSUPPORTED_NODE, *why) for why in _asymmetric(onnx, graph)]
        self._network.path = model
        self._network.inputs, self._network.outputs = ([_tensor(onnx, one) for one in ends] for ends in _ends(graph))
        return not self._errors


def _ends(graph: Any) -> tuple[list[Any], list[Any]]:
    stored = {one.name for one in graph.initializer}
    return [one for one in graph.input if one.name not in stored], list(graph.output)


def _tensor(onnx: Any, value: Any) -> SimpleNamespace:
    kind = value.type.tensor_type
    shape = [one.dim_value if one.HasField("dim_value") else -1 for one in kind.shape.dim]
    return SimpleNamespace(
        name=value.name, shape=shape, dtype=DataType(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).type)
    )


def _asymmetric(onnx: Any, graph: Any) -> list[tuple[str, str]]:
    """What its QuantDequantLinearHelper refuses (NVIDIA/TensorRT#2774, onnx/onnx-tensorrt#850)."""
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    found = []
    for node in (one for one in graph.node if one.op_type in ("QuantizeLinear", "DequantizeLinear")):
        zero = stored[node.input[2]] if len(node.input) > 2 else np.zeros((), np.int8)
        if zero.any() or zero.dtype == np.uint8:
            found.append((node.op_type, "TRT only supports symmetric quantization - zeroPt must be all zeros"))
        if node.input[0] in stored and stored[node.input[0]].dtype == np.int32:
            found.append((node.op_type, "the input is of type Int32"))
    return found


class _IProfiler:
    """tensorrt.IProfiler: a class of one's own calls its constructor and overrides `report_layer_time`."""

    ready = False

    def __init__(self) -> None:
        self.ready = True


class _Profile:
    def __init__(self) -> None:
        self.ranges: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert all(low <= usual <= high for low, usual, high in zip(min, opt, max, strict=True))
        self.ranges[input] = min, opt, max


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytearray:
        return bytearray(self.content)


class _Config:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._flags = {BuilderFlag.TF32}  # on, unless it is cleared
        self._cache: _TimingCache | None = None
        self._pools: dict[str, int] = {}
        self.profiles: list[_Profile] = []
        self.builder_optimization_level = 3
        self.profiling_verbosity = "LAYER_NAMES_ONLY"

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
        self._pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: str) -> int:
        return self._pools.get(pool, 80 << 30)

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        return _TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content and not cache.content.startswith(self._machine.header):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self._cache


class _Plan(bytearray):
    """IHostMemory: a buffer that knows its length."""

    network: _Network
    config: _Config

    @property
    def nbytes(self) -> int:
        return len(self)


class _Builder:
    def __init__(self, machine: Machine, logger: Any) -> None:
        self._machine = machine

    def create_network(self, flags: int = 0) -> _Network:
        return _Network()

    def create_builder_config(self) -> _Config:
        self._machine.config = _Config(self._machine)
        return self._machine.config

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> _Plan | None:
        if self._machine.fails == "build":
            return None
        dynamic = {one.name for one in network.inputs if -1 in one.shape}
        assert dynamic <= {name for profile in config.profiles for name in profile.ranges}, "an input has no range"
        if config._cache is not None:
            config._cache.content = self._machine.header + b"timings"
        plan = _Plan(b"engine")
        plan.network, plan.config = network, config
        return plan


class _Engine:
    num_layers = 7

    def __init__(self, machine: Machine, plan: _Plan) -> None:
        self.machine, self.network = machine, plan.network
        self.ranges = {key: value for profile in plan.config.profiles for key, value in profile.ranges.items()}
        self.detailed = plan.config.profiling_verbosity == "DETAILED"
        self._tensors = {one.name: one for one in (*plan.network.inputs, *plan.network.outputs)}

    def get_tensor_location(self, name: str) -> str:
        return "HOST" if name in self.machine.on_host else "DEVICE"

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].dtype

    def create_execution_context(self) -> _Context:
        return _Context(self)

    def create_engine_inspector(self) -> SimpleNamespace:
        layers = self.machine.layers
        names = [layer["Name"] for layer in layers]
        text = json.dumps({"Layers": layers if self.detailed else names, "I/O Tensors": []})
        return SimpleNamespace(get_engine_information=lambda format: text)


class _Context:
    nvtx_verbosity = "DETAILED"
    profiler: Any = None

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shapes = {one.name: tuple(one.shape) for one in engine.network.inputs}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name in self._engine.ranges:
            least, _, most = self._engine.ranges[name]
            if not all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True)):
                return False
        elif tuple(shape) != self._shapes[name]:
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {one.name: np.zeros(self._shapes[one.name], one.dtype.value) for one in self._engine.network.inputs}
        names = [one.name for one in self._engine.network.outputs]
        return self._engine.machine.answers(self._engine.network.path, zeros)[names.index(name)].shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        machine, network = self._engine.machine, self._engine.network
        if machine.fails == "run":
            return False
        assert self.nvtx_verbosity == "NONE", "DETAILED costs time in every run"
        stream, addresses, shapes = machine.cuda.streams[stream_handle], dict(self._addresses), dict(self._shapes)
        assert -1 not in [size for shape in shapes.values() for size in shape], "a shape was never set"

        def compute() -> None:
            inputs = {
                one.name: machine.read(addresses[one.name], shapes[one.name], one.dtype) for one in network.inputs
            }
            for one, array in zip(network.outputs, machine.answers(network.path, inputs), strict=True):
                machine.write(addresses[one.name], array)
            if self.profiler is not None:
                assert self.profiler.ready, "IProfiler.__init__ was never called"
                for number, layer in enumerate(machine.layers, 1):
                    self.profiler.report_layer_time(layer["Name"], float(number))

        stream.work.append(compute)
        return True


class Machine:
    """The modules, and what goes wrong on it: `fails` "build" or "run"; `on_host` are inputs that say shapes.

    `layers` are what the inspector tells; each takes as many milliseconds as its number.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.cuda = Runtime()
        self.config: _Config | None = None
        self.fails = ""
        self.on_host: tuple[str, ...] = ()
        self.header = b"NVIDIA Fake 0:"
        self.layers: list[dict[str, Any]] = [
            {"Name": "a", "Outputs": [{"Name": "x", "DataType": "Half"}]},
            {"Name": "b", "Outputs": []},
        ]

    def modules(self) -> dict[str, Any]:
        """By the names that they are imported as."""
        tensorrt: Any = ModuleType("tensorrt")
        tensorrt.__version__ = "11.1.0.106"
        tensorrt.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, min_severity: None})
        tensorrt.Builder = lambda logger: _Builder(self, logger)
        tensorrt.OnnxParser = _OnnxParser
        tensorrt.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: _Engine(self, plan))
        tensorrt.IProfiler = _IProfiler
        tensorrt.BuilderFlag = BuilderFlag
        tensorrt.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        tensorrt.ProfilingVerbosity = SimpleNamespace(DETAILED="DETAILED", NONE="NONE")
        tensorrt.LayerInformationFormat = SimpleNamespace(JSON="JSON")
        tensorrt.TensorLocation = SimpleNamespace(DEVICE="DEVICE", HOST="HOST")
        tensorrt.nptype = lambda kind: kind.value
        bindings: Any = ModuleType("cuda.bindings")
        bindings.runtime = self.cuda
        return {"tensorrt": tensorrt, "cuda": ModuleType("cuda"), "cuda.bindings": bindings}

    def read(self, pointer: int, shape: tuple[int, ...], dtype: DataType) -> np.ndarray:
        where, block = self.cuda.memory[pointer]
        assert where == "device"
        return np.frombuffer(block, dtype.value, int(np.prod(shape, dtype=int))).reshape(shape).copy()

    def write(self, pointer: int, array: np.ndarray) -> None:
        where, block = self.cuda.memory[pointer]
        assert where == "device"
        assert array.nbytes <= len(block)
        ctypes.memmove(block, array.tobytes(), array.nbytes)
