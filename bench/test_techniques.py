"""What does a technique do to size, speed and quality here? One item per combination and repeat; `--technique`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench import replay

if TYPE_CHECKING:
    from bench.recorder import Kept


@pytest.mark.benchmark(timer=replay.timer)
def test_techniques(item_id: str, measure: Callable[[str], Kept], benchmark: Any) -> None:
    """One item, as in test_hardware.py: quality, size and speed are of one artefact."""
    replay.replay(benchmark, measure(item_id))
