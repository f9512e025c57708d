"""NNCF without its reports, tables and bars. Builds no form itself."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

TELEMETRY = "openvino_telemetry"


@contextmanager
def quiet() -> Iterator[Any]:
    """The package, within which it writes nothing to standard output or error, nor the warnings of what it imports."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield _without_telemetry()


def _without_telemetry() -> Any:
    """Where NNCF finds no openvino_telemetry it sends nothing. NNCF_CI, its switch, comes too late: a client's identity
    is in the home folder by then.
    """
    there = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # how Python is told that a module cannot be imported
    try:
        import nncf
    finally:
        sys.modules.pop(TELEMETRY)
        if there is not None:
            sys.modules[TELEMETRY] = there
    nncf.set_log_level("ERROR")
    return nncf
