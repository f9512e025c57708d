"""Imported by a worker before all else, to know when it began: what the harness imports is no engine's cold start."""

import time

BEGAN_NS = time.monotonic_ns()
"""CLOCK_MONOTONIC when the interpreter had come this far."""

import numpy  # noqa: E402, F401 - timed

NUMPY_NS = time.monotonic_ns() - BEGAN_NS
"""How long importing numpy took, which every process with an engine has to."""
