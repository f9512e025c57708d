"""Which marker stands for which toolchain: `make test-MARKER` runs the tests that need it, and promises them."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

TOOLCHAINS = {
    "torch": ("torch",),
    "tpu": ("jax", "libtpu"),
    "edge": ("ai_edge_litert", "ai_edge_quantizer"),
    "asic": ("ethosu", "onnxruntime_qnn"),
}
"""Marker to the modules that its environment has; an engine of one of these modules is tried there."""


def marker_of(module: str) -> str:
    """The marker of what needs `module`; "": it belongs to the tests that every environment runs."""
    return next((marker for marker, modules in TOOLCHAINS.items() if module.partition(".")[0] in modules), "")


def suite_of(item: pytest.Item) -> str:
    """Under which marker a test runs; "test" for one that needs no toolchain."""
    return next((marker for marker in TOOLCHAINS if item.get_closest_marker(marker)), "test")


def promised(config: pytest.Config) -> bool:
    """Whether what was selected has to run: a build server chose tests by their markers, as the Makefile does."""
    return os.environ.get("CI") == "true" and bool(config.option.markexpr)


def lacking(marker: str) -> list[str]:
    return [module for module in TOOLCHAINS[marker] if find_spec(module) is None]
