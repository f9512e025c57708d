"""Arm's Vela: what its compiler predicts of an int8 network on an Ethos-U that is not here."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from backends._ethos_u import Configuration, parsed
from backends.contract import (
    Device,
    Engine,
    Estimate,
    Facts,
    Model,
    Placement,
    Plan,
    Presence,
    Session,
    Setting,
    Unsupported,
)
from backends.engines._litert import LiteRtSession
from backends.engines._tuning import CHECKOUT, check_options, check_precision, choice, installed, unreachable
from backends.engines._vela import Report, compiled

PACKAGES = ("ethos-u-vela", "ai-edge-litert", "ai-edge-quantizer")
CAVEAT = (
    "Vela's own words: internal compiler estimates; for performance numbers the compiled network should be run on an "
    "FVP Model or FPGA"
)
MAIN_MEMORIES = {"DRAM": "dram_memory_used", "off-chip flash": "off_chip_flash_memory_used"}
OPTIMISE = {"performance": "Performance", "size": "Size"}
LAYERS_SHOWN = 5
ADDRESSABLE_BYTES = 2**32
"""Vela's limit where a memory mode gives none: what the addresses of a U55 reach, and more for the others."""
NO_LIMIT = "Vela's configuration gives the main memory no size"
ALL_SRAM = "in this memory mode everything lies in SRAM"
NS_PER_S = 1e9


class VelaEngine(Engine):
    """Options: optimise (performance, size).

    Vela computes nothing: its input, the int8 file, is run with LiteRT's reference kernels, to which Arm says that
    the hardware is bit-exact.
    """

    name = "vela"
    module = "ethosu.vela"
    form = ""

    def form_for(self, precision: str) -> str:
        """Nothing is made for a precision that is refused."""
        return "tflite_int8" if precision == "int8" else self.form

    def form_of(self, model: Model, precision: str) -> str:
        """Of a network that a technique brought into int8, what the technique made of it."""
        return self.form_for(precision)

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            if device.backend == "ethos_u":
                why = f"{self.name} compiles for {device.name} and runs nothing, as no engine here does"
                return Presence("absent", why, "see what its compiler predicts: --target ethos_u:u65-256")
            return unreachable(self.name, device.name)
        if missing := [package for package in PACKAGES if installed(package) is None]:
            return Presence("absent", f"{self.name} needs {', '.join(missing)}", CHECKOUT.format(extra="asic"))
        return Presence("present")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        raise Unsupported(f"{self.name} only predicts: nothing here runs on an Ethos-U")

    def deliver(self, model: Model, plan: Plan, device: Device, folder: Path) -> None:
        """The network as TensorFlow Lite for Microcontrollers loads it, which hands the NPU's part to the NPU."""
        check_precision(self.name, plan, ("int8",), "the Ethos-U has integer arithmetic only")
        path, chosen = Path(model.form(self.form_of(model, plan.precision))), parsed(device.address[self.name])
        with TemporaryDirectory(prefix="vela-") as scratch:
            _check(compiled(path, chosen, OPTIMISE["performance"], Path(scratch)), chosen)
            (made,) = Path(scratch).glob("*_vela.tflite")
            shutil.copyfile(made, folder / f"{model.name}_vela.tflite")

    def estimate(self, model: Model, plan: Plan, device: Device) -> Estimate:
        """The compiler has a process of its own, whose start is part of `compile_ns`."""
        check_options(self.name, plan, ("optimise",))
        check_precision(self.name, plan, ("int8",), "the Ethos-U has integer arithmetic only")
        if plan.batch != 1:
            raise Unsupported(f"an Ethos-U takes one sample at a time, so not batch {plan.batch}")
        optimise = OPTIMISE[choice(plan.options, "optimise", "performance", OPTIMISE)]
        chosen = parsed(device.address[self.name])
        path = Path(model.form(self.form_of(model, plan.precision)))
        started = time.monotonic_ns()
        import ethosu.vela

        imported = time.monotonic_ns()
        with TemporaryDirectory(prefix="vela-") as folder:
            report = compiled(path, chosen, optimise, Path(folder))
        compile_ns = time.monotonic_ns() - imported
        _check(report, chosen)
        settings = _settings(report, chosen, path) | {"optimise": optimise, "vela": ethosu.vela.__version__}
        facts = Facts(settings, _placement(report, device), imported - started, None, compile_ns)
        numerics = LiteRtSession(path, model, plan, facts, reference=True)
        return _estimate(report, chosen, facts, numerics)


def _check(report: Report, chosen: Configuration) -> None:
    """Vela goes on where a network does not fit, and takes the clock from a file that anybody may edit."""
    if not report.npu_operators + report.cpu_operators:
        raise RuntimeError("vela counted no operator at all")
    if report.clock_hz != chosen.clock_mhz * 1e6:
        raise RuntimeError(
            f"the installed Arm/vela.ini has {chosen.system} at {report.clock_hz / 1e6:g} MHz and Arm's own at "
            f"{chosen.clock_mhz:g}: reinstall ethos-u-vela"
        )
    used, limit = _sram_bytes(report, chosen), report.counts["arena_cache_size"]
    if used > limit:
        raise Unsupported(f"does not fit: {used:,} bytes of SRAM are needed, and {chosen} has {limit:,}")


def _sram_bytes(report: Report, chosen: Configuration) -> int:
    """With Sram_Only, Vela books the weights as on-chip flash, and says that it treats that as SRAM."""
    used = report.counts["sram_memory_used"]
    return used + report.counts["on_chip_flash_memory_used"] if chosen.memory == "Sram_Only" else used


def _settings(report: Report, chosen: Configuration, path: Path) -> dict[str, Setting]:
    counts = report.counts
    limit = counts["arena_cache_size"]
    content = path.read_bytes()
    longest = (f"{one.operator} {one.name}: {one.cycles:,} cycles" for one in report.layers[:LAYERS_SHOWN])
    return {
        "precision": "int8",
        "accelerator": f"ethos-{chosen.accelerator}",
        "system_config": chosen.system,
        "memory_mode": chosen.memory,
        "sram_limit_bytes": limit if limit < ADDRESSABLE_BYTES else "none given",
        "main_memory": next((kind for kind, column in MAIN_MEMORIES.items() if counts[column]), "none"),
        "npu_operators": report.npu_operators,
        **{name: value for name, value in counts.items() if name.startswith("cycles_") and name != "cycles_total"},
        "mac_utilisation": round(counts["nn_macs"] / max(1, counts["cycles_total"] * chosen.macs), 4),
        "weights_before_encoding_bytes": counts["total_original_weights"],
        "longest_layers": "; ".join(longest),
        "model_bytes": len(content),
        "model_sha256": hashlib.sha256(content).hexdigest(),
    }


def _placement(report: Report, device: Device) -> Placement:
    total = report.npu_operators + report.cpu_operators
    proof = f"Vela places {report.npu_operators} of {total} operators on the NPU, {report.cpu_operators} on the CPU"
    return Placement(device.name, report.npu_operators / total, proof)


def _estimate(report: Report, chosen: Configuration, facts: Facts, numerics: Session) -> Estimate:
    """With operators on the CPU, time and work would be those of the others, and look better than the truth."""
    counts = report.counts
    main = sum(counts[column] for column in MAIN_MEMORIES.values())
    partial = report.cpu_operators > 0
    missing = {"memory_limit_bytes": NO_LIMIT}
    if not main:
        missing["memory_peak_bytes"] = ALL_SRAM
    if partial:
        why = f"{report.cpu_operators} operators fall to the CPU, of which Vela counts nothing"
        missing |= dict.fromkeys(("latency_ns", "cycles", "flops", "weights_bytes"), why)
    return Estimate(
        provenance="estimate",
        source=f"ethos-u-vela {facts.settings['vela']}",
        facts=facts,
        caveat=CAVEAT,
        numerics=numerics,
        latency_ns=None if partial else round(report.inference_s * NS_PER_S, 3),
        cycles=None if partial else counts["cycles_total"],
        clock_mhz=report.clock_hz / 1e6,
        flops=None if partial else 2 * counts["nn_macs"],
        memory_peak_bytes=main or None,
        sram_peak_bytes=_sram_bytes(report, chosen),
        weights_bytes=None if partial else counts["total_npu_encoded_weights"],
        fallback_operators=report.cpu_operators,
        missing=missing,
    )
