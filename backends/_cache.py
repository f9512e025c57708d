"""Where engines keep what they may use again, beside the weights of the workloads. Holds no part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """$ACCELMARK_CACHE, else .cache/accelmark in the checkout: as `workloads.weights` has it (a test)."""
    chosen = environ.get("ACCELMARK_CACHE")
    return Path(chosen) if chosen else Path(__file__).parents[1] / ".cache" / "accelmark"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file of the cache as a whole: of two processes that do, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
