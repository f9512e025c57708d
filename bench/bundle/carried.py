"""A model that was made elsewhere, in a worker: an unpacked bundle, or an `*_edgetpu.tflite` that somebody compiled.

Workers use this, so it needs the standard library and numpy only and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bundle import manifest
from bench.bundle.manifest import BundleError, Manifest
from workloads.contract import Golden, Model, Samples, Split, Tolerance, Unsupported, Workload

if TYPE_CHECKING:
    from workloads.contract import Arrays

ONNX = "onnx"
COMPILED = {"_edgetpu.tflite": ("edgetpu", "int8")}
"""What a file's name ends with that comes without a manifest, by its vendor's convention: its form and precision."""


@dataclass(frozen=True)
class Carried:
    """`path` is what an engine gets in place of `form`. `sha256` names its content; `told` is None for a bare file."""

    path: Path
    form: str
    sha256: str
    told: Manifest | None


class CarriedModel(Model):
    """There is what was carried, and what is made of that very file: an artefact of other origin would be another's.

    Lowerings make things of an ONNX file, which `origin` then is: JAX has its function made of it.
    """

    def form(self, name: str) -> Any:
        if name not in self.given and ONNX not in self.given:
            raise Unsupported(f"{self.name} was carried here as {', '.join(self.given)}, and this engine needs {name}")
        return super().form(name)


def compiled(path: Path) -> tuple[str, str] | None:
    """Form and precision of a file without a manifest, by its name; None: unknown."""
    return next((what for ending, what in COMPILED.items() if path.name.endswith(ending)), None)


def find(artefact: str) -> Carried:
    """What lies at `artefact`, an unpacked bundle's folder or a compiled file, its content checked just now.

    Raises BundleError for a damaged bundle and for a file of no known form.
    """
    path = Path(artefact)
    if path.is_dir():
        told = manifest.read(path)
        if wrong := manifest.damaged(path, told):
            raise BundleError(f"{path}: {', '.join(wrong)} was changed after it was unpacked; remove the folder")
        return Carried(path / told.artefact, told.form, told.artefact_sha256, told)
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file")
    if (known := compiled(path)) is None:
        endings = ", ".join(f"*{ending}" for ending in COMPILED)
        raise BundleError(f"{path}: neither a bundle (accelmark export makes one) nor {endings}")
    return Carried(path, known[0], manifest.content_of(path).sha256, None)


def given(carried: Carried, model: Model, form: str, precision: str) -> Model:
    """`model` with the artefact as what an engine starts from; raises Unsupported where it starts from another form."""
    if form != carried.form:
        raise Unsupported(
            f"the artefact is {carried.form}, and in {precision} this engine starts from {form or 'none'}"
        )
    if carried.told is not None and carried.told.digest != model.digest:
        raise Unsupported(f"the bundle's {carried.told.workload} is another network than this checkout's: export again")
    if carried.told is not None and carried.told.precision != precision:
        raise Unsupported(f"the bundle was made for {carried.told.precision}, not for {precision}")
    told = {one.name: getattr(model, one.name) for one in fields(model)}
    only = {"origin": str(carried.path), "net": None, "digest": carried.sha256}
    return CarriedModel(**{**told, **only, "given": {carried.form: carried.path}})


class Bundled(Workload):
    """A bundle as a workload of its own: its golden samples, again and again."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._told = manifest.read(self.folder)
        self.card = self._told.card
        self.feedback = self._told.feedback

    def model(self) -> Model:
        told = self._told
        return Model(told.workload, told.digest, told.inputs, told.outputs, origin=told.workload)

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        if split != "perf":
            raise Unsupported(f"a bundle has golden samples only, and none for {split}")
        stored = Samples(self._arrays(manifest.INPUTS))
        return stored.take([row % len(stored) for row in range(n)])

    def golden(self) -> Golden:
        return Golden(self._arrays(manifest.OUTPUTS), self._told.steps)

    def tolerance(self, precision: str) -> Tolerance:
        if precision != self._told.precision:
            raise Unsupported(f"the bundle was made for {self._told.precision}, not for {precision}")
        return self._told.tolerance

    @cached_property
    def _loaded(self) -> dict[str, Arrays]:
        return {}

    def _arrays(self, name: str) -> Arrays:
        import numpy as np

        if name not in self._loaded:
            with np.load(self.folder / name, allow_pickle=False) as stored:
                self._loaded[name] = dict(stored)
        return self._loaded[name]
