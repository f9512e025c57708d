"""What a compiler or a simulator says of hardware that is not here: `pytest bench/ --target tpu:v5e:1x1`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.recorder import Kept


def test_estimate(item_id: str, measure: Callable[[str], Kept]) -> None:
    """One item, in a fresh process. An estimate has no variance, so pytest-benchmark gets none of it."""
    measure(item_id)
