"""Makes a bundle: the artefact in the form that the target's engine starts from, tried here where an engine can."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import chain
from pathlib import Path

import numpy as np

from backends.contract import Device, Engine, Plan
from bench import ROOT, build, parts
from bench.bundle import trial
from bench.bundle.aim import Aim
from bench.bundle.archive import pack
from bench.bundle.manifest import ARTEFACT, FORMAT, INPUTS, OUTPUTS, BundleError, Manifest, content_of
from bench.recorder import commit
from workloads import weights
from workloads.contract import Arrays, Model, Unsupported, Workload

DEVICE = "device"
OUR_PACKAGE = "workloads"
OURS = (
    "The network was written anew for accelmark, and its weights come from a seed or were trained by accelmark:\n"
    "network, weights, samples and right answers are under the same licence as accelmark.\n"
)
TOOLS = ("numpy", "onnx", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "ethos-u-vela", "torch")
"""Packages that make artefacts or try them; the versions of those that are installed are written down."""


def export(name: str, target: Aim, out: Path, extra: Sequence[str] = ()) -> tuple[Path, Manifest]:
    """Write the bundle of a workload to the folder `out`.

    Raises BundleError where it cannot be made, or where what was made answers wrongly here; PartError for an unknown
    workload.
    """
    workload = parts.find(Workload, name, extra)
    try:
        tolerance = workload.tolerance(target.precision)
    except Unsupported as reason:
        raise BundleError(f"{name} cannot be exported in {target.precision}: {reason}") from None
    with tempfile.TemporaryDirectory(prefix="accelmark-export-") as scratch:
        folder = Path(scratch)
        artefact = _artefact(workload, target.form, folder, extra)
        _deliver(workload, target, folder)
        steps = _golden(workload, folder)
        _legal(workload, folder)
        model = workload.model()
        told = Manifest(
            format=FORMAT,
            workload=name,
            precision=target.precision,
            form=target.form,
            artefact=artefact,
            card=workload.card,
            digest=model.digest,
            inputs=model.inputs,
            outputs=model.outputs,
            steps=steps,
            feedback=dict(workload.feedback),
            tolerance=tolerance,
            tools=_tools(),
            commit=commit() or "unknown",
            verified="",
            unverified="not tried yet",
            files={name: content_of(folder / name) for name in _files(folder)},
        )
        told = _tried(folder, told, target, extra)
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}-{re.sub('[^A-Za-z0-9_]+', '-', target.name)}-{target.precision}.zip"
        pack(folder, told, path)
    return path, told


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _artefact(workload: Workload, form: str, folder: Path, extra: Sequence[str]) -> str:
    """Copy the artefact, made once in a process of its own, with what it refers to; the name of its entry."""
    for _, made in build.prebuild([build.Wanted(workload.card.name, form)], extra):
        if made.problem:
            raise BundleError(f"{workload.card.name} cannot be made as {form}: {made.problem}")
    source = _path(workload.calibrated(), form)
    (folder / ARTEFACT).mkdir()
    beside = source.with_name(weights.FILE_NAME)
    referred = [beside] if beside.exists() and weights.FILE_NAME.encode() in source.read_bytes() else []
    entry = f"{ARTEFACT}{workload.card.name}{source.suffix}"
    shutil.copyfile(source, folder / entry)
    for path in referred:
        shutil.copyfile(path, folder / ARTEFACT / path.name)
    return entry


def _path(model: Model, form: str) -> Path:
    made = model.form(form)
    if not isinstance(made, Path):
        raise BundleError(f"form {form} is no whole model in a file, so it cannot be carried: name onnx or tflite")
    return made


def _deliver(workload: Workload, target: Aim, folder: Path) -> None:
    """What the firmware of each device loads that is compiled for here, under device/."""
    plan = Plan(target.precision, 1, "latency")
    for engine, device in target.away:
        home = folder / DEVICE / re.sub("[^a-z0-9]+", "-", device.name.lower()).strip("-")
        home.mkdir(parents=True)
        try:
            engine.deliver(workload.calibrated(), plan, device, home)
        except Unsupported as reason:
            raise BundleError(f"{workload.card.name} for {device.name}: {reason}; name another with --target") from None


def _golden(workload: Workload, folder: Path) -> int:
    """Write samples and their right answers; how many runs each sample was fed through."""
    golden = workload.golden()
    count = len(next(iter(golden.outputs.values())))
    (folder / INPUTS).parent.mkdir()
    np.savez(folder / INPUTS, **_single(workload.samples("perf", count, 0).inputs))  # type: ignore[arg-type]
    np.savez(folder / OUTPUTS, **_single(golden.outputs))  # type: ignore[arg-type]
    return golden.steps


def _single(arrays: Arrays) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """Floats in float32, whose rounding is far below every tolerance; integers as they are."""
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def _legal(workload: Workload, folder: Path) -> None:
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    package = type(workload).__module__.partition(".")[0]
    notice = (
        f"{workload.card.name}: {workload.card.source}.\n",
        OURS if package == OUR_PACKAGE else f"It comes from the package {package}, whose author knows its licence.\n",
        "accelmark is under the Apache License 2.0, see LICENSE.\n",
        "The artefact was made with the tools that manifest.json lists, each under its own licence.\n",
    )
    (folder / "NOTICE").write_text("".join(notice), encoding="utf-8")


def _tools() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _tried(folder: Path, told: Manifest, target: Aim, extra: Sequence[str]) -> Manifest:
    """The manifest with what came of running the artefact here.

    Raises BundleError where it answers wrongly, and where the engine that it was asked for takes it on no device.
    """
    (folder / "manifest.json").write_text(told.to_text(), encoding="utf-8")
    specification = target.name if ":" in target.name else ""

    def verdicts(places: Iterable[tuple[Engine, Device]]) -> Iterator[trial.Verdict]:
        for engine, device in places:
            verdict = trial.run(folder, told, engine, device, extra, specification)
            if not verdict.refused and engine.available(device).state != "present":
                continue  # its toolchain is lacking, which engines find out behind what they refuse
            if verdict.ok is False:
                raise BundleError(
                    f"{told.workload} as {told.form} is not what it should be, so nothing is written: {verdict.text}"
                )
            yield verdict

    own = list(verdicts(_meant(told, target, extra)))
    if own and all(one.refused for one in own):
        why = "; ".join(one.text for one in own)
        raise BundleError(
            f"{target.name} does not take {told.workload} as {told.form}: {why}; name another --precision"
        )
    others = (pair for pair in trial.engines(told, extra) if pair[0].name != target.engine)
    refusals = []
    for verdict in chain(own, verdicts(others)):
        if verdict.ok:
            return replace(told, verified=verdict.text, unverified="")
        refusals.append(verdict.text)
    why = "; ".join(refusals) or f"no engine here runs {told.form} in {told.precision}"
    return replace(told, verified="", unverified=why)


def _meant(told: Manifest, target: Aim, extra: Sequence[str]) -> Iterator[tuple[Engine, Device]]:
    """The engine that the bundle is for, with each device that it can run on here or could compile for."""
    if target.engine:
        yield from trial.engines(told, extra, (target.engine,))
    yield from target.away
