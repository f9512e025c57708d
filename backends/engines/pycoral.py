"""The Edge TPU through Coral's own pycoral, on its images with Python 3.6 to 3.9 (`--python pycoral=/usr/bin/python3`).

The package of that name on the public index is another project's; the vendor's is told by its modules. Interface:
https://coral.ai/docs/reference/py/pycoral.utils.edgetpu/. Not verified on device.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from backends.contract import Device, Engine, Facts, Model, Placement, Plan, Presence, Session, Setting
from backends.engines._edgetpu_file import OPERATOR, check_whole, told
from backends.engines._litert import InterpreterSession, prepare
from backends.engines._tuning import check_options, check_precision, installed, unreachable

INSTALL = "pip install --extra-index-url https://google-coral.github.io/py-repo/ pycoral~=2.0 (Python 3.6 to 3.9)"


class PyCoralEngine(Engine):
    """Takes no options. Starts from a compiled file, as `edgetpu` does."""

    name = "pycoral"
    module = "pycoral"
    form = "edgetpu"

    def form_for(self, precision: str) -> str:
        """Nothing is made for a precision that is refused."""
        return self.form if precision == "int8" else ""

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        spec = find_spec("pycoral")
        if spec is None:
            return Presence("absent", "pycoral needs Coral's package pycoral", f"{INSTALL}; or use --engine=edgetpu")
        places = [Path(folder) / "utils" / "edgetpu.py" for folder in spec.submodule_search_locations or ()]
        if not any(place.exists() for place in places):
            why = "the package pycoral here is not Coral's: it has no pycoral/utils/edgetpu.py"
            return Presence("broken", why, f"pip uninstall pycoral, then {INSTALL}")
        return Presence("present")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` reads the file and opens the chip, `compile_ns` plans memory."""
        check_options(self.name, plan, ())
        check_precision(self.name, plan, ("int8",), "the Edge TPU has integer arithmetic only")
        path = Path(model.form(self.form))
        count = check_whole(path)
        started = time.monotonic_ns()
        from pycoral.utils import edgetpu

        imported = time.monotonic_ns()
        interpreter = edgetpu.make_interpreter(str(path), device=device.address[self.name])
        loaded = time.monotonic_ns()
        prepare(interpreter, model, plan.batch)
        done = time.monotonic_ns()
        settings: dict[str, Setting] = {
            "precision": "int8",
            "streams": 1,
            "device": device.address[self.name],
            "libedgetpu": str(edgetpu.get_runtime_version()),
            **told(path),
            "runtime": f"pycoral {installed('pycoral')}, tflite-runtime {installed('tflite-runtime')}",
        }
        proof = f"all {count} operators are {OPERATOR}, which runs nowhere else"
        facts = Facts(
            settings, Placement(device.name, 1.0, proof), imported - started, loaded - imported, done - loaded
        )
        return InterpreterSession([interpreter], model, facts)
