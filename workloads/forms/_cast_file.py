"""Where cast graphs are kept: one folder for each model and precision, a graph beside its weights."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from workloads.weights import FILE_NAME, aligned, cache_root, sha256_of

if TYPE_CHECKING:
    from workloads.contract import Array

SEAL = "seal.json"


class Weights:
    """The open weights file; tensors of equal content lie in it once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self._places: dict[str, dict[str, str]] = {}

    def add(self, array: Array) -> Mapping[str, str]:
        """Where the array lies, as ONNX's external data says it."""
        content = array.reshape(-1).view("u1").data
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._places:
            offset = aligned(self._end, len(content))
            self._file.write(bytes(offset - self._end))
            self._file.write(content)
            self._end = offset + len(content)
            self._places[digest] = {"location": FILE_NAME, "offset": str(offset), "length": str(len(content))}
        return self._places[digest]


def cached(name: str, key: Sequence[object], make: Callable[[Weights], bytes]) -> Path:
    """The graph of `key`, made where it is missing or not as it was sealed.

    Of two processes one makes it under a lock and the other waits. The seal, written last, has the SHA-256 of both
    files: what a killed process leaves is made anew.
    """
    home = cache_root() / "cast" / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    graph = home / f"{name}.onnx"
    if _intact(home):
        return graph
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _intact(home):
            (home / SEAL).unlink(missing_ok=True)
            with (home / FILE_NAME).open("wb") as file:
                graph.write_bytes(make(Weights(file)))
            _seal(home, graph.name)
    return graph


def _seal(home: Path, graph: str) -> None:
    part = home / f"{SEAL}.part"
    part.write_text(json.dumps({name: sha256_of(home / name) for name in (graph, FILE_NAME)}))
    part.replace(home / SEAL)


def _intact(home: Path) -> bool:
    try:
        sealed = json.loads((home / SEAL).read_text())
        return all(sha256_of(home / name) == digest for name, digest in sealed.items())
    except (OSError, ValueError):
        return False
