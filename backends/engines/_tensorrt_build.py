"""From an ONNX file to a TensorRT engine. Holds no part.

In TensorRT 11 every network is strongly typed: precision lies in the graph, and of the builder's flags only TF32 bears
on it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends._cache import cache_root, replace_file
from backends.contract import Plan, Setting, Unsupported
from backends.engines._tuning import choice, whole

OPTIONS = ("streams", "pinned", "optimization_level", "workspace_mib", "timing_cache", "free_max")
LEVELS = ("0", "1", "2", "3", "4", "5")
FREE_MAX = 512
"""The most that a free size may be, unless an option says otherwise: TensorRT has to know the most."""
LACKS = re.compile("UNSUPPORTED")
"""In the names of the parser's errors that say that TensorRT has no such operator, type or shape."""


@dataclass(frozen=True)
class Parsed:
    """A network with what made it, which it needs for as long as it is there."""

    builder: Any
    network: Any


def parse(trt: Any, logger: Any, path: Path) -> Parsed:
    """Weights are read from beside the file; raises Unsupported for what TensorRT lacks."""
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        text = "; ".join(f"{one.node_operator()} {one.desc()}".strip() for one in errors) or "no reason given"
        if any(LACKS.search(one.code().name) for one in errors):
            raise Unsupported(f"tensorrt cannot run the graph: {text}")
        raise RuntimeError(f"TensorRT cannot read {path.name}: {text}")
    return Parsed(builder, network)


def build(trt: Any, logger: Any, parsed: Parsed, plan: Plan, gpu: str) -> tuple[Any, dict[str, Setting]]:
    """An engine for the plan's batch, and the settings it was built with."""
    config = parsed.builder.create_builder_config()
    config.builder_optimization_level = int(choice(plan.options, "optimization_level", "3", LEVELS))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it the inspector tells no types
    (config.set_flag if plan.precision == "tf32" else config.clear_flag)(trt.BuilderFlag.TF32)
    if "workspace_mib" in plan.options:
        limit = whole(plan.options, "workspace_mib", 1) << 20
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
    _add_profile(parsed, config, plan)
    timings = _Timings(trt, config, plan, gpu)
    made = parsed.builder.build_serialized_network(parsed.network, config)
    if made is None:
        raise RuntimeError("TensorRT built no engine: its messages are in the worker's output")
    timings.keep()
    settings: dict[str, Setting] = {
        "precision": plan.precision,
        "tf32": config.get_flag(trt.BuilderFlag.TF32),
        "optimization_level": config.builder_optimization_level,
        "workspace_bytes": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        "timing_cache": timings.state,
        "engine_bytes": made.nbytes,
    }
    engine = trt.Runtime(logger).deserialize_cuda_engine(made)
    if engine is None:
        raise RuntimeError("TensorRT cannot load the engine that it built: its messages are in the worker's output")
    return engine, settings


def _add_profile(parsed: Parsed, config: Any, plan: Plan) -> None:
    """The batch is the plan's; a size that is free besides it may be anything up to `free_max`."""
    profile = parsed.builder.create_optimization_profile()
    most = whole(plan.options, "free_max", FREE_MAX)
    dynamic = False
    for index in range(parsed.network.num_inputs):
        tensor = parsed.network.get_input(index)
        shape = tuple(tensor.shape)
        if shape[0] not in (-1, plan.batch):
            raise Unsupported(f"{tensor.name} is made for a batch of {shape[0]}, not of {plan.batch}")
        if -1 in shape:
            dynamic = True
            least, usual, largest = (_sized(shape, plan.batch, free) for free in (1, (most + 1) // 2, most))
            profile.set_shape(tensor.name, least, usual, largest)
    if dynamic and config.add_optimization_profile(profile) < 0:
        raise Unsupported(f"tensorrt takes no inputs of a batch of {plan.batch} with free sizes up to {most}")


def _sized(shape: Sequence[int], batch: int, free: int) -> tuple[int, ...]:
    return (batch, *(free if size == -1 else size for size in shape[1:]))


class _Timings:
    """How long each kernel took when it was tried, kept for the next build on such a GPU with such a TensorRT."""

    def __init__(self, trt: Any, config: Any, plan: Plan, gpu: str) -> None:
        self._config = config
        self.state = "off"
        name = re.sub(r"[^\w.-]+", "_", f"{gpu}-{trt.__version__}")
        self._path = cache_root() / "tensorrt" / f"{name}.timings"
        if choice(plan.options, "timing_cache", "on", ("on", "off")) == "off":
            config.set_flag(trt.BuilderFlag.DISABLE_TIMING_CACHE)
            return
        content = self._path.read_bytes() if self._path.exists() else b""
        self.state = "used" if content and self._set(content) else "new"
        if self.state == "new":
            self._set(b"")

    def keep(self) -> None:
        if self.state != "off":
            replace_file(self._path, bytes(memoryview(self._config.get_timing_cache().serialize())))

    def _set(self, content: bytes) -> bool:
        """False for timings of another GPU or TensorRT, which it tells by their header."""
        cache = self._config.create_timing_cache(content)
        return cache is not None and bool(self._config.set_timing_cache(cache, ignore_mismatch=False))


def layer_types(trt: Any, engine: Any) -> str:
    """How many layers give each type, as the inspector has it ("Half 41 Float 1"); "" where it tells none."""
    given = (one for layer in layers(trt, engine) for one in layer.get("Outputs", [])[:1])
    counts = Counter(str(one["DataType"]) for one in given if "DataType" in one)
    return " ".join(f"{name} {count}" for name, count in counts.most_common())


def layers(trt: Any, engine: Any) -> list[Mapping[str, Any]]:
    """What the inspector says of each layer; empty where it has names only."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        found = json.loads(text).get("Layers", [])
    except ValueError:
        return []
    return [layer for layer in found if isinstance(layer, dict)]
