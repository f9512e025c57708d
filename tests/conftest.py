"""What every test folder shares."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs torch is skipped where there is none, and says which command runs it."""
    if find_spec("torch") is not None:
        return
    away = pytest.mark.skip(reason="torch is not installed here: make test-torch")
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(away)
