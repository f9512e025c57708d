"""The page that answers: a joined table in, one self-contained HTML file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.join import Table


def write(table: Table, out: Path, *, baseline: str | None = None) -> Path:
    """Write the page to `out` and return its path; an older page stays until the new one is whole.

    `baseline` holds words of the configuration that ratios refer to ("onnxruntime fp32"); None: the best fp32 engine.
    Raises ValueError for a baseline that fits no result, and OSError where `out` cannot be written.
    """
    from results import files
    from results.report.page import build

    files.write(out, build(table, baseline))
    return out
