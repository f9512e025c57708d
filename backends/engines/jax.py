"""JAX: the network as one program of XLA, on a TPU, on a CPU, or compiled for a TPU that is not here.

On a NeuronCore too, through AWS' plug-in: not verified on a device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backends._cores import usable
from backends.contract import (
    Arrays,
    Device,
    Engine,
    Estimate,
    Executed,
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
from backends.engines import _libtpu, _neuron
from backends.engines._hlo import products
from backends.engines._libtpu import Compiled, fitted, shaped
from backends.engines._tuning import (
    check_arrays,
    check_options,
    check_precision,
    importable,
    installed,
    unreachable,
    whole,
)

if TYPE_CHECKING:
    from workloads.contract import Array, TensorSpec

PRECISIONS = ("fp32", "bf16")
TPU_STREAMS = 2
"""Overlapping runs in throughput: a TPU's next one is to be in its queue when one ends. On a CPU a run shares XLA's
threads with the others, and one for each core keeps them busy where a network is too small for all."""
CLOCKS_MHZ = {"TPU v5 lite": 1500.0}
"""By JAX' name of a kind. v5e: jax-ml/scaling-book, tpus.md @0819a7d8c55d. Of the others no source could be read."""
CAVEAT = "the compiler's own cost model: it predicts, without contention, transfers or the host's share"
WRITTEN = "written_flops"
"""The setting with XLA's count of the program before it is compiled. What comes out may do more: see docs/targets."""
SOURCE = "XLA's optimised program"
FREE_SIZE = "its input {0} has sizes that are free: an estimate needs a network whose sizes are fixed"


class NoTpuError(RuntimeError):
    """JAX cannot use the TPU that is there: a fault, and never a reason to compute on the CPU in its place."""


class JaxEngine(Engine):
    """Options: streams. Starts from the file of the ONNX form; the function made of it lies in no file."""

    name = "jax"

    def available(self, device: Device) -> Presence:
        address = device.address.get(self.name)
        if address is None:
            return unreachable(self.name, device.name)
        found = importable(self.name, "jax", "tpu")
        if found.state != "present" or address == "cpu":
            return found
        return _neuron.available_to_jax() if address.startswith("neuron") else _libtpu.available()

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """`load_ns` makes the function, `compile_ns` finds the device, moves the weights there and compiles."""
        if not device.runs:
            raise Unsupported(f"{device.name} is not here: jax can only compile for it")
        if device.address[self.name].startswith("neuron"):
            _neuron.prepare_for_jax()
        loaded = _load(self.name, model, plan)
        return _session(loaded, plan, device, device.address[self.name])

    def estimate(self, model: Model, plan: Plan, device: Device) -> Estimate:
        """`numerics` is the same function on JAX' CPU, so it rounds elsewhere than a TPU does."""
        loaded = _load(self.name, model, plan)
        if free := next((spec.name for spec in loaded.form.inputs if None in spec.shape[1:]), None):
            raise Unsupported(FREE_SIZE.format(free))
        arguments = [dict(loaded.form.params), *_arguments(loaded.jax, loaded.form, plan.batch)]
        topology, begin_ns = device.address[self.name], time.monotonic_ns()
        found = _libtpu.compile_for(loaded.jax, topology, loaded.form.call, arguments)
        compile_ns = time.monotonic_ns() - begin_ns
        numerics = _session(loaded, plan, device, "cpu")
        written = {name: value for name, value in numerics.facts.settings.items() if name == WRITTEN}
        facts = Facts(
            {
                **_settings(loaded, plan),
                **written,
                "topology": topology,
                "device_kind": found.kind,
                "products": found.products,
            },
            Placement(device.name, float(not found.on_host), f"libtpu compiled the whole program for {found.kind}"),
            loaded.import_ns,
            loaded.load_ns,
            compile_ns,
        )
        return _estimate(found, facts, loaded, numerics)


@dataclass(frozen=True)
class _Loaded:
    """JAX, a `workloads.forms.jax.JaxForm`, and how long they took."""

    jax: Any
    form: Any
    import_ns: int
    load_ns: int


class _Session(Session):
    """One compiled program for each shape of inputs: a program refuses any other, so none is compiled in a run."""

    def __init__(self, jax: Any, form: Any, device: Any, batch: int, facts: Facts) -> None:
        self._jax, self._form, self._device, self._batch = jax, form, device, batch
        self._dtypes = {spec.name: form.argument_dtype(spec) for spec in form.inputs}
        self._params = jax.block_until_ready(jax.device_put(dict(form.params), device))
        self._programs: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.inflight = int(facts.settings["streams"])
        self.weights_bytes = form.weight_bytes
        self.facts = facts

    def put(self, arrays: Arrays) -> Values:
        """The inputs as arrays on the device, with the program for their shapes; on a CPU they may stay in place."""
        check_arrays(self._form.inputs, arrays)
        ours = [self._converted(spec, arrays[spec.name]) for spec in self._form.inputs]
        if any(len(array) != self._batch for array in ours):
            raise ValueError(f"the batch is {[len(array) for array in ours]} and was compiled as {self._batch}")
        placed = self._jax.device_put(ours, self._device)
        return self._program(ours), self._jax.block_until_ready(placed)

    def run(self, values: Values) -> Values:
        program, inputs = values
        return self._jax.block_until_ready(program(self._params, *inputs))

    def get(self, values: Values) -> Arrays:
        import numpy as np

        outputs = zip(self._form.outputs, values)
        return {spec.name: np.asarray(value).astype(spec.dtype, copy=False) for spec, value in outputs}

    def executed(self, values: Values) -> Executed:
        """Of the program for inputs of these shapes, which computes nothing else; it has no times of its parts."""
        program, _ = values
        found = products(program.as_text())
        return Executed(SOURCE, found.kernels, found.names)

    def close(self) -> None:
        super().close()
        self._params, self._programs = {}, {}

    def compile(self) -> None:
        """The program for the sizes that are known in advance, if all of them are; others as their inputs come."""
        if all(None not in spec.shape[1:] for spec in self._form.inputs):
            self._program(_arguments(self._jax, self._form, self._batch))

    def proof(self) -> tuple[float, str]:
        """The share of weights and programs that is on the device, and how that was read."""
        held = [array.devices() for array in self._params.values()]
        held += [set(program.runtime_executable().local_devices()) for program in self._programs.values()]
        there = sum(devices == {self._device} for devices in held)
        what = f"{len(self._params)} weights and {len(self._programs)} programs"
        return there / len(held) if held else 1.0, f"{there} of {what} are on {self._device}, {self._device.platform}"

    def _converted(self, spec: TensorSpec, array: Array) -> Array:
        """As the program takes it; an integer that does not fit is refused."""
        ours = array.astype(self._dtypes[spec.name], copy=False)
        if spec.dtype == "int64" and (ours != array).any():
            raise ValueError(f"{spec.name} has an integer that does not fit into JAX' 32 bits")
        return ours

    def _program(self, arguments: list[Any]) -> Any:
        shapes = tuple(tuple(one.shape) for one in arguments)
        if shapes not in self._programs:
            there = self._jax.sharding.SingleDeviceSharding(self._device)
            lowered = self._jax.jit(self._form.call).lower(*shaped(self._jax, there, [self._params, *arguments]))
            self._programs[shapes] = fitted(self._jax, self._device, lowered)
            counted = lowered.cost_analysis() or {}
            written = {WRITTEN: int(counted["flops"])} if "flops" in counted else {}
            settings = {**self.facts.settings, **written, "programs": len(self._programs)}
            self.facts = replace(self.facts, settings=settings)
        return self._programs[shapes]


def _load(name: str, model: Model, plan: Plan) -> _Loaded:
    check_options(name, plan, ("streams",))
    check_precision(name, plan, PRECISIONS, "int8 comes with --technique int8-static", model)
    started = time.monotonic_ns()
    import jax

    imported = time.monotonic_ns()
    jax.config.update("jax_enable_compilation_cache", False)  # a cold start is to compile
    form = model.form("jax").at(plan.precision if plan.precision in PRECISIONS else "fp32")
    return _Loaded(jax, form, imported - started, time.monotonic_ns() - imported)


def _arguments(jax: Any, form: Any, batch: int) -> list[Any]:
    """The inputs, of which only shape and type are known."""
    return [jax.ShapeDtypeStruct((batch, *spec.shape[1:]), form.argument_dtype(spec)) for spec in form.inputs]


def _session(loaded: _Loaded, plan: Plan, device: Device, address: str) -> _Session:
    begin_ns = time.monotonic_ns()
    found = _found(loaded.jax, address)
    settings = {
        **_settings(loaded, plan),
        "platform": found.platform,
        "device_kind": found.device_kind,
        "programs": 0,
        "streams": whole(plan.options, "streams", _streams(plan, found.platform)),
    }
    facts = Facts(settings, Placement(device.name, 0.0, ""), loaded.import_ns, loaded.load_ns, 0)
    session = _Session(loaded.jax, loaded.form, found, plan.batch, facts)
    session.compile()
    placement = Placement(device.name, *session.proof())
    session.facts = replace(session.facts, placement=placement, compile_ns=time.monotonic_ns() - begin_ns)
    return session


def _streams(plan: Plan, platform: str) -> int:
    if plan.goal == "latency":
        return 1
    return usable().cores if platform == "cpu" else TPU_STREAMS


def _found(jax: Any, address: str) -> Any:
    """The device that JAX calls so ("cpu", "tpu:0"); NoTpuError where there is none, whatever else there is."""
    platform, _, number = address.partition(":")
    jax.config.update("jax_platforms", "cpu" if platform == "cpu" else f"{platform},cpu")
    try:
        devices = jax.devices(platform)
    except RuntimeError as error:
        why = (str(error).splitlines() or ["no message"])[0]
        remedy = "another process may hold it: fuser -v /dev/accel* /dev/vfio/*"
        raise NoTpuError(f"jax finds no {platform} ({why}); {remedy}") from error
    found = devices[int(number or 0)]
    if found.platform != platform:
        raise NoTpuError(f"jax gives {found}, platform {found.platform}, for {address}")
    return found


def _settings(loaded: _Loaded, plan: Plan) -> dict[str, Setting]:
    return {
        "precision": plan.precision,
        "dtype": str(loaded.form.dtype),
        "matmul_precision": "highest" if loaded.form.precision == "fp32" else "default",
        "x64": bool(loaded.jax.config.jax_enable_x64),
        "donation": False,
        "compilation_cache": bool(loaded.jax.config.jax_enable_compilation_cache),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "libtpu_init_args": os.environ.get("LIBTPU_INIT_ARGS", ""),
        "neuron_cc_flags": os.environ.get(_neuron.COMPILER_FLAGS, ""),
    }


def _estimate(found: Compiled, facts: Facts, loaded: _Loaded, numerics: Session) -> Estimate:
    clock_mhz = CLOCKS_MHZ.get(found.kind)
    return Estimate(
        provenance="estimate",
        source=f"libtpu {installed('libtpu')} through jax {loaded.jax.__version__}",
        facts=facts,
        caveat=CAVEAT,
        numerics=numerics,
        latency_ns=None if found.cycles is None or clock_mhz is None else found.cycles / clock_mhz * 1e3,
        cycles=found.cycles,
        clock_mhz=clock_mhz,
        flops=found.flops,
        memory_peak_bytes=found.memory_peak_bytes,
        memory_limit_bytes=found.memory_limit_bytes,
        weights_bytes=loaded.form.weight_bytes,
        fallback_operators=found.on_host,
        missing=_missing(found, clock_mhz),
    )


def _missing(found: Compiled, clock_mhz: float | None) -> Mapping[str, str]:
    """Why what is None in the estimate is not known."""
    looping = f"the program has {found.loops} loops, and the compiler counts one round of each" if found.loops else ""
    no_cycles = looping or "the compiler has no estimate for some of its instructions"
    no_clock = f"no source could be read that gives the clock of {found.kind}"
    reasons = {
        "flops": (found.flops, looping),
        "cycles": (found.cycles, no_cycles),
        "clock_mhz": (clock_mhz, no_clock),
        "memory_limit_bytes": (found.memory_limit_bytes, "the compiler does not say what a program may have"),
        "sram_peak_bytes": (None, "the compiler does not say how much vector memory a program takes"),
        "latency_ns": (clock_mhz and found.cycles, no_cycles if found.cycles is None else no_clock),
    }
    return {name: why for name, (value, why) in reasons.items() if value is None}
