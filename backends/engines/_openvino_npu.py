"""What OpenVINO needs beside itself to drive an Intel NPU, and how it says that it lacks it. Holds no part.

Its wheel on the package index has the NPU's plug-in and no compiler (2026.4), and finds the device through Level Zero,
which is no part of the wheel. Messages: those of 2026.4's plug-in, seen on a machine without an NPU.
"""

from __future__ import annotations

import ctypes
from typing import Any

from backends.contract import Plan, Setting, Unsupported
from backends.engines._tuning import choice

OPTIONS = ("compiler",)
COMPILERS = {"driver": "DRIVER", "plugin": "PLUGIN"}
LOADER = "libze_loader.so.1"
USER_DRIVERS = ("libze_intel_npu.so.1", "libze_intel_vpu.so.1")
"""The NPU's user-mode driver, under its present name and that before 2025."""
SOURCE = "github.com/intel/linux-npu-driver"
NO_COMPILER = ("libopenvino_intel_npu_compiler", "VCL compiler loading failed")
NO_DEVICE = "Could not find an NPU device"


def check(core: Any) -> None:
    """Raises Unsupported where the library lists no NPU: what is listed by the kernel is not always usable."""
    listed = core.get_property("NPU", "AVAILABLE_DEVICES")
    if not listed:
        raise Unsupported(f"openvino lists no NPU: {_why_not()}")


def properties(plan: Plan) -> dict[str, Any]:
    """The compiler is always named: which of the two is the default changed between releases."""
    return {"NPU_COMPILER_TYPE": COMPILERS[choice(plan.options, "compiler", "driver", COMPILERS)]}


def settings(core: Any, plan: Plan) -> dict[str, Setting]:
    """What the device says of its driver, where it says so."""
    known = core.get_property("NPU", "SUPPORTED_PROPERTIES")
    told = {name: str(core.get_property("NPU", name)) for name in ("NPU_DRIVER_VERSION",) if name in known}
    return {"compiler": choice(plan.options, "compiler", "driver", COMPILERS), **told}


def explain(error: Exception) -> None:
    """Raises Unsupported for an error of compiling whose cause is known, and which the user can do something about."""
    said = str(error)
    if any(words in said for words in NO_COMPILER):
        raise Unsupported(
            "openvino's NPU compiler is not installed (its wheel has none): use the driver's with --option "
            "compiler=driver, or take openvino from Intel's archive"
        ) from error
    if NO_DEVICE in said:
        raise Unsupported(f"openvino finds no NPU to compile with its driver: {_why_not()}") from error


def _why_not() -> str:
    if not _loads(LOADER):
        return f"Level Zero's loader {LOADER} is not installed: install libze1 or level-zero"
    if not any(_loads(library) for library in USER_DRIVERS):
        return (
            f"the NPU's user-mode driver {USER_DRIVERS[0]} is not installed: install intel-level-zero-npu of {SOURCE}"
        )
    return f"its driver and its firmware may be of different releases: see dmesg | grep intel_vpu, and {SOURCE}"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
