"""What every test folder shares."""

from __future__ import annotations

import pytest

from tests import support
from tests.toolchains import TOOLCHAINS, lacking, promised

pytest_addoption = support.pytest_addoption
pytest_configure = support.pytest_configure


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test whose toolchain is not here is skipped and says which command runs it, unless that command is this one."""
    support.claim_marked(items)
    if promised(config):
        return
    for marker in TOOLCHAINS:
        if missing := lacking(marker):
            away = pytest.mark.skip(reason=f"{', '.join(missing)} is not installed here: make test-{marker}")
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(away)
