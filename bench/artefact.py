"""What an engine starts from, as it is stored: made in advance, packed where a technique does, unpacked, described.

Workers use this, so it needs the standard library and numpy only and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads import weights
from workloads.contract import Unsupported
from workloads.forms._cache import cached, making
from workloads.forms._files import belonging

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Model, Packing

NOT_PACKED = "it is stored as the engine reads it"
NOT_MADE = "nothing was calibrated"
NOT_TREATED = "no technique: see the card"
UNTRAINED = "nothing was trained for it"
UNCOUNTED = "the technique does not count them"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""A batch normalization keeps them, and no card counts them as parameters."""
OUR_OWN = "it is the shared graph, or a file that somebody brought"
IN_MEMORY = "it lies in no file: it is made while the engine loads it"


@dataclass(frozen=True)
class Artefact:
    """`path` is None where the form lies in no file; `packed` is None where it is stored as the engine reads it."""

    form: str
    path: Path | None
    packed: Path | None = None


def make(model: Model, form: str, packing: Packing | None) -> Artefact:
    """Make it, or find it in the cache; raises Unsupported where it is to be packed and lies in no file."""
    found = model.form(form) if form else None
    path = found if isinstance(found, Path) else None
    if packing is None:
        return Artefact(form, path)
    if path is None:
        remedy = "use an engine that starts from a file, as onnxruntime and openvino do"
        raise Unsupported(f"{packing.name}: what the engine starts from lies in memory, so there is no file: {remedy}")

    def pack(to: Path) -> None:
        packing.pack(path, to)

    content = hashlib.sha256("".join(weights.sha256_of(one) for one in belonging(path)).encode()).hexdigest()
    return Artefact(
        form, path, cached(model, packing.name, (packing.version, form, content), f"{path.name}.{packing.name}", pack)
    )


@contextmanager
def unpacked(model: Model, artefact: Artefact, packing: Packing | None) -> Iterator[tuple[Model, int | None]]:
    """The model as an engine may load it, and how many nanoseconds unpacking took; None: nothing was packed."""
    if artefact.packed is None or packing is None:
        yield model, None
        return
    with tempfile.TemporaryDirectory(prefix="accelmark-unpacked-") as folder:
        begin_ns = time.monotonic_ns()
        path = packing.unpack(artefact.packed, Path(folder))
        spent_ns = time.monotonic_ns() - begin_ns
        yield replace(model, given={**model.given, artefact.form: path}), spent_ns


def evidence(model: Model, artefact: Artefact, session: Session, unpack_ns: int | None) -> dict[str, Any]:
    """Shaped as `results.record.Artefact`."""
    told = {} if artefact.path is None else making(artefact.path)
    size = _bytes(artefact, session)
    found: dict[str, Any] = {
        "kind": "memory" if artefact.path is None or session.weights_bytes is not None else "file",
        "form": artefact.form or "none",
        "stored_bytes": size if artefact.packed is None else artefact.packed.stat().st_size,
        "unpacked_bytes": size,
        "unpack_ns": unpack_ns,
        "steps": list(model.steps),
        "making_s": told.get("wall_s"),
        "training_s": model.training.cpu_s if model.training else None,
        "samples": told.get("samples", 0) + (model.training.samples if model.training else 0) or None,
        "samples_sha256": told.get("samples_sha256"),
        **_weights(model),
    }
    reasons = {
        "stored_bytes": "the engine does not say what its weights take",
        "unpacked_bytes": "the engine does not say what its weights take",
        "unpack_ns": NOT_PACKED,
        "making_s": OUR_OWN if artefact.path else IN_MEMORY,
        "training_s": UNTRAINED,
        "samples": NOT_MADE,
        "samples_sha256": NOT_MADE,
        "parameters": UNCOUNTED if model.recipe else NOT_TREATED,
        "zero_share": UNCOUNTED if model.recipe else NOT_TREATED,
    }
    missing = {name: reasons[name] for name, value in found.items() if value is None}
    return {**found, "missing": missing}


def _bytes(artefact: Artefact, session: Session) -> int | None:
    if session.weights_bytes is not None:
        return session.weights_bytes
    return None if artefact.path is None else sum(one.stat().st_size for one in belonging(artefact.path))


def _weights(model: Model) -> dict[str, Any]:
    """How many weights the network has, and which share of them is zero, whatever its graph makes of them."""
    if not model.recipe:
        return {"parameters": None, "zero_share": None}
    if model.origin.endswith(".onnx"):
        told = making(Path(model.origin))
        return {name: told.get(name) for name in ("parameters", "zero_share")}
    manifest = weights.Manifest.read(model.origin)
    learned = {tensor.name: tensor.size for tensor in manifest.tensors if not tensor.name.endswith(STATISTICS)}
    total = sum(learned.values())
    if manifest.large:
        return {"parameters": total, "zero_share": None}
    import numpy as np  # here, as collecting items imports this module

    tensors = weights.load(manifest)
    return {"parameters": total, "zero_share": 1 - sum(int(np.count_nonzero(tensors[one])) for one in learned) / total}
