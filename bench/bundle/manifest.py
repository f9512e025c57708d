"""What a bundle says of itself, and the one reading of it: everything else relies on what is checked here.

Workers read it, so this needs the standard library only and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workloads.contract import Bound, Card, Quality, TensorSpec, Tolerance
from workloads.weights import sha256_of

FORMAT = 1
MANIFEST = "manifest.json"
ARTEFACT = "artefact/"
INPUTS, OUTPUTS = "golden/inputs.npz", "golden/outputs.npz"
MANIFEST_BYTES_MAX = 1 << 20
"""A manifest has some 4 KB: what is larger by far was not written by us."""
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""Names of entries: nothing that leaves the folder, hides in it, or means something to a shell or another system."""


class BundleError(ValueError):
    """What was given is no bundle that can be used; the message is one line with the remedy."""


class DamagedError(BundleError):
    """A bundle whose content is not what its manifest says."""


@dataclass(frozen=True)
class Content:
    """One entry of the archive."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """`artefact` is the entry that an engine is given as `form`; `files` are all entries but the manifest.

    `tools` are versions by package. `verified` says what ran the artefact before it was carried away, and `unverified`
    why nothing did: one of the two is "".
    """

    format: int
    workload: str
    precision: str
    form: str
    artefact: str
    card: Card
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: int
    feedback: Mapping[str, str]
    tolerance: Tolerance
    tools: Mapping[str, str]
    commit: str
    verified: str
    unverified: str
    files: Mapping[str, Content] = field(default_factory=dict)

    @property
    def artefact_sha256(self) -> str:
        """Of the artefact's file, or of the hashes of all of its files where weights lie beside it."""
        hashes = [one.sha256 for name, one in sorted(self.files.items()) if name.startswith(ARTEFACT)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def to_text(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_text(cls, text: str, where: Path) -> Manifest:
        """Raises BundleError for what is no manifest of this format."""
        try:
            values = json.loads(text, parse_constant=_refuse)
            if values["format"] != FORMAT:
                raise BundleError(f"{where}: a bundle of format {values['format']}, and this checkout reads {FORMAT}")
            return cls(**_converted(values))
        except BundleError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{where}: {MANIFEST} is damaged ({type(error).__name__}: {error}); export again"
            ) from None

    def __post_init__(self) -> None:
        """Raises ValueError for values that no export writes."""
        if unsafe := [name for name in (*self.files, self.artefact) if not SAFE.fullmatch(name)]:
            raise ValueError(f"unsafe name {unsafe[0]!r}")
        if MANIFEST in self.files or self.artefact not in self.files or not self.artefact.startswith(ARTEFACT):
            raise ValueError(f"files list {MANIFEST} itself, or lack the artefact {self.artefact}")
        if lacking := {INPUTS, OUTPUTS} - set(self.files):
            raise ValueError(f"files lack {', '.join(sorted(lacking))}")
        if any(not re.fullmatch("[0-9a-f]{64}", one.sha256) or one.bytes < 0 for one in self.files.values()):
            raise ValueError("an entry has no SHA-256 or no length")


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's dictionaries and lists as the types that they were written from; raises TypeError and the like."""
    for name in ("workload", "precision", "form", "artefact", "digest", "commit", "verified", "unverified"):
        if not isinstance(values[name], str):
            raise TypeError(f"{name} is no text")
    card = dict(values["card"])
    card["bounds"] = tuple(Bound(**bound) for bound in card["bounds"])
    card["quality"] = Quality(**card["quality"]) if card["quality"] else None
    specs = {side: tuple(_spec(**spec) for spec in values[side]) for side in ("inputs", "outputs")}
    files = {str(name): Content(str(one["sha256"]), int(one["bytes"])) for name, one in values["files"].items()}
    told = {"card": Card(**card), "tolerance": Tolerance(**values["tolerance"]), "files": files, **specs}
    return {**values, **told, "steps": int(values["steps"])}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number to compare with")


def _spec(name: str, dtype: str, shape: list[int | None]) -> TensorSpec:
    return TensorSpec(name, dtype, tuple(shape))


def read(folder: Path) -> Manifest:
    """Of an unpacked bundle."""
    return Manifest.from_text((folder / MANIFEST).read_text(encoding="utf-8"), folder)


def damaged(folder: Path, manifest: Manifest) -> list[str]:
    """The entries of an unpacked bundle that are not what the manifest says."""
    return [name for name, one in manifest.files.items() if _content(folder / name) != one]


def _content(path: Path) -> Content | None:
    return content_of(path) if path.is_file() else None


def content_of(path: Path) -> Content:
    return Content(sha256_of(path), path.stat().st_size)
