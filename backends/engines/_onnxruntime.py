"""What the engines on ONNX Runtime share: its packages, sessions on a provider, and the proof of placement.

Holds no part.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from backends.contract import Arrays, Device, Executed, Facts, Model, Placement, Presence, Session, Unsupported, Values
from backends.engines._tuning import CHECKOUT, check_arrays, importable, installed

if TYPE_CHECKING:
    from backends._providers import Provider
    from backends.engines._ort_profile import Profiler
    from workloads.contract import TensorSpec

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
NAMESAKES = (
    "onnxruntime", "onnxruntime-cann", "onnxruntime-directml", "onnxruntime-gpu", "onnxruntime-migraphx",
    "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-rocm", "onnxruntime-training", "onnxruntime-vitisai",
    "ort-nightly", "ort-nightly-gpu",
)  # fmt: skip
"""Distributions whose module is `onnxruntime`: of two, the one installed later has overwritten half of the other."""
PLUGINS = {"onnxruntime-qnn": 2}
"""From that major release on it is a plug-in with a module of its own, and no namesake any more."""
OLDEST = (1, 24)
"""The first release whose sessions say which provider each node was given to."""
FALLBACK_OFF = "session.disable_cpu_ep_fallback"
REFUSED = "fallback to CPU EP has been explicitly disabled"
UNKNOWN_OPERATOR = "is not a registered function/op"
OPERATORS_SHOWN = 8
SAMPLE_AXIS = "batch"
"""What the graphs of this repository call the free axis 0."""


def owners() -> dict[str, str]:
    """The installed distributions that own the module `onnxruntime`, with their versions."""
    versions = {name: version for name in NAMESAKES if (version := installed(name))}
    return {name: text for name, text in versions.items() if numbers(text) < (PLUGINS.get(name, 1 << 30),)}


def usable(what: str, extra: str, wanted: Sequence[str] = NAMESAKES) -> Presence:
    """Whether one whole onnxruntime is here, from one of the `wanted` distributions, as `what` needs it."""
    versions = owners()
    if len(versions) > 1:
        why = f"{' and '.join(versions)} are installed together and overwrite each other"
        return Presence("broken", why, f"pip uninstall -y {' '.join(versions)}, then install one again")
    if not set(versions) & set(wanted):
        remedy = CHECKOUT.format(extra=extra)
        return Presence("absent", f"{what} needs the package {wanted[0]}", remedy)
    package, version = next(iter(versions.items()))
    if numbers(version) < OLDEST:
        return Presence("broken", f"{package} {version} is older than 1.24", f"pip install -U {package}")
    return importable(what, "onnxruntime", extra)


def open_session(onnxruntime: Any, path: str, options: Any, provider: Provider, strict: bool) -> Any:
    """A session on `provider` alone; `strict` refuses a graph of which the CPU would run a node.

    With `enable_fallback`, whatever fails on the provider, in a run too, would be done again on the CPU.
    Raises Unsupported where this build lacks the provider, and for what the provider cannot run.
    """
    failures = onnxruntime.capi.onnxruntime_pybind11_state
    arguments = {**_on(onnxruntime, options, provider), "enable_fallback": 0}
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry(FALLBACK_OFF, str(int(strict)))
    try:
        session = onnxruntime.InferenceSession(path, options, **arguments)
    except (failures.NotImplemented, failures.Fail, failures.EPFail) as error:
        if REFUSED in str(error):
            options.add_session_config_entry(FALLBACK_OFF, "0")
            split = _loaded(onnxruntime.InferenceSession(path, options, **arguments), provider)
            raise Unsupported(_refusal(split, provider.name)) from error
        if isinstance(error, failures.Fail) and UNKNOWN_OPERATOR not in str(error):
            raise
        raise Unsupported(f"onnxruntime cannot run the graph: {str(error).splitlines()[0]}") from error
    return _loaded(session, provider)


def _loaded(session: Any, provider: Provider) -> Any:
    """A provider whose libraries are missing is left out with a warning, and the CPU would do all of its work."""
    if provider.name not in session.get_providers():
        raise RuntimeError(
            f"{provider.name} did not load: see stderr for which library it misses (CUDA and cuDNN, say)"
        )
    return session


def placement(session: Any, provider: str, device: Device) -> Placement:
    """Share of the optimised graph's nodes, as the session says it gave them out."""
    nodes = Counter[str]()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    counts = ", ".join(f"{name} {count}" for name, count in nodes.items())
    total = sum(nodes.values())
    return Placement(device.name, nodes[provider] / total if total else 0.0, f"nodes given to providers: {counts}")


def _on(onnxruntime: Any, options: Any, provider: Provider) -> dict[str, Any]:
    """What puts a session on `provider`: one of its devices, which `options` take, or arguments that name it."""
    available = onnxruntime.get_available_providers()
    picked = provider.library or provider.vendor or provider.device is not None
    if provider.name in available and not picked:
        return {"providers": [(provider.name, dict(provider.options))]}
    if not picked and all(one.ep_name != provider.name for one in onnxruntime.get_ep_devices()):
        raise Unsupported(
            f"this build of onnxruntime has no {provider.name}, only {', '.join(available)}: install the vendor's "
            f"build, or name the provider's plug-in with library=PATH"
        )
    options.add_provider_for_devices([_chosen(onnxruntime, provider)], dict(provider.options))
    return {}


def _chosen(onnxruntime: Any, provider: Provider) -> Any:
    """The device that `device` and `vendor` pick out of those that onnxruntime lists of this provider."""
    if provider.library:
        _register(onnxruntime, provider)
    listed = onnxruntime.get_ep_devices()
    own = [one for one in listed if one.ep_name == provider.name]
    fitting = [one for one in own if provider.vendor.casefold() in one.device.vendor.casefold()]
    if len(fitting) > (provider.device or 0):
        return fitting[provider.device or 0]
    seen = ", ".join(f"{one.ep_name} on {one.device.type.name} of {one.device.vendor}" for one in own or listed)
    raise Unsupported(f"onnxruntime lists no device that fits {provider.text}; it lists: {seen or 'none'}")


def _register(onnxruntime: Any, provider: Provider) -> None:
    """Load a plug-in, once a process: a second time is an error."""
    if any(one.ep_metadata.get("library_path") == provider.library for one in onnxruntime.get_ep_devices()):
        return
    try:
        onnxruntime.register_execution_provider_library(provider.name, provider.library)
    except Exception as error:  # the library has a class for each failure
        why = str(error).splitlines()[0]
        raise Unsupported(f"onnxruntime cannot load library={provider.library}: {why}") from error


def _refusal(session: Any, provider: str) -> str:
    """What the CPU would have run of the graph."""
    parts = [(part.ep_name, part.get_nodes()) for part in session.get_provider_graph_assignment_info()]
    total = sum(len(nodes) for _, nodes in parts)
    taken = sum(len(nodes) for name, nodes in parts if name == provider)
    kinds = sorted({node.op_type for name, nodes in parts if name != provider for node in nodes})
    shown = ", ".join(kinds[:OPERATORS_SHOWN]) + (" and others" if len(kinds) > OPERATORS_SHOWN else "")
    return f"{provider} takes {taken} of {total} nodes, and the CPU would run {shown}"


def record_name(text: str) -> str:
    """`text` as the name of a setting (results.names.PATTERN)."""
    return re.sub(r"[^A-Za-z0-9 ._:/+@=-]", "_", text)[:160]


def numbers(version: str) -> tuple[int, ...]:
    """Major and minor release of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


class _OrtSession(Session):
    """What its sessions share: names of outputs, and a profile of what they ran."""

    def __init__(self, session: Any, facts: Facts, profiler: Profiler | None = None) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        self._profiler = profiler
        self.facts = facts
        self.inflight = int(facts.settings.get("streams", 1))

    def executed(self, values: Values) -> Executed:
        if self._profiler is None:
            return super().executed(values)
        return self._profiler.executed(self.facts, lambda session: self._traced(session, values))

    @abstractmethod
    def _traced(self, session: Any, values: Values) -> None:
        """Run the profiler's own session."""

    def close(self) -> None:
        super().close()
        self._session = None


class HostSession(_OrtSession):
    """Inputs and outputs in host memory, which is where a CPU has them and where other providers fetch them from."""

    def run(self, values: Values) -> Values:
        return self._session.run(self._names, values)

    def get(self, values: Values) -> Arrays:
        return dict(zip(self._names, values))

    def _traced(self, session: Any, values: Values) -> None:
        session.run(self._names, values)


class BoundSession(_OrtSession):
    """Inputs and outputs in the provider's memory: `put` copies to the device, `get` from it, `run` only computes.

    `memory` is what OrtValue calls it ("cuda") and which of them.
    """

    def __init__(
        self,
        value: Any,
        session: Any,
        model: Model,
        memory: tuple[str, int],
        facts: Facts,
        profiler: Profiler | None = None,
    ) -> None:
        import numpy

        super().__init__(session, facts, profiler)
        self._contiguous = numpy.ascontiguousarray
        self._value = value
        self._inputs = model.inputs
        self._memory = memory

    def put(self, arrays: Arrays) -> Values:
        """OrtValues: over the caller's own memory where the device is the CPU."""
        check_arrays(self._inputs, arrays)
        return {
            name: self._value.ortvalue_from_numpy(self._contiguous(array), *self._memory)
            for name, array in arrays.items()
        }

    def run(self, values: Values) -> Values:
        binding = self._session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._names:
            binding.bind_output(name, *self._memory)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding.get_outputs()

    def get(self, values: Values) -> Arrays:
        return {name: value.numpy() for name, value in zip(self._names, values)}

    def _traced(self, session: Any, values: Values) -> None:
        session.run_with_ort_values(self._names, values)


class FixedSession(BoundSession):
    """For a CUDA graph, which reads and writes the addresses it was captured with, and runs one at a time.

    Inputs are copied to those addresses on the device, and outputs from them, both within `run`.
    """

    def __init__(
        self,
        value: Any,
        session: Any,
        model: Model,
        memory: tuple[str, int],
        batch: int,
        facts: Facts,
        profiler: Profiler | None = None,
    ) -> None:
        """Raises Unsupported for a size other than the batch's that is free."""
        super().__init__(value, session, model, memory, facts, profiler)
        if self.inflight > 1:
            raise Unsupported(f"cuda_graph=on runs one at a time, so not streams={self.inflight}")
        self._specs = {spec.name: (_fixed(spec, batch), spec.dtype) for spec in (*model.inputs, *model.outputs)}
        self._buffers = {name: self._buffer(name) for name in self._specs}
        self._binding = session.io_binding()
        for spec in model.inputs:
            self._binding.bind_ortvalue_input(spec.name, self._buffers[spec.name])
        for name in self._names:
            self._binding.bind_ortvalue_output(name, self._buffers[name])
        self._lock = Lock()

    def run(self, values: Values) -> Values:
        with self._lock:
            for name, value in values.items():
                self._buffers[name].update_inplace(value)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            return [self._copied(name) for name in self._names]

    def close(self) -> None:
        super().close()
        self._binding, self._buffers = None, {}

    def _copied(self, name: str) -> Any:
        copy = self._buffer(name)
        copy.update_inplace(self._buffers[name])
        return copy

    def _buffer(self, name: str) -> Any:
        shape, dtype = self._specs[name]
        return self._value.ortvalue_from_shape_and_type(shape, dtype, *self._memory)


def _fixed(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    free = [axis for axis, size in enumerate(spec.shape) if size is None and axis]
    if free:
        raise Unsupported(f"cuda_graph=on needs fixed sizes, and axis {free[0]} of {spec.name} is free")
    return (batch if spec.shape[0] is None else spec.shape[0], *(size for size in spec.shape[1:] if size is not None))
