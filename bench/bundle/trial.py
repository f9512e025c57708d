"""Runs a bundle's golden samples through an engine, in a fresh worker process, and compares: its hardware may crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.contract import Backend, Device, Engine
from bench import parts
from bench.attempt import attempt
from bench.bundle.manifest import Manifest
from results import checks
from results.record import OutputCheck, Placement


@dataclass(frozen=True)
class Verdict:
    """Of one engine on one device: `ok` is None where it could not be tried, and `text` says what came of it.

    `refused` is the engine's own answer: it does not take this bundle.
    """

    ok: bool | None
    text: str
    refused: bool = False


def engines(told: Manifest, extra: Sequence[str] = (), wanted: Sequence[str] = ()) -> Iterator[tuple[Engine, Device]]:
    """The engines that start from the bundle's form, with each device here that they can drive; `wanted` by name."""
    backends = [one.part for one in parts.collect(Backend, extra) if one.part is not None]
    devices = [device for backend in backends for device in backend.probe().devices if device.runs]
    for one in parts.collect(Engine, extra):
        if one.part is None or one.part.form_for(told.precision) != told.form:
            continue
        if one.name not in wanted if wanted else not one.part.by_default:
            continue
        yield from ((one.part, device) for device in devices if one.part.available(device).state == "present")


def run(
    folder: Path, told: Manifest, engine: Engine, device: Device, extra: Sequence[str] = (), target: str = ""
) -> Verdict:
    """The bundle unpacked in `folder`, on a device; for one that does not run here what its compiler makes of it.

    The bundle stands for the workload too: what it says is right is what is asked for.
    `target` is the `--target` by which a backend knows that device, "": it needs none.
    """
    label = f"{engine.name} on {device.name}"
    if not device.runs:
        label = f"{engine.name} compiling for {device.name}"
    targets = (target,) if target and not device.runs else ()
    here = str(folder)
    outcome = attempt(told.workload, told.precision, engine, device, extra, model=here, artifact=here, targets=targets)
    if outcome.status != "ok" or outcome.result is None:
        why = "; ".join(text for text in (outcome.reason, outcome.remedy) if text)
        refused = outcome.status == "unsupported"
        return Verdict(None if refused else False, f"{label}: {why}", refused)
    version = outcome.result["versions"].get(engine.name)
    label = f"{label} ({engine.module or engine.name} {version})" if version else label
    if not outcome.result["evidence"]["outputs"]:
        return Verdict(None, f"{label}: it was compiled, and nothing here computes with it")
    faults, agreement = _judged(outcome.result["evidence"], device.runs)
    return Verdict(not faults, f"{label}: {'; '.join(faults) or agreement}")


def _judged(evidence: Mapping[str, Any], runs: bool) -> tuple[list[str], str]:
    """What is wrong, and in what words nothing is. A compiler may well leave operators to the device's own host."""
    outputs, placed = OutputCheck.model_validate(evidence["outputs"]), Placement.model_validate(evidence["placement"])
    faults = [] if outputs.finite else ["an output holds NaN or infinity"]
    faults += checks.output_faults(outputs)
    if runs and placed.share < 1:
        faults.append(f"only {placed.share:.0%} of it ran on {placed.device} ({placed.proof})")
    return (
        faults,
        f"{outputs.identity_hits} of {outputs.n} outputs right, worst cosine {outputs.centred_cosine_min:.6f}",
    )
