"""Devices. FAKE_HPU_COUNT of them are there, one by default."""

import os

from habana_frameworks.torch import calls


def is_available() -> bool:
    return os.environ.get("FAKE_HPU_COUNT", "1") != "0"


def get_device_name() -> str:
    return "GAUDI2 (fake)"


def synchronize() -> None:
    calls["synchronize"] += 1
