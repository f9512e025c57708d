"""ONNX Runtime on one execution provider."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends._providers import SCHEME, addressed
from backends.contract import Device, Engine, Facts, Model, Plan, Presence, Session, Setting, Unsupported
from backends.engines._onnxruntime import (
    CPU,
    CUDA,
    NAMESAKES,
    SAMPLE_AXIS,
    BoundSession,
    FixedSession,
    HostSession,
    open_session,
    placement,
    record_name,
    usable,
)
from backends.engines._ort_profile import Profiler
from backends.engines._tuning import (
    ONNX_FORMS,
    Spread,
    check_options,
    check_precision,
    choice,
    spread,
    unreachable,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backends._providers import Provider

DISTRIBUTIONS = {CPU: NAMESAKES, CUDA: ("onnxruntime-gpu",)}
EXTRAS = {CPU: "cpu", CUDA: "cuda"}
PRECISIONS = {CPU: ("fp32",), CUDA: ("fp32", "tf32", "fp16", "bf16")}
NAMED_PRECISIONS = {CPU: ("fp32", "int8")}
ANY_PRECISION = ("fp32", "fp16", "bf16", "int8")
"""What a graph can be handed over in to a provider that a target names; what that computes in is its own choice."""
WHY_NOT = {CPU: "it casts fp16 back to fp32 and lacks operators in bf16; int8 comes with --technique int8-static"}
LEVELS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
SWITCH = ("on", "off")
SEARCHES = ("exhaustive", "heuristic", "default")
OPTIONS = ("threads", "streams", "spinning", "graph_optimization", "io_binding")
CUDA_OPTIONS = (*OPTIONS, "cudnn_conv_algo_search", "cuda_graph")
SIMULATED = "QNNExecutionProvider"
"""On x86 all that it has is a simulator, whose time is the host's."""


class OnnxRuntimeEngine(Engine):
    """Options: threads, streams, spinning (on, off), graph_optimization (off, basic, extended, all), io_binding.

    On CUDA also cudnn_conv_algo_search (exhaustive, heuristic, default) and cuda_graph (on, off).
    """

    name = "onnxruntime"

    def form_for(self, precision: str) -> str:
        return ONNX_FORMS.get(precision, self.form)

    def options_for(self, wish: str) -> Mapping[str, str]:
        what, _, level = wish.partition("=")
        return {"graph_optimization": level} if what == "fusion" and level in LEVELS else super().options_for(wish)

    def available(self, device: Device) -> Presence:
        address = device.address.get(self.name, "")
        if address.startswith(f"{SCHEME}:"):
            return usable(self.name, EXTRAS[CPU])
        if (name := address.partition(":")[0]) not in DISTRIBUTIONS:
            return unreachable(self.name, device.name)
        return usable(name, EXTRAS[name], DISTRIBUTIONS[name])

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`compile_ns` parses, reads weights, optimises and allocates: one call, so there is no `load_ns`."""
        address = device.address[self.name]
        provider, named = addressed(address), address.startswith(f"{SCHEME}:")
        check_options(self.name, plan, CUDA_OPTIONS if provider.name == CUDA and not named else OPTIONS)
        _check(self.name, plan, provider, named, model)
        load = _load(plan, provider)
        path = str(model.form(self.form_of(model, plan.precision)))
        started = time.monotonic_ns()
        import onnxruntime

        if provider.name != CPU:
            onnxruntime.preload_dlls()  # CUDA and cuDNN as pip installs them: beside, where no loader looks
        imported = time.monotonic_ns()
        told = provider if named else _told(plan, provider)

        def opened(told: Provider, change: Callable[[Any], None] | None = None) -> Any:
            options = _session_options(onnxruntime, plan, provider, load)
            if change is not None:
                change(options)
            return open_session(onnxruntime, path, options, told, strict=named and provider.name != CPU)

        session = opened(told)
        done = time.monotonic_ns()
        facts = Facts(
            {**_settings(session, plan, provider, load), **({"target": provider.text} if named else {})},
            placement(session, provider.name, device),
            import_ns=imported - started,
            load_ns=None,
            compile_ns=done - imported,
        )
        profiler = Profiler(partial(opened, _traceable(told)), Path(path), timed=provider.name == CPU)
        return _session(onnxruntime, session, model, plan, provider, facts, profiler)


def _check(engine: str, plan: Plan, provider: Provider, named: bool, model: Model) -> None:
    """Refuses what would go by a name that it does not deserve."""
    if provider.name == SIMULATED and platform.machine() in ("x86_64", "AMD64"):
        raise Unsupported(f"{SIMULATED} only simulates here, in the host's time: use --target qualcomm:htp-v75")
    if provider.name == CPU and provider.options:
        raise Unsupported(f"{CPU} silently drops provider options, so not {' '.join(provider.options)}: use --option")
    if plan.options.get("cuda_graph") == "on" and plan.options.get("io_binding") == "off":
        raise Unsupported("cuda_graph=on binds inputs and outputs, so not io_binding=off")
    known = NAMED_PRECISIONS.get(provider.name, ANY_PRECISION) if named else PRECISIONS[provider.name]
    check_precision(engine, plan, known, WHY_NOT.get(provider.name, "there is no graph in another"), model)


def _load(plan: Plan, provider: Provider) -> Spread:
    """A provider other than the CPU's does without the host's threads unless they are asked for."""
    if provider.name == CPU:
        return spread(plan)
    return Spread(whole(plan.options, "threads", 1), whole(plan.options, "streams", 1))


def _session(
    onnxruntime: Any, session: Any, model: Model, plan: Plan, provider: Provider, facts: Facts, profiler: Profiler
) -> Session:
    memory = ("cuda", int(provider.options.get("device_id", "0"))) if provider.name == CUDA else ("cpu", 0)
    if _is_on(plan, "cuda_graph", "off"):
        return FixedSession(onnxruntime.OrtValue, session, model, memory, plan.batch, facts, profiler)
    if facts.settings["io_binding"]:
        return BoundSession(onnxruntime.OrtValue, session, model, memory, facts, profiler)
    return HostSession(session, facts, profiler)


def _traceable(provider: Provider) -> Provider:
    """A CUDA graph that is replayed runs no kernels that a profile could name."""
    replayed = {"enable_cuda_graph": "0"} if "enable_cuda_graph" in provider.options else {}
    return replace(provider, options={**provider.options, **replayed})


def _session_options(onnxruntime: Any, plan: Plan, provider: Provider, load: Spread) -> Any:
    """Every setting that bears on speed is set, so that a default that changes with a release changes nothing here.

    Where shapes are known, what is computed from them is a constant, and no work that a GPU leaves to the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = load.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = choice(plan.options, "graph_optimization", "all", LEVELS)
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.log_severity_level = 3
    spinning = choice(plan.options, "spinning", "on", SWITCH)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning == "on")))
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "0")
    if provider.name != CPU:
        options.add_free_dimension_override_by_name(SAMPLE_AXIS, plan.batch)
    return options


def _told(plan: Plan, provider: Provider) -> Provider:
    """The provider of one of our own backends with the options that this engine chooses for it."""
    if provider.name != CUDA:
        return provider
    options = {
        "device_id": provider.options.get("device_id", "0"),
        "use_tf32": str(int(plan.precision == "tf32")),
        "cudnn_conv_algo_search": choice(plan.options, "cudnn_conv_algo_search", "exhaustive", SEARCHES).upper(),
        "cudnn_conv_use_max_workspace": "1",
        "enable_cuda_graph": str(int(_is_on(plan, "cuda_graph", "off"))),
    }
    return replace(provider, options=options)


def _is_on(plan: Plan, option: str, default: str) -> bool:
    return choice(plan.options, option, default, SWITCH) == "on"


def _settings(session: Any, plan: Plan, provider: Provider, load: Spread) -> dict[str, Setting]:
    """What the session says of itself; the names of a provider's options are not ours to choose."""
    options = session.get_session_options()
    levels = {value: key for key, value in LEVELS.items()}
    on_device = "on" if provider.name == CUDA else "off"
    told = session.get_provider_options().get(provider.name, {})
    return {
        "precision": plan.precision,
        "providers": " ".join(session.get_providers()),
        "threads": options.intra_op_num_threads,
        "streams": load.streams,
        "inter_op_threads": options.inter_op_num_threads,
        "execution_mode": options.execution_mode.name,
        "graph_optimization": levels[options.graph_optimization_level.name],
        "spinning": options.get_session_config_entry("session.intra_op.allow_spinning") == "1",
        "arm64_bf16_gemm": options.get_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16") == "1",
        "memory_arena": options.enable_cpu_mem_arena,
        "memory_pattern": options.enable_mem_pattern,
        "io_binding": _is_on(plan, "io_binding", on_device) or _is_on(plan, "cuda_graph", "off"),
        **{record_name(f"{provider.name}.{name}"): value for name, value in told.items()},
    }
