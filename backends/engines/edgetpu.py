"""The Edge TPU through LiteRT, with Coral's libedgetpu as its delegate.

Not verified on device: LiteRT 2.3 with libedgetpu has been tried nowhere that is public. Google's own build of the
library crashes with it (google-coral/edgetpu#812); the worker is a process of its own, so that is one failed record.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends._edgetpu import INSTALL, LIBRARY, Runtime, runtime
from backends._host import HOST, Host
from backends.contract import Device, Engine, Facts, Model, Placement, Plan, Presence, Session, Setting
from backends.engines._edgetpu_file import OPERATOR, check_whole, told
from backends.engines._litert import InterpreterSession, create, operators, prepare
from backends.engines._tuning import check_options, check_precision, choice, importable, installed, unreachable

PERFORMANCE = ("max", "high", "medium", "low")
"""libedgetpu's option "Performance" (tflite/edgetpu_delegate_for_custom_op_tflite_plugin.cc)."""


class EdgeTpuEngine(Engine):
    """Options: performance (max, high, medium, low), how fast the runtime clocks the chip.

    It starts from a compiled file: a bundle's or one that was brought, or made by edgetpu_compiler. The first run
    sends the parameters to the chip: it is part of warming up, and never of what is timed.
    """

    name = "edgetpu"
    module = "ai_edge_litert"
    form = "edgetpu"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def form_for(self, precision: str) -> str:
        """Nothing is made for a precision that is refused."""
        return self.form if precision == "int8" else ""

    def available(self, device: Device) -> Presence:
        """From files only: whether the library gets on with this LiteRT shows when a worker loads it."""
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        if runtime(self._host) is None:
            return Presence("absent", f"edgetpu needs Coral's runtime {LIBRARY}, which no library folder has", INSTALL)
        return importable(self.name, self.module, "edgetpu")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` reads the file and loads the runtime, `compile_ns` plans memory."""
        check_options(self.name, plan, ("performance",))
        check_precision(self.name, plan, ("int8",), "the Edge TPU has integer arithmetic only")
        performance = choice(plan.options, "performance", "max", PERFORMANCE)
        path = Path(model.form(self.form))
        count = check_whole(path)
        found = runtime(self._host)
        if found is None:
            raise RuntimeError(f"{LIBRARY} is gone since it was looked for: {INSTALL}")
        started = time.monotonic_ns()
        import ai_edge_litert.interpreter  # noqa: F401 - timed on its own

        imported = time.monotonic_ns()
        version = _loaded(found)
        interpreter = _interpreter(path, found, {"device": device.address[self.name], "Performance": performance})
        loaded = time.monotonic_ns()
        prepare(interpreter, model, plan.batch)
        done = time.monotonic_ns()
        settings: dict[str, Setting] = {
            "precision": "int8",
            "streams": 1,
            "device": device.address[self.name],
            "clock": found.clock,
            "performance": performance,
            "libedgetpu": version,
            **told(path),
            "runtime": f"ai-edge-litert {installed('ai-edge-litert')}",
        }
        facts = Facts(
            settings, _placement(count, interpreter, device), imported - started, loaded - imported, done - loaded
        )
        return InterpreterSession([interpreter], model, facts)


def _loaded(found: Runtime) -> str:
    """The runtime's version. Loaded by itself first: LiteRT's own attempt hides the cause of a failure."""
    try:
        library = ctypes.CDLL(str(found.path))
    except OSError as error:
        raise RuntimeError(f"{found.path.name} cannot be loaded: {error}; apt-get install libusb-1.0-0") from error
    if not hasattr(library, "edgetpu_version"):
        return "unknown"
    library.edgetpu_version.restype = ctypes.c_char_p
    return str(library.edgetpu_version().decode(errors="replace"))


def _interpreter(path: Path, found: Runtime, options: Mapping[str, str]) -> Any:
    """With the runtime as its delegate; raises RuntimeError where that finds no chip, or takes no operator."""
    from ai_edge_litert import interpreter

    try:
        delegate = interpreter.load_delegate(
            str(found.path), {**options, "Performance": options["Performance"].title()}
        )
    except ValueError as error:
        why = " ".join(str(error).split()) or "it gave no reason"
        raise RuntimeError(
            f"opening an Edge TPU at {options['device']}: {why}; does another process use it?"
        ) from error
    made = create(path, 1, "builtin", delegate)
    if not _taken(made):
        raise RuntimeError(f"{found.path.name} took no operator of {path.name}; {INSTALL}")
    return made


def _taken(interpreter: Any) -> int:
    """How many operators the delegate took: each stands in the list as an operator more."""
    names = operators(interpreter)
    return len(names) - names.count(OPERATOR)


def _placement(count: int, interpreter: Any, device: Device) -> Placement:
    taken = _taken(interpreter)
    return Placement(
        device.name, taken / count, f"the delegate took {taken} of {count} {OPERATOR}; there are no others"
    )
