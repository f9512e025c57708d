"""What a bundle is made for: a form by its own name, or what the engine of a backend starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.contract import Backend, Device, Engine
from bench import parts
from bench.bundle.manifest import BundleError
from bench.cases import scheme
from bench.selection import PRECISIONS

WEIGHTS = "weights"
"""The form of engines that make the network themselves: its file is no whole model, so it cannot be carried."""
QUANTISED = ("fp8", "int8", "int4")
"""What an engine cannot make of a file in another precision, as that takes samples to calibrate with."""


@dataclass(frozen=True)
class Aim:
    """`name` as it was asked for; a form, and the precision that it computes in.

    `engine` is the only one that it is for, "": any that starts from the form. `away` are engines with devices that
    they compile for here.
    """

    name: str
    form: str
    precision: str
    engine: str = ""
    away: tuple[tuple[Engine, Device], ...] = ()


def forms(extra: Sequence[str] = ()) -> list[str]:
    """Those that an engine starts from and that are a whole model in a file."""
    started = {engine.form_for(one) for engine in _every_engine(extra) for one in PRECISIONS}
    return sorted(started - {"", WEIGHTS})


def aim(target: str, precision: str = "", extra: Sequence[str] = ()) -> Aim:
    """`target`: a form, an engine, a backend, or one of a backend's own targets ("ethos_u:u65-256").

    Raises BundleError for what is none of these, and for a precision that nothing starts from it in.
    """
    if target not in forms(extra):
        return _started_from(target, precision, extra)
    if precision not in ("", own := _own(target, extra)):
        other = sorted({form for form in forms(extra) if _own(form, extra) == precision})
        remedy = f"name {' or '.join(other)}" if other else "name the engine that computes in it"
        raise BundleError(f"--precision {precision}: what {target} holds is {own}; {remedy} with --target")
    return Aim(target, target, own)


def _own(form: str, extra: Sequence[str]) -> str:
    """The precision that a file of this form is in: the finest that engines start from it in.

    An engine that starts from the same file in a coarser one casts it as it compiles.
    """
    engines = _every_engine(extra)
    return next(one for one in PRECISIONS if any(engine.form_for(one) == form for engine in engines))


def _started_from(target: str, precision: str, extra: Sequence[str]) -> Aim:
    """In the finest precision that there is a file for, where none is named."""
    devices = _devices(target, extra)
    reached = {name for device in devices for name in device.address}
    engines = [engine for engine in _every_engine(extra) if engine.name == target or engine.name in reached]
    if not engines:
        raise BundleError(_unknown(target, extra))
    for one in (precision,) if precision else PRECISIONS:
        started = {form: engine for engine in engines if _holds(form := engine.form_for(one), one, extra)}
        if len(started) > 1:
            several = ", ".join(f"{form} ({engine.name})" for form, engine in started.items())
            raise BundleError(f"the engines of {target} start from {several}: name a form")
        for form in started:
            takers = [engine for engine in engines if engine.form_for(one) == form]
            gone = [device for device in devices if not device.runs]
            away = tuple((engine, device) for engine in takers for device in gone if engine.name in device.address)
            return Aim(target, form, one, takers[0].name if len(takers) == 1 else "", away)
    named = f" in {precision}" if precision else ""
    raise BundleError(f"{target} takes no file{named}: name a form: {', '.join(forms(extra))}")


def _holds(form: str, precision: str, extra: Sequence[str]) -> bool:
    """Whether a file of this form is all that an engine needs to compute in `precision`."""
    return form not in ("", WEIGHTS) and (precision not in QUANTISED or _own(form, extra) == precision)


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
        return f"no engine here is known to drive {target}: name a form: {', '.join(forms(extra))}"
    engines = [one.name for one in _every_engine(extra) if any(_holds(one.form_for(p), p, extra) for p in PRECISIONS)]
    return parts.no_such("target", target, sorted({*forms(extra), *backends, *engines}))


def _every_engine(extra: Sequence[str]) -> list[Engine]:
    return [one.part for one in parts.collect(Engine, extra) if one.part is not None]
