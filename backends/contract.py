"""Where it is computed: what a kind of hardware and a piece of software on it have to answer.

A *backend* knows one kind of hardware, an *engine* one piece of software that compiles and runs models on devices. They
meet in `Device.address`: what the engine has to call the device. Neither imports a vendor library before it compiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, Optional, Union

from workloads.contract import Arrays, Model, Unsupported

__all__ = [
    "Arrays", "Backend", "Device", "DeviceState", "Done", "Engine", "Facts", "Goal", "Model", "Placement", "Plan",
    "Presence", "Session", "Setting", "Unsupported", "Values",
]  # fmt: skip

Goal = Literal["latency", "throughput"]
Setting = Union[str, int, float, bool]  # noqa: UP007 - evaluated, and a worker may run on Python 3.9
Values = Any
"""Arrays wherever the engine keeps them: only its own session looks inside."""
Done = Callable[[Values, Optional[BaseException]], None]  # noqa: UP045 - as above


@dataclass(frozen=True)
class Device:
    """One thing that can be measured. `name` includes the configuration, as two configurations are two devices.

    `runs` is False for a target that can be compiled for but not run on here. `address` maps an engine's name to what
    that engine calls this device ("CPUExecutionProvider", "cuda:0"); an engine that is not named cannot reach it.
    """

    backend: str
    name: str
    address: Mapping[str, str]
    runs: bool = True


@dataclass(frozen=True)
class Presence:
    """Whether something can be used here, and if not, why and what to do about it.

    `absent`: not there, which is no fault. `no_permission` and `broken`: there, and cannot be used, which is one.
    """

    state: Literal["present", "absent", "no_permission", "broken"]
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
    missing: Mapping[str, str] = field(default_factory=dict)


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
class Facts:
    """What compiling came to. `settings` are the effective ones, as the engine reports them after compiling."""

    settings: Mapping[str, Setting]
    placement: Placement
    load_ns: int
    compile_ns: int


class Session(ABC):
    """A compiled model on a device. Latency is quoted for put + run + get: host memory to host memory."""

    facts: Facts
    inflight: int = 1
    """How many overlapping submits still raise throughput."""

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
    """One kind of hardware, found without its vendor's library. `family` groups kinds ("asic")."""

    name: str
    family: str = ""

    @abstractmethod
    def probe(self, targets: Sequence[str] = ()) -> Presence:
        """What is here. Never raises. `targets` are this backend's own `--target` specifications."""

    def state(self, device: Device) -> DeviceState:
        """Clocks, temperature, throttling, other users, now."""
        reason = f"{self.name} has no reader for it"
        return DeviceState(
            missing=dict.fromkeys(("clock_mhz", "temperature_c", "throttle_reasons", "other_users"), reason)
        )


class Engine(ABC):
    """Software that compiles and runs models. What it needs is never imported before `compile`."""

    name: str
    module: str = ""
    """The import whose version is recorded; "": it is called like the engine."""
    by_default: bool = True
    """False for an engine that is only measured when `--engine` names it."""
    form: str = "onnx"
    """The `Model.form` that `compile` starts from, made in advance so that compiling pays for no more; "": none."""

    @abstractmethod
    def available(self, device: Device) -> Presence:
        """Whether this engine can drive `device`, from metadata only: nothing is imported."""

    @abstractmethod
    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        """Raises Unsupported for what the engine or the device cannot do."""
