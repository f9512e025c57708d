"""Where files that a lowering made are kept: a folder for each model and way of making them. Builds no form itself."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.contract import Model
from workloads.weights import cache_root

if TYPE_CHECKING:
    from workloads.contract import Arrays


def cached(model: Model, form: str, key: Sequence[object], file: str, make: Callable[[Path], None]) -> Path:
    """`file` of `model` in `form`, made anew unless one of the same digest and `key` is there, and whole or not at all.

    `make` writes to the path that it is given, and what else belongs to the file beside it. `key` has all else that
    the file depends on: the versions of the lowering and of its tools, the content of what it starts from. Of two
    processes one makes and the other waits; one that is killed leaves a part file, which the next overwrites.
    """
    name = hashlib.sha256(repr((model.digest, form, *key)).encode()).hexdigest()[:16]
    home = cache_root() / form / name
    path = home / file
    if path.exists():
        return path
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(part := path.with_name(f"part-{file}"))
            part.replace(path)
    return path


def digest_of(arrays: Arrays) -> str:
    """SHA-256 of samples, for the key of what was calibrated with them."""
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.tobytes())
    return digest.hexdigest()
