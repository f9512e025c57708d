"""LiteRT, formerly TensorFlow Lite, on the host's CPU."""

from __future__ import annotations

import time

from backends.contract import Device, Engine, Facts, Model, Placement, Plan, Presence, Session, Setting
from backends.engines._litert import KERNELS, InterpreterSession, create, operators, prepare
from backends.engines._tuning import (
    check_options,
    check_precision,
    choice,
    importable,
    installed,
    spread,
    unreachable,
)

FORMS = {"fp32": "tflite", "int8": "tflite_int8"}


class LiteRtEngine(Engine):
    """Options: threads (of each stream), streams, kernels (xnnpack, builtin, reference).

    It is in no default extra, so where it is installed it is wanted, and measured by default: how INT8 pays on a CPU is
    what users of small devices ask first.
    """

    name = "litert"
    module = "ai_edge_litert"
    form = "tflite"

    def form_for(self, precision: str) -> str:
        return FORMS.get(precision, self.form)

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        return importable(self.name, self.module, "edgetpu")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` reads the file and hands it to XNNPACK, `compile_ns` plans memory and packs weights."""
        check_options(self.name, plan, ("threads", "streams", "kernels"))
        check_precision(self.name, plan, tuple(FORMS), "a .tflite file has its precision in it", model)
        load = spread(plan)
        kernels = choice(plan.options, "kernels", "xnnpack", KERNELS)
        path = model.form(self.form_of(model, plan.precision))
        started = time.monotonic_ns()
        import ai_edge_litert.interpreter  # noqa: F401 - timed on its own

        imported = time.monotonic_ns()
        interpreters = [create(path, load.threads, kernels) for _ in range(load.streams)]
        loaded = time.monotonic_ns()
        for interpreter in interpreters:
            prepare(interpreter, model, plan.batch)
        done = time.monotonic_ns()
        named = operators(interpreters[0])
        settings: dict[str, Setting] = {
            "precision": plan.precision,
            "threads": load.threads,
            "streams": load.streams,
            "kernels": kernels,
            "operators": len([name for name in named if name != "DELEGATE"]),
            "xnnpack_parts": named.count("DELEGATE"),
            "runtime": f"ai-edge-litert {installed('ai-edge-litert')}",
        }
        proof = f"all operators have kernels of the CPU; {named.count('DELEGATE')} parts of the graph went to XNNPACK"
        facts = Facts(
            settings, Placement(device.name, 1.0, proof), imported - started, loaded - imported, done - loaded
        )
        return InterpreterSession(interpreters, model, facts)
