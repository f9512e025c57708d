"""Where files that a lowering made are kept: a folder for each model and way of making them. Builds no form itself."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import Model
from workloads.weights import cache_root

if TYPE_CHECKING:
    from workloads.contract import Arrays

MAKING, LOCK = "making.json", "lock"
OURS = (MAKING, LOCK)
"""What lies beside a file and is no part of it."""


def cached(
    model: Model,
    form: str,
    key: Sequence[object],
    file: str,
    make: Callable[[Path], None],
    about: Mapping[str, object] | None = None,
) -> Path:
    """`file` of `model` in `form`, made anew unless one of the same digest and `key` is there, and whole or not at all.

    `make` writes to the path that it is given, and what else belongs to the file beside it. `key` has all else that
    the file depends on: the versions of the lowering and of its tools, the content of what it starts from. Of two
    processes one makes and the other waits; one that is killed leaves a part file, which the next overwrites.
    What making it took is kept beside it, with `about`: see `making`.
    """
    name = hashlib.sha256(repr((model.digest, form, *key)).encode()).hexdigest()[:16]
    home = cache_root() / form / name
    path = home / file
    if path.exists():
        return path
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            wall_s, cpu_s = time.monotonic(), time.process_time()
            make(part := path.with_name(f"part-{file}"))
            spent = {"wall_s": time.monotonic() - wall_s, "cpu_s": time.process_time() - cpu_s}
            (home / MAKING).write_text(json.dumps({**spent, **(about or {})}))
            part.replace(path)
    return path


def making(path: Path) -> dict[str, Any]:
    """What it took to make the file of a form: `wall_s` and `cpu_s`, and of what was calibrated `samples` and
    `samples_sha256`. Empty for a file that was not made here.
    """
    told = path.parent / MAKING
    return dict(json.loads(told.read_text())) if told.exists() else {}


def calibration(inputs: Arrays) -> dict[str, object]:
    """What `cached` is told `about` the samples that calibrated."""
    return {"samples": len(next(iter(inputs.values()))), "samples_sha256": digest_of(inputs)}


def digest_of(arrays: Arrays) -> str:
    """SHA-256 of samples, for the key of what was calibrated with them."""
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.tobytes())
    return digest.hexdigest()
