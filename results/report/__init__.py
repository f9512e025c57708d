"""The page that answers: `write` reads a results folder and leaves one self-contained HTML file."""

from __future__ import annotations

import os
from pathlib import Path

from results.cost import Pricing


def write(root: Path, out: Path, *, pricing: Pricing | None = None, baseline: str | None = None) -> Path:
    """Read everything under `root`, write the page to `out`, and return its path.

    `baseline` holds words of the configuration that ratios refer to ("onnxruntime fp32"); None: the best fp32 engine.
    Raises StoreError when there are no records and ValueError for a baseline that fits no result; an older page stays.
    """
    from results import join
    from results.report.page import build

    page = build(join.table(root, pricing), baseline)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return out
