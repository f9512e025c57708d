"""What can really be measured here: every backend probed, every engine made to compute, every false package found.

An engine computes in a fresh worker process, on the smallest workload it takes, and its outputs are compared with
golden ones: so an engine that crashes, hangs or answers wrongly is a row, and the next one is still examined.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from backends.contract import Backend, Device, Engine, Meter, Presence
from bench import parts, supervisor, support
from bench.attempt import attempt
from bench.inventory import found_backends, metered, reach
from bench.surroundings.machine import machine
from results.numbers import si
from workloads.contract import Workload

TIMEOUTS_S = {**supervisor.TIMEOUTS_S, "start": 60, "build": 120, "compile": 120, "check": 60}
WORKLOADS_TRIED = 3
PRECISIONS_TRIED = ("fp32", "int8")
"""The second for engines that compute in nothing else."""

MODULES: Mapping[str, tuple[str, str]] = {
    "pycoral": ("pycoral/utils/edgetpu.py", "Coral's own pycoral is not on the public index"),
    "neuronx-cc": ("neuronxcc/__init__.py", "install it from the AWS Neuron index"),
    "torch-neuronx": ("torch_neuronx/__init__.py", "install it from the AWS Neuron index"),
    "libneuronxla": ("libneuronxla/__init__.py", "install it from the AWS Neuron index"),
    "jax-neuronx": ("jax_neuronx/__init__.py", "install it from the AWS Neuron index"),
}
"""Distribution to a file that only the vendor's own one holds. Others own these names on the public index."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `state` is one of Presence's."""

    kind: str
    name: str
    state: str
    detail: str
    remedy: str = ""

    @property
    def is_fault(self) -> bool:
        """Absence is none: a machine without a GPU is whole. Nor is a meter for root only: that is how RAPL comes."""
        return self.state == "broken" or (self.state == "no_permission" and self.kind != "meter")


def examine(
    extra: Sequence[str] = (), compute: bool = True, engines: Collection[str] | None = None
) -> Iterator[Finding]:
    """One finding at a time. `extra` are further packages of parts, `engines` the only ones wanted (None: all).

    Raises PartError for an unknown engine or package.
    """
    found_engines = parts.collect(Engine, extra)
    for name in engines or ():
        if name not in (known := [found.name for found in found_engines]):
            raise parts.PartError(parts.no_such("engine", name, known))
    yield _machine()
    yield from packages(importlib.metadata.distributions())
    yield from _unloadable(extra)
    devices: list[Device] = []
    for backend in found_backends(extra):
        presence = backend.probe()
        devices += presence.devices
        yield _backend(backend, presence)
    yield from _meters(devices, extra)
    for found in found_engines:
        if found.part is not None and (engines is None or found.name in engines):
            yield from _engine(found.part, devices, tuple(extra), compute)


def _backend(backend: Backend, presence: Presence) -> Finding:
    """What is not here is told with how far it was proved elsewhere."""
    if presence.state == "present":
        names = ", ".join(device.name for device in presence.devices)
        return Finding("backend", backend.name, presence.state, names)
    compiled = ", ".join(device.name for device in presence.devices)
    words = (presence.reason, compiled and f"can be compiled for: {compiled}", support.proved(backend.name))
    return Finding("backend", backend.name, presence.state, "; ".join(filter(None, words)), presence.remedy)


def packages(installed: Iterable[Any]) -> Iterator[Finding]:
    """Distributions that break one another unnoticed, or are not what their name says."""
    found = {str(one.metadata["Name"]).lower().replace("_", "-"): one for one in installed}
    runtimes = sorted(name for name in found if name in ("onnxruntime", "onnxruntime-gpu"))
    if len(runtimes) > 1:
        yield Finding(
            "package",
            " + ".join(runtimes),
            "broken",
            "both own the module onnxruntime: the one installed later has overwritten files of the other",
            "make an environment for each: make bench BACKEND=cpu, make bench BACKEND=cuda",
        )
    for name, (file, remedy) in MODULES.items():
        if name in found and not Path(str(found[name].locate_file(file))).exists():
            detail = f"version {found[name].version} is not the vendor's package: it has no {file}"
            yield Finding("package", name, "broken", detail, f"pip uninstall {name}; {remedy}")


def _machine() -> Finding:
    host = machine()
    instance = host["instance_type"] or f"instance type unknown: {host['missing'].get('instance_type', '')}"
    detail = f"{host['cores']} cores, {si(host['memory_bytes'], 'B')}, {host['system']}; {instance}"
    return Finding("machine", host["cpu"], "present", detail)


def _meters(devices: Sequence[Device], extra: Sequence[str]) -> Iterator[Finding]:
    for found in parts.collect(Meter, extra):
        if found.part is not None:
            presence = metered(found.part, devices)
            name = f"{found.name} ({found.part.quantity}, {found.part.scope})"
            yield Finding("meter", name, presence.state, presence.reason, presence.remedy)


def _unloadable(extra: Sequence[str]) -> Iterator[Finding]:
    for base in (Workload, Backend, Engine, Meter):
        for found in parts.collect(base, extra):
            if found.part is None:
                where = f"mend or remove {found.file}"
                yield Finding(parts.kind(base), found.name, "broken", f"cannot be loaded: {found.error}", where)


def _engine(engine: Engine, devices: Sequence[Device], extra: tuple[str, ...], compute: bool) -> Iterator[Finding]:
    reached = reach(engine, devices)
    if not reached.answers:
        yield Finding("engine", engine.name, "absent", reached.reason, reached.remedy)
    for device, presence in reached.answers:
        label = f"{engine.name} on {device.name}"
        if presence.state != "present" or not (compute and device.runs):
            yield _not_computed(label, presence, device)
        else:
            yield _computed(engine, device, label, extra)


def _not_computed(label: str, presence: Presence, device: Device) -> Finding:
    what = "not computed with" if device.runs else "can compile for it, cannot run on it"
    return Finding("engine", label, presence.state, presence.reason or what, presence.remedy)


def _computed(engine: Engine, device: Device, label: str, extra: tuple[str, ...]) -> Finding:
    """The engine's outputs on the smallest workload it takes, against golden."""
    refusals = []
    for precision, name in product(PRECISIONS_TRIED, _smallest_workloads(extra)):
        outcome = _run(name, precision, engine, device, extra)
        if outcome.status == "unsupported" or outcome.phase in ("start", "build"):  # not this engine's doing
            refusals.append(f"{name} in {precision}: {outcome.reason}")
            continue
        if outcome.status == "failed":
            detail = "; ".join(filter(None, (f"{name}: {outcome.reason}", _last_words(outcome.stderr_tail))))
            remedy = "; ".join(filter(None, (outcome.remedy, f"run: {_command(engine, device, name, precision)}")))
            return Finding("engine", label, "broken", detail, remedy)
        return _judged(engine, label, f"{name} {precision}", outcome)
    detail = "refuses " + "; ".join(refusals) if refusals else "no workload can be loaded"
    return Finding("engine", label, "broken", detail, "measure a workload that it takes: accelmark list workloads")


def _last_words(tail: str) -> str:
    """The last line that the engine itself printed, before Python's own account of a crash."""
    said = tail.partition("Fatal Python error")[0].strip().splitlines()
    return said[-1] if said else ""


def _judged(engine: Engine, label: str, what: str, outcome: supervisor.Outcome) -> Finding:
    from results import checks
    from results.record import OutputCheck

    result: Mapping[str, Any] = outcome.result or {}
    outputs = OutputCheck.model_validate(result["evidence"]["outputs"])
    faults = list(checks.output_faults(outputs))
    compile_s = (result["phases"].get("compile_ns") or 0) / 1e9
    if faults:
        remedy = "do not trust this engine here; try another version of it"
        return Finding("engine", label, "broken", f"{what}: {'; '.join(faults)}", remedy)
    version = result["versions"].get(engine.name, "").partition("-")[0]
    detail = f"{what}: {outputs.n} of {outputs.n} outputs right, compiled in {compile_s:.2f} s"
    return Finding(
        "engine", label, "present", f"{engine.module or engine.name} {version}; {detail}" if version else detail
    )


def _smallest_workloads(extra: Sequence[str]) -> list[str]:
    cards = [found.part.card for found in parts.collect(Workload, extra) if found.part is not None]
    models = sorted((card for card in cards if card.role == "model"), key=lambda card: card.flops or 0)
    return [card.name for card in models[:WORKLOADS_TRIED]]


def _run(workload: str, precision: str, engine: Engine, device: Device, extra: tuple[str, ...]) -> supervisor.Outcome:
    return attempt(workload, precision, engine, device, extra, TIMEOUTS_S)


def _command(engine: Engine, device: Device, workload: str, precision: str) -> str:
    chosen = f"--backend={device.backend} --engine={engine.name} --workload={workload}"
    return f"pytest bench/ {chosen}" + ("" if precision == "fp32" else f" --precision={precision}")
