"""Which hardware and engine runs a workload fastest, and what it costs: `pytest bench/ --backend=cpu`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench import replay

if TYPE_CHECKING:
    from bench.recorder import Kept


@pytest.mark.benchmark(timer=replay.timer)
def test_hardware(item_id: str, measure: Callable[[str], Kept], benchmark: Any) -> None:
    """One item, in a fresh process; pytest-benchmark gets its figures, the store the whole of it."""
    replay.replay(benchmark, measure(item_id))
