"""How fast does a machine train? Forward, backward and the optimiser's step: `pytest bench/ --mode=train`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench import replay

if TYPE_CHECKING:
    from bench.recorder import Kept


@pytest.mark.benchmark(timer=replay.timer)
def test_training(item_id: str, measure: Callable[[str], Kept], benchmark: Any) -> None:
    """One item, as in test_hardware.py: the durations of its steps."""
    replay.replay(benchmark, measure(item_id))
