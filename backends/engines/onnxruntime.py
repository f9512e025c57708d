"""ONNX Runtime on one execution provider."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

from backends.contract import (
    Arrays,
    Device,
    Engine,
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
from backends.engines._tuning import (
    CHECKOUT,
    Spread,
    check_options,
    check_precision,
    choice,
    importable,
    installed,
    spread,
    unreachable,
)

DISTRIBUTIONS = {
    "CPUExecutionProvider": ("onnxruntime", "onnxruntime-gpu"),
    "CUDAExecutionProvider": ("onnxruntime-gpu",),
}
EXTRAS = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
PRECISIONS = {"CPUExecutionProvider": ("fp32",), "CUDAExecutionProvider": ("fp32", "tf32")}
LEVELS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
OPTIONS = ("threads", "streams", "spinning", "graph_optimization")
UNKNOWN_OPERATOR = "is not a registered function/op"
OLDEST = (1, 24)
"""The first release whose sessions say which provider each node was given to."""


class OnnxRuntimeEngine(Engine):
    """Options: threads, streams, spinning (on, off), graph_optimization (off, basic, extended, all)."""

    name = "onnxruntime"

    def available(self, device: Device) -> Presence:
        provider = device.address.get(self.name, "").partition(":")[0]
        if provider not in DISTRIBUTIONS:
            return unreachable(self.name, device.name)
        versions = {name: version for name in ("onnxruntime", "onnxruntime-gpu") if (version := installed(name))}
        if len(versions) == 2:
            both = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
            remedy = "pip uninstall -y onnxruntime onnxruntime-gpu, then install one again"
            return Presence("broken", both, remedy)
        if not set(versions) & set(DISTRIBUTIONS[provider]):
            wanted = " or ".join(DISTRIBUTIONS[provider])
            remedy = CHECKOUT.format(extra=EXTRAS[provider])
            return Presence("absent", f"{provider} needs the package {wanted}", remedy)
        package, version = next(iter(versions.items()))
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
            return Presence("broken", f"{package} {version} is older than 1.24", f"pip install -U {package}")
        return importable(self.name, "onnxruntime", EXTRAS[provider])

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`compile_ns` parses, reads weights, optimises and allocates: one call, so there is no `load_ns`."""
        check_options(self.name, plan, OPTIONS)
        provider, _, index = device.address[self.name].partition(":")
        check_precision(self.name, plan, PRECISIONS[provider], "its other precisions are those of quantised graphs")
        path = str(model.form(self.form))
        started = time.monotonic_ns()
        import onnxruntime

        imported = time.monotonic_ns()
        if provider not in onnxruntime.get_available_providers():
            raise Unsupported(f"this build of onnxruntime has no {provider}")
        load = spread(plan) if provider == "CPUExecutionProvider" else Spread(1, 1)
        options = _session_options(onnxruntime, plan, load)
        session = _create(onnxruntime, path, options, (provider, _provider_options(plan, provider, index)))
        done = time.monotonic_ns()
        facts = Facts(
            _settings(session, plan, provider, load),
            _placement(session, provider, device),
            import_ns=imported - started,
            load_ns=None,
            compile_ns=done - imported,
        )
        return _Session(session, facts)


class _Session(Session):
    def __init__(self, session: Any, facts: Facts) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        self.facts = facts
        self.inflight = int(facts.settings["streams"])

    def run(self, values: Values) -> Values:
        return self._session.run(self._names, values)

    def get(self, values: Values) -> Arrays:
        return dict(zip(self._names, values))

    def close(self) -> None:
        super().close()
        self._session = None


def _create(onnxruntime: Any, path: str, options: Any, provider: tuple[str, dict[str, str]]) -> Any:
    failures = onnxruntime.capi.onnxruntime_pybind11_state
    try:
        return onnxruntime.InferenceSession(path, options, [provider])
    except (failures.NotImplemented, failures.Fail) as error:
        if isinstance(error, failures.Fail) and UNKNOWN_OPERATOR not in str(error):
            raise
        raise Unsupported(f"onnxruntime cannot run the graph: {str(error).splitlines()[0]}") from error


def _session_options(onnxruntime: Any, plan: Plan, load: Spread) -> Any:
    """Every setting that bears on speed is set, so that a default that changes with a release changes nothing here."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = load.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = choice(plan.options, "graph_optimization", "all", LEVELS)
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.log_severity_level = 3
    spinning = choice(plan.options, "spinning", "on", ("on", "off"))
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning == "on")))
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _provider_options(plan: Plan, provider: str, index: str) -> dict[str, str]:
    if provider != "CUDAExecutionProvider":
        return {}
    return {"device_id": index or "0", "use_tf32": str(int(plan.precision == "tf32"))}


def _settings(session: Any, plan: Plan, provider: str, load: Spread) -> dict[str, Setting]:
    options = session.get_session_options()
    levels = {value: key for key, value in LEVELS.items()}
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
        **{f"{provider}.{name}": value for name, value in session.get_provider_options()[provider].items()},
    }


def _placement(session: Any, provider: str, device: Device) -> Placement:
    """Share of the optimised graph's nodes, as the session says it gave them out."""
    nodes = Counter[str]()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    counts = ", ".join(f"{name} {count}" for name, count in nodes.items())
    total = sum(nodes.values())
    return Placement(device.name, nodes[provider] / total if total else 0.0, f"nodes given to providers: {counts}")
