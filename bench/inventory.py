"""What there is to choose from, as tables: `accelmark list`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from backends.contract import Backend, Device, Engine, Meter, Presence
from bench import parts, recipes
from results.numbers import si
from workloads.contract import Technique, Workload

Rows = list[tuple[str, ...]]
Table = tuple[tuple[str, ...], Rows]


def workloads(extra: Sequence[str]) -> Table:
    columns = ("name", "measured by default", "task", "parameters", "flops", "weights", "bound", "quality")
    return columns, list(_described(Workload, extra, len(columns), _workload))


def techniques(extra: Sequence[str]) -> Table:
    columns = ("name", "changes", "precision", "steps", "what")
    return columns, list(_described(Technique, extra, len(columns), partial(_technique, extra)))


def backends(extra: Sequence[str]) -> Table:
    columns = ("name", "family", "state", "devices or reason", "what to do")
    return columns, list(_described(Backend, extra, len(columns), _backend))


def engines(extra: Sequence[str]) -> Table:
    columns = ("name", "measured by default", "state", "drives or reason", "what to do")
    return columns, list(_described(Engine, extra, len(columns), partial(_engine, _devices(extra))))


def meters(extra: Sequence[str]) -> Table:
    columns = ("name", "quantity", "covers", "state", "reads or reason", "what to do")
    return columns, list(_described(Meter, extra, len(columns), partial(_meter, _devices(extra))))


def scenarios(_extra: Sequence[str]) -> Table:
    from bench.scenarios import SCENARIOS

    rows: Rows = [(name, str(kind.goal), _first_line(kind)) for name, kind in SCENARIOS.items()]
    return ("name", "goal", "load"), rows


def profiles(_extra: Sequence[str]) -> Table:
    from bench.profiles import PROFILES

    columns = ("name", "repeats", "warm-up at most", "window", "samples at least")
    return columns, [
        (
            one.name,
            str(one.repeats),
            f"{one.warmup_max_s:g} s",
            f"{one.min_duration_s:g} to {one.max_duration_s:g} s",
            ", ".join(f"{scenario} {count:,}" for scenario, count in one.min_samples.items() if count),
        )
        for one in PROFILES.values()
    ]


def exports(_extra: Sequence[str]) -> Table:
    from results.exports import formats

    shelf: Rows = [(name, _first_line(importlib.import_module(f"results.exports.{name}"))) for name in formats()]
    return ("name", "what"), [("html", "The page: one self-contained file."), *shelf]


TABLES: Mapping[str, Callable[[Sequence[str]], Table]] = {
    "workloads": workloads,
    "techniques": techniques,
    "backends": backends,
    "engines": engines,
    "meters": meters,
    "scenarios": scenarios,
    "profiles": profiles,
    "exports": exports,
}


def found_backends(extra: Sequence[str]) -> list[Backend]:
    return [found.part for found in parts.collect(Backend, extra) if found.part is not None]


@dataclass(frozen=True)
class Reach:
    """Which devices an engine drives, or would if it were installed; `reason` and `remedy` where there is none."""

    answers: tuple[tuple[Device, Presence], ...]
    reason: str = ""
    remedy: str = ""


def reach(engine: Engine, devices: Sequence[Device]) -> Reach:
    answers = [(device, engine.available(device)) for device in devices]
    reached = tuple((d, answer) for d, answer in answers if answer.state != "absent" or engine.name in d.address)
    if reached:
        return Reach(reached)
    reasons = "; ".join(dict.fromkeys(answer.reason for _, answer in answers))
    return Reach((), reasons or "no device is here", next((answer.remedy for _, answer in answers), ""))


def metered(meter: Meter, devices: Sequence[Device]) -> Presence:
    """Which of `devices` it reads, as the reason of a presence; or the answer that tells most of why it reads none."""
    answers = [(device, meter.available(device)) for device in devices]
    read = [device.name for device, answer in answers if answer.state == "present"]
    if read:
        return Presence("present", ", ".join(read))
    telling = sorted((answer for _, answer in answers), key=lambda one: (one.state == "absent", not one.remedy))
    return telling[0] if telling else Presence("absent", "no device is here")


def _described(
    base: type[Any], extra: Sequence[str], width: int, describe: Callable[[Any], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    for found in parts.collect(base, extra):
        if found.part is None:
            yield (found.name, "broken", f"{found.error} ({found.file})", *[""] * (width - 3))
        else:
            yield describe(found.part)


def _workload(workload: Workload) -> tuple[str, ...]:
    card = workload.card
    bounds = ", ".join(f"p{bound.percentile:g} <= {bound.latency_ms:g} ms" for bound in card.bounds) or "none"
    quality = card.quality.metric if card.quality else "not measurable: random weights"
    if card.role != "model":
        bounds, quality = "none", f"not ranked: probes the machine's {card.role.removeprefix('ceiling_')} ceiling"
    parameters, flops = si(card.parameters), "not counted" if card.flops is None else si(card.flops)
    return (
        card.name,
        _by_default(workload, "--workload"),
        card.task,
        parameters,
        flops,
        si(card.weight_bytes, "B"),
        bounds,
        quality,
    )


def _technique(extra: Sequence[str], technique: Technique) -> tuple[str, ...]:
    recipe = recipes.parse(technique.name, extra)
    steps = "; ".join(recipe.steps) or "none"
    what = _first_line(technique)
    return (
        technique.name,
        " + ".join(technique.recipe) or technique.stage,
        recipe.precision or "as asked for",
        steps,
        f"a control: {what}" if technique.control else what,
    )


def _backend(backend: Backend) -> tuple[str, ...]:
    presence = backend.probe()
    devices = ", ".join(device.name for device in presence.devices if device.runs)
    return backend.name, backend.family, presence.state, devices or presence.reason, presence.remedy


def _devices(extra: Sequence[str]) -> list[Device]:
    return [device for backend in found_backends(extra) for device in backend.probe().devices]


def _engine(devices: Sequence[Device], engine: Engine) -> tuple[str, ...]:
    default = _by_default(engine, "--engine")
    reached = reach(engine, devices)
    if not reached.answers:
        return engine.name, default, "absent", reached.reason, reached.remedy
    _, presence = reached.answers[0]
    drives = ", ".join(device.name for device, _ in reached.answers)
    return engine.name, default, presence.state, presence.reason or drives, presence.remedy


def _by_default(part: Workload | Engine, option: str) -> str:
    return "yes" if part.by_default else f"no: only when {option} names it"


def _meter(devices: Sequence[Device], meter: Meter) -> tuple[str, ...]:
    presence = metered(meter, devices)
    return meter.name, meter.quantity, meter.scope, presence.state, presence.reason, presence.remedy


def _first_line(documented: object) -> str:
    return next(iter((documented.__doc__ or "").strip().splitlines()), "")
