"""What a bundle is made for: a form by its own name, or what the engine of a backend starts from."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass

import workloads.forms
from backends.contract import Backend, Device, Engine
from bench import parts
from bench.bundle.manifest import BundleError
from bench.cases import scheme
from bench.selection import PRECISIONS


@dataclass(frozen=True)
class Aim:
    """`name` as it was asked for; a form, and the precision that it computes in.

    `away` are engines with devices that they compile for here.
    """

    name: str
    form: str
    precision: str
    away: tuple[tuple[Engine, Device], ...] = ()


def forms() -> list[str]:
    """The lowerings that there are."""
    return [one.name for one in pkgutil.iter_modules(workloads.forms.__path__) if not one.name.startswith("_")]


def aim(target: str, precision: str = "", extra: Sequence[str] = ()) -> Aim:
    """`target`: a form, an engine, a backend, or one of a backend's own targets ("ethos_u:u65-256").

    Raises BundleError for what is none of these, and for a precision that nothing starts from it in.
    """
    if target not in forms():
        return _started_from(target, precision, extra)
    found = [one for one in PRECISIONS if any(engine.form_for(one) == target for engine in _every_engine(extra))]
    if not found:
        raise BundleError(f"no engine starts from {target}; name another form: {', '.join(forms())}")
    if precision and precision not in found:
        raise BundleError(f"--precision {precision}: engines start from {target} in {', '.join(found)}")
    return Aim(target, target, precision or found[0])


def _started_from(target: str, precision: str, extra: Sequence[str]) -> Aim:
    """In the finest precision that there is a file for, where none is named."""
    devices = _devices(target, extra)
    reached = {name for device in devices for name in device.address}
    engines = [engine for engine in _every_engine(extra) if engine.name == target or engine.name in reached]
    if not engines:
        raise BundleError(_unknown(target, extra))
    for one in (precision,) if precision else PRECISIONS:
        started = {form: engine for engine in engines if (form := engine.form_for(one))}
        if len(started) > 1:
            several = ", ".join(f"{form} ({engine.name})" for form, engine in started.items())
            raise BundleError(f"the engines of {target} start from {several}: name a form")
        for form, engine in started.items():
            away = [device for device in devices if not device.runs and engine.name in device.address]
            return Aim(target, form, one, tuple((engine, device) for device in away))
    named = f" in {precision}" if precision else ""
    raise BundleError(f"{target} takes no file{named}: name a form: {', '.join(forms())}")


def _devices(target: str, extra: Sequence[str]) -> list[Device]:
    """Of a backend, or of one of its targets; raises BundleError for a target that it does not know."""
    name, _, specification = target.partition(":")
    devices: list[Device] = []
    for one in parts.collect(Backend, extra):
        if one.part is not None and (scheme(one.part) if specification else one.part.name) == name:
            presence = one.part.probe((target,) if specification else ())
            if specification and presence.state != "present":
                raise BundleError(f"--target {target}: {presence.reason}; {presence.remedy}")
            devices += presence.devices
    return devices


def _unknown(target: str, extra: Sequence[str]) -> str:
    backends = [one.name for one in parts.collect(Backend, extra) if one.part]
    if target in backends:
        return f"no engine here is known to drive {target}: name a form: {', '.join(forms())}"
    return parts.no_such("target", target, [*forms(), *backends, *(engine.name for engine in _every_engine(extra))])


def _every_engine(extra: Sequence[str]) -> list[Engine]:
    return [one.part for one in parts.collect(Engine, extra) if one.part is not None]
