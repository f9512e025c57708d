"""ONNX's own evaluator in numpy: slow, single, and the plainest reading of the standard. Never chosen by default."""

from __future__ import annotations

import time
from typing import Any

from backends.contract import (
    Arrays,
    Device,
    Engine,
    Facts,
    Model,
    Placement,
    Plan,
    Presence,
    Session,
    Setting,
    Unsupported,
    Values,
)
from backends.engines._tuning import (
    check_arrays,
    check_options,
    check_precision,
    importable,
    installed,
    unreachable,
)
from workloads.contract import TensorSpec


class ReferenceEngine(Engine):
    """Takes no options."""

    name = "reference"
    by_default = False

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        return importable(self.name, "onnx", "test")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` is reading the file, `compile_ns` choosing a function for each node."""
        check_options(self.name, plan, ())
        check_precision(self.name, plan, ("fp32",), "it follows the types written in the graph")
        path = model.form(self.form)
        started = time.monotonic_ns()
        import onnx
        from onnx.reference import ReferenceEvaluator

        imported = time.monotonic_ns()
        graph = onnx.load(path)
        loaded = time.monotonic_ns()
        try:
            evaluator = ReferenceEvaluator(graph)
        except NotImplementedError as error:
            raise Unsupported(f"the reference evaluator cannot run the graph: {error}") from error
        settings: dict[str, Setting] = {"precision": "fp32", "streams": 1, "evaluator": f"onnx {installed('onnx')}"}
        placement = Placement(device.name, 1.0, "numpy computes on the host's CPU only")
        facts = Facts(settings, placement, imported - started, loaded - imported, time.monotonic_ns() - loaded)
        return _Session(evaluator, model.inputs, facts)


class _Session(Session):
    def __init__(self, evaluator: Any, specs: tuple[TensorSpec, ...], facts: Facts) -> None:
        self._evaluator = evaluator
        self._specs = specs
        self._names = list(evaluator.output_names)
        self.facts = facts

    def put(self, arrays: Arrays) -> Values:
        check_arrays(self._specs, arrays)
        return arrays

    def run(self, values: Values) -> Values:
        return self._evaluator.run(self._names, values)

    def get(self, values: Values) -> Arrays:
        return dict(zip(self._names, values))
