"""PyTorch on Intel's Gaudi cards, with Habana's plug-in for it. Not verified on a device.

Calls: docs.habana.ai, "PyTorch Gaudi Theory of Operations", "Getting Started with Inference" and "mark_step"; the
metric of what fell back to the host is that of the plug-in's own tests. Read November 2026.
"""

from __future__ import annotations

import copy
import importlib
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends._host import HOST, Host
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
from backends.engines._torch_modes import several
from backends.engines._torch_sessions import on_host, widened
from backends.engines._tuning import check_arrays, check_options, check_precision, choice, installed, unreachable

if TYPE_CHECKING:
    from workloads.contract import Array

PLUGIN = "habana-torch-plugin"
INSTALL = (
    "install it as docs.habana.ai says: its installer, or a container of vault.habana.ai; it is on no public index"
)
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
MODES = {"compile": "0", "eager": "0", "lazy": "1"}
"""Ways to run, and PT_HPU_LAZY_MODE of each, which the plug-in reads when it is imported."""
LAZY = "PT_HPU_LAZY_MODE"


class HabanaEngine(Engine):
    """Options: mode (compile: torch.compile with the card's compiler; eager; lazy, which its vendor retires)."""

    name = "habana"
    module = "torch"

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            return unreachable(self.name, device.name)
        spec = find_spec("habana_frameworks")
        if spec is None:
            return Presence("absent", f"{self.name} needs Habana's plug-in for PyTorch ({PLUGIN})", INSTALL)
        if not any(Path(folder, "torch").is_dir() for folder in spec.submodule_search_locations or ()):
            return Presence(
                "broken", "the installed habana_frameworks holds no torch, so it is not the vendor's", INSTALL
            )
        return self._releases()

    def _releases(self) -> Presence:
        """The driver and the plug-in have to be of one release; Linux' own driver names none."""
        driver, plugin = self._host.text("sys/module/habanalabs/version"), installed(PLUGIN)
        if driver and plugin and _release(driver) != _release(plugin):
            why = f"the driver habanalabs is of release {_release(driver)}, {PLUGIN} of {_release(plugin)}"
            return Presence(
                "broken", why, f"install habanalabs-dkms {_release(plugin)}, or the plug-in of the driver's"
            )
        return Presence("present")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` makes the module and fills it; `compile_ns` ends with a run, as the card compiles on the first."""
        check_options(self.name, plan, ("mode",))
        known = ("fp32", "bf16") if device.name.endswith("Gaudi") else ("fp32", "bf16", "fp16")
        check_precision(self.name, plan, known, "others need a quantised network")
        mode = choice(plan.options, "mode", "compile", MODES)
        started = time.monotonic_ns()
        torch, habana = _imported(mode)
        imported = time.monotonic_ns()
        if not habana.hpu.is_available():
            raise Unsupported("Habana's plug-in lists no card: another process may hold it, see hl-smi")
        module = model.form("torch")
        loaded = time.monotonic_ns()
        torch.set_float32_matmul_precision("highest")
        dtype = getattr(torch, DTYPES[plan.precision])
        placed = _on_host(module, dtype).to(device.address[self.name], dtype).eval()
        placement = _placement(torch, habana, placed, device)
        runner = torch.compile(placed, backend="hpu_backend", dynamic=False) if mode == "compile" else placed
        session = _Session(torch, habana, runner, model, device.address[self.name], dtype, mode == "lazy")
        session.run(session.put(_zeros(model, plan.batch)))
        _check_fallback(habana)
        done = time.monotonic_ns()
        settings = _settings(torch, plan, mode)
        session.facts = Facts(settings, placement, imported - started, loaded - imported, done - loaded)
        return session


class _Session(Session):
    """One run at a time: a card's stream keeps their order."""

    def __init__(
        self, torch: Any, habana: Any, runner: Any, model: Model, address: str, dtype: Any, lazy: bool
    ) -> None:
        self._torch = torch
        self._habana = habana
        self._runner = runner
        self._specs = model.inputs
        self._outputs = [spec.name for spec in model.outputs]
        self._address = address
        self._dtype = dtype
        self._lazy = lazy

    def put(self, arrays: Arrays) -> Values:
        check_arrays(self._specs, arrays)
        tensors = [self._tensor(arrays[spec.name]) for spec in self._specs]
        self._habana.hpu.synchronize()
        return tensors

    def run(self, values: Values) -> Values:
        """In lazy mode operators are only noted down, until mark_step has them compiled and started."""
        with self._torch.no_grad():
            outputs = self._runner(*values)
        if self._lazy:
            self._habana.core.mark_step()
        self._habana.hpu.synchronize()
        return several(outputs)

    def get(self, values: Values) -> Arrays:
        return {name: widened(tensor).cpu().numpy() for name, tensor in zip(self._outputs, values)}

    def close(self) -> None:
        super().close()
        self._runner = None

    def _tensor(self, array: Array) -> Any:
        tensor = on_host(self._torch, array)
        return tensor.to(self._address, self._dtype if tensor.is_floating_point() else tensor.dtype)


def _imported(mode: str) -> tuple[Any, Any]:
    """torch and Habana's part of it. Importing that chooses the mode, once for a process."""
    wanted = MODES[mode]
    if "habana_frameworks.torch" in sys.modules and os.environ.get(LAZY) != wanted:
        raise Unsupported(f"mode={mode} needs a process of its own: the plug-in was imported for another mode")
    os.environ[LAZY] = wanted
    import habana_frameworks.torch as habana
    import torch

    for part in ("core", "hpu", "hpu.metrics"):
        importlib.import_module(f"habana_frameworks.torch.{part}")
    return torch, habana


def _on_host(form: Any, dtype: Any) -> Any:
    """A module of our own. Large weights are drawn by the host: nobody has tried whether the card's integers can."""
    return form.place("cpu", dtype) if hasattr(form, "place") else copy.deepcopy(form)


def _zeros(model: Model, batch: int) -> Arrays:
    import numpy

    return {spec.name: numpy.zeros((batch, *(n or 1 for n in spec.shape[1:])), spec.dtype) for spec in model.inputs}


def _check_fallback(habana: Any) -> None:
    """Raises Unsupported where an operator was run by the host's processor, which the plug-in does without a word."""
    counts = dict(habana.hpu.metrics.metric_global("cpu_fallback").stats())
    if counts["TotalNumber"]:
        names = ", ".join(sorted(counts["FallbackOps"]))
        raise Unsupported(f"Habana's plug-in runs {names} on the host's processor, not on the card")


def _settings(torch: Any, plan: Plan, mode: str) -> dict[str, Setting]:
    return {
        "precision": plan.precision,
        "mode": mode,
        LAZY: os.environ[LAZY],
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "plugin": installed(PLUGIN) or "unknown",
    }


def _placement(torch: Any, habana: Any, module: Any, device: Device) -> Placement:
    """Share of the weights that lie on the card; that no operator fell to the host is checked apart."""
    wanted = torch.device(device.address["habana"])
    tensors = [*module.parameters(), *module.buffers()]
    there = sum(tensor.numel() for tensor in tensors if tensor.device.type == wanted.type)
    total = sum(tensor.numel() for tensor in tensors)
    proof = f"{there} of {total} weights are on {wanted}, {habana.hpu.get_device_name()}, no operator fell back"
    return Placement(device.name, there / total if total else 1.0, proof)


def _release(version: str) -> str:
    """1.22.0.740 and 1.22.0-8be82b3 are of one release, 1.22."""
    return ".".join(version.split(".")[:2])
