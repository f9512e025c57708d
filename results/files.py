"""Writes a whole text file, or leaves the old one."""

from __future__ import annotations

import os
from pathlib import Path


def write(out: Path, text: str) -> None:
    """Make `out` and the folders above it; an older file stays until the new one is whole. Raises OSError.

    A device or a pipe (/dev/stdout) is written to, never replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not out.is_file():
        out.write_text(text, encoding="utf-8")
        return
    target = out.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
