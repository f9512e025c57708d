"""Where it is computed: what a kind of hardware and a piece of software on it have to answer.

A *backend* knows one kind of hardware, an *engine* one piece of software that compiles and runs models on devices. They
meet in `Device.address`: what the engine has to call the device. Neither imports a vendor library before it compiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, Optional, Union

from workloads.contract import Arrays, Model, Unsupported

__all__ = [
    "Arrays", "Backend", "Device", "DeviceState", "Done", "Engine", "Estimate", "Executed", "Facts", "Goal", "Learned",
    "Meter", "Model", "Placement", "Plan", "Presence", "Reading", "Session", "Setting", "Unsupported", "Values",
]  # fmt: skip

Goal = Literal["latency", "throughput"]
Setting = Union[str, int, float, bool]  # noqa: UP007 - evaluated, and a worker may run on Python 3.9
Values = Any
"""Arrays wherever the engine keeps them: only its own session looks inside."""
Done = Callable[[Values, Optional[BaseException]], None]  # noqa: UP045 - as above


@dataclass(frozen=True)
class Device:
    """One thing that can be measured. `name` includes the configuration, as two configurations are two devices.

    `runs` is False for a target that is not here and can be compiled for: an engine then gives an `Estimate` in place
    of a session. `address` maps an engine's name to what that engine calls this device ("CPUExecutionProvider",
    "cuda:0", "v5e:1x1"); an engine that is not named cannot reach it.
    """

    backend: str
    name: str
    address: Mapping[str, str]
    runs: bool = True


@dataclass(frozen=True)
class Presence:
    """Whether something can be used here, and if not, why and what to do about it.

    `absent`: not there, which is no fault. `no_permission` and `broken`: there, and cannot be used, which is one.
    `no_such_target`: what was asked for can be meant nowhere, so the asking is at fault. Of an absent kind of hardware
    `devices` may still be compiled for: then none of them `runs`.
    """

    state: Literal["present", "absent", "no_permission", "broken", "no_such_target"]
    reason: str = ""
    remedy: str = ""
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True)
class DeviceState:
    """What the device says of itself at one moment; None has its reason in `missing`, by field name."""

    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    other_users: int | None = None
    memory_used_bytes: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unknown(cls, reason: str) -> DeviceState:
        """Nothing is known, all for one reason."""
        return cls(missing=dict.fromkeys((one.name for one in fields(cls) if one.name != "missing"), reason))


@dataclass(frozen=True)
class Plan:
    """How a model is to be run. `options` are the user's overrides ("threads": "1"); an unknown one is Unsupported."""

    precision: str
    batch: int
    goal: Goal
    mode: Literal["infer", "train"] = "infer"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Placement:
    """Evidence of where the work really runs: `share` of the graph (0 to 1) on `device`, and how that was read."""

    device: str
    share: float
    proof: str


@dataclass(frozen=True)
class Executed:
    """What an engine really ran, by its own profile and not by the type of a file: the proof of a precision.

    `kernels` are matrix products and convolutions by what they computed in ("int8", "bf16", "fp32"; weights only:
    "int4 weights"), `share` is the part of the time of all kernels by the same names, None where the profile has no
    times. `names` are the kernels as the engine calls them, with how often they ran.
    """

    source: str
    kernels: Mapping[str, int]
    names: Mapping[str, int]
    share: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Learned:
    """What steps of training have reached, by the session's own account: how many `parameters` it trains.

    `reached` lie in tensors that had a gradient in the last step, `changed` in tensors that are not as they began.
    """

    parameters: int
    reached: int
    changed: int


@dataclass(frozen=True)
class Facts:
    """What compiling came to. `settings` are the effective ones, as the engine reports them after compiling.

    `import_ns` imports the library, `load_ns` reads and parses the model (None: one call does it with compiling, and
    `compile_ns` holds both), `compile_ns` makes it runnable.
    """

    settings: Mapping[str, Setting]
    placement: Placement
    import_ns: int
    load_ns: int | None
    compile_ns: int


@dataclass(frozen=True)
class Estimate:
    """What a compiler or a simulator says of a model on a device that is not here. None has its reason in `missing`.

    `provenance`: a static model of the hardware predicts ("estimate", without variance), or its arithmetic was
    simulated ("simulator": its outputs count, its time never does). `source` names the tool and its version, `caveat`
    is its own warning. `facts.settings` hold all that the figures depend on, `facts.placement` the share that the
    device takes. `numerics` computes on the host what the device would, from the very same artefact: only its outputs
    are looked at.

    `flops` are the compiler's own count for one run. `memory_peak_bytes` of `memory_limit_bytes` is the device's main
    memory, `sram_peak_bytes` its fast memory. `fallback_operators` would run on the host's processor: with any of them
    there is no `latency_ns`, as no tool counts their time.
    """

    provenance: Literal["estimate", "simulator"]
    source: str
    facts: Facts
    caveat: str = ""
    numerics: Session | None = None
    latency_ns: float | None = None
    cycles: int | None = None
    clock_mhz: float | None = None
    flops: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    sram_peak_bytes: int | None = None
    weights_bytes: int | None = None
    fallback_operators: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


class Session(ABC):
    """A compiled model on a device. Latency is quoted for put + run + get: host memory to host memory.

    Of a plan that trains, `put` takes a batch with its targets, `run` makes one whole step with them (forward, loss,
    backward, the optimiser's update), and `get` gives the batch's `loss` before that update, as one number.
    """

    facts: Facts
    inflight: int = 1
    """How many overlapping submits still raise throughput."""
    weights_bytes: int | None = None
    """What the weights take where the session holds them, for an engine that starts from no file."""

    def put(self, arrays: Arrays) -> Values:
        """Move inputs to the device."""
        return arrays

    @abstractmethod
    def run(self, values: Values) -> Values:
        """Compute; return when the device has finished."""

    def get(self, values: Values) -> Arrays:
        """Move outputs to host memory, by output name."""
        arrays: Arrays = values
        return arrays

    def device_ns(self) -> int | None:
        """How long the device itself worked on the last `run`, by its own clock; None: it does not say."""
        return None

    def enqueue_ns(self) -> int | None:
        """How long the host took to hand the last `run` to the device; None: the session does not tell them apart."""
        return None

    def executed(self, values: Values) -> Executed:
        """What one more run executes, from the engine's own profile; called after the window. Raises Unsupported."""
        raise Unsupported("the engine does not tell what it executed")

    def learned(self) -> Learned:
        """What the steps until now have reached; called after some of them. Raises Unsupported."""
        raise Unsupported("the engine does not tell what its steps reach")

    def device_peak_bytes(self) -> int | None:
        """The most of the device's own memory that was ever in use; None: it has none, or the engine does not tell."""
        return None

    def submit(self, values: Values, done: Done) -> None:
        """Start a run and return; `done(outputs, error)` is called once, from any thread.

        `done` may itself submit the next run: a session has to take `inflight` more while that many call back.
        """
        self._runs[0].put((values, done))

    @cached_property
    def _runs(self) -> tuple[SimpleQueue[Any], list[Thread]]:
        """A queue and `inflight` threads that serve it; an executor's futures would cost 7 µs a run."""
        queue: SimpleQueue[Any] = SimpleQueue()
        threads = [Thread(target=self._serve, args=(queue,), name="submit", daemon=True) for _ in range(self.inflight)]
        for thread in threads:
            thread.start()
        return queue, threads

    def _serve(self, queue: SimpleQueue[Any]) -> None:
        for values, done in iter(queue.get, None):
            try:
                outputs = self.run(values)
            except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
                done(None, error)
            else:
                done(outputs, None)

    def close(self) -> None:
        """Give everything back. Subclasses that hold device memory extend this."""
        if "_runs" in self.__dict__:
            queue, threads = self._runs
            for _ in threads:
                queue.put(None)
            for thread in threads:
                thread.join()


class Backend(ABC):
    """One kind of hardware, found without its vendor's library. `family` groups kinds ("asic").

    `scheme` is what stands before the first colon of its `--target`s; "": its name. `unmetered`: why no meter can ever
    read its energy; "": the meters say themselves what they lack.
    """

    name: str
    family: str = ""
    scheme: str = ""
    unmetered: str = ""

    @abstractmethod
    def probe(self, targets: Sequence[str] = ()) -> Presence:
        """What is here. Never raises. `targets` are this backend's own `--target` specifications, scheme included.

        With targets it answers for them alone. Without, and without hardware, it is absent, and may name devices that
        can be compiled for here: one sensible default, or a few.
        """

    def state(self, device: Device) -> DeviceState:
        """Clocks, temperature, throttling, other users, now."""
        return DeviceState.unknown(f"{self.name} has no reader for it")


@dataclass(frozen=True)
class Reading:
    """One value of a meter at CLOCK_MONOTONIC `t_ns`; None has its reason."""

    t_ns: int
    value: float | None
    reason: str = ""


class Meter(ABC):
    """Reads one quantity of a device, in the process that supervises, never in the one that is measured.

    `energy_j` counts up and may wrap at `wrap_j`; the others are of the moment. `scope` is what the figure covers
    ("package", "board", "wall"), `shared` if that is more than the device. `trust` orders meters of one device, the
    higher the better; a power figure that is averaged over a second by its driver is worth less than a counter.
    `period_s`: how often to read at most; `update_s`: how often the meter has something new. `open` may set these.
    """

    name: str
    quantity: Literal["energy_j", "power_w", "temperature_c", "power_percent"]
    scope: str
    trust: int
    period_s: float = 0.1
    update_s: float = 0.1
    wrap_j: float | None = None
    shared: bool = False

    def given(self, text: str) -> Meter:
        """This meter with what stands behind its name in `--meter NAME:TEXT`; raises Unsupported."""
        raise Unsupported(f"meter {self.name} takes nothing behind its name, so not {text}")

    @abstractmethod
    def available(self, device: Device) -> Presence:
        """Whether this meter reads `device` here. Never raises; no permission is not absence.

        An absence without a remedy is another kind's of hardware: no reason why the energy of this one is not known.
        """

    @abstractmethod
    def open(self, device: Device) -> None:
        """Get ready to read `device`."""

    @abstractmethod
    def read(self) -> Sequence[Reading]:
        """What is new since the last call, oldest first: usually one reading of now. Never raises."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what `open` took."""


class Engine(ABC):
    """Software that compiles and runs models. What it needs is never imported before `compile`."""

    name: str
    module: str = ""
    """The import whose version is recorded; "": it is called like the engine."""
    by_default: bool = True
    """False for an engine that is only measured when `--engine` names it."""
    form: str = "onnx"
    """The `Model.form` that `compile` starts from, made in advance so that compiling pays for no more; "": none."""

    def form_for(self, precision: str) -> str:
        """`form`, for an engine whose artefact depends on the precision ("tflite", "tflite_int8")."""
        return self.form

    def form_of(self, model: Model, precision: str) -> str:
        """What this model is loaded from: its `form`, where a technique has brought the model into the precision."""
        return self.form if precision == model.precision != "fp32" else self.form_for(precision)

    def options_for(self, wish: str) -> Mapping[str, str]:
        """This engine's own options for what a technique asks of any engine, as in "fusion=off"; raises Unsupported."""
        raise Unsupported(f"{self.name} has no setting for {wish}")

    @abstractmethod
    def available(self, device: Device) -> Presence:
        """Whether this engine can drive `device`, from metadata only: nothing is imported."""

    @abstractmethod
    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """Raises Unsupported for what the engine or the device cannot do."""

    def deliver(self, model: Model, plan: Plan, device: Device, folder: Path) -> None:  # noqa: B027 - most have nothing
        """Write what the firmware of a device that does not run here loads, beside the form; raises Unsupported."""

    def estimate(self, model: Model, plan: Plan, device: Device) -> Estimate:
        """What is known of `model` on a device that does not run here; raises Unsupported as `compile` does."""
        raise Unsupported(f"{self.name} cannot compile for {device.name} without having it")
