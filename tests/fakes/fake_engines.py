"""Engines that behave in one known way each, right or wrong."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import Any

import numpy as np

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


class FakeSession(Session):
    """Answers with the model's own function of arrays. Subclasses change what comes of it."""

    def __init__(self, function: Any, plan: Plan, share: float = 1.0) -> None:
        self.function = function
        self.plan = plan
        self.runs = 0
        settings: dict[str, Setting] = {"precision": plan.precision, "threads": 1}
        self.facts = Facts(
            settings, Placement("Fake 1", share, "it says so"), import_ns=500, load_ns=1_000, compile_ns=2_000
        )

    def run(self, values: Any) -> Any:
        self.runs += 1
        return self.answer(values)

    def answer(self, values: Any) -> Any:
        return self.function(**values)


class FakeEngine(Engine):
    """The base of all; its options are those that a subclass names."""

    name = "fake-exact"
    form = ""
    session: Any = FakeSession
    options: tuple[str, ...] = ()

    def available(self, device: Device) -> Presence:
        if device.backend != "fake":
            return Presence("absent", f"{self.name} runs on the backend fake only")
        return Presence("present")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        unknown = set(plan.options) - set(self.options)
        if unknown:
            raise Unsupported(f"{self.name} has no option {', '.join(sorted(unknown))}")
        assert model.net is not None
        made: Session = self.session(model.net(), plan)
        return made


class _Constant(FakeSession):
    """The first answer, for ever."""

    first: Any = None

    def answer(self, values: Any) -> Any:
        if self.first is None:
            self.first = super().answer(values)
        return self.first


class FakeConstant(FakeEngine):
    name, session = "fake-constant", _Constant


class _Stale(FakeSession):
    """The answer before this one."""

    previous: Any = None

    def answer(self, values: Any) -> Any:
        new = super().answer(values)
        old, self.previous = self.previous, new
        return new if old is None else old


class FakeStale(FakeEngine):
    name, session = "fake-stale", _Stale


class _WrongSample(FakeSession):
    """Right answers to other questions: remembers what it was asked and answers with that, but for its own."""

    def __init__(self, function: Any, plan: Plan) -> None:
        super().__init__(function, plan)
        self.others: list[Any] = []

    def answer(self, values: Any) -> Any:
        new = super().answer(values)
        self.others.append(new)
        return next((one for one in self.others if not np.array_equal(one["y"], new["y"])), _reversed(new))


def _reversed(outputs: Any) -> Any:
    return {name: array[..., ::-1] for name, array in outputs.items()}


class FakeWrongSample(FakeEngine):
    name, session = "fake-wrong-sample", _WrongSample


class _NotANumber(FakeSession):
    def answer(self, values: Any) -> Any:
        return {name: np.full_like(array, np.nan) for name, array in super().answer(values).items()}


class FakeNaN(FakeEngine):
    name, session = "fake-nan", _NotANumber


def spin(duration_ns: int) -> None:
    """Take this long, exactly: sleeping is 60 microseconds late."""
    until = time.perf_counter_ns() + duration_ns
    while time.perf_counter_ns() < until:
        pass


class _Paced(FakeSession):
    """`latency_us` per run and up to `jitter_us` more, uniformly, from a fixed seed."""

    def __init__(self, function: Any, plan: Plan) -> None:
        super().__init__(function, plan)
        self.rng = random.Random(0)

    def answer(self, values: Any) -> Any:
        spin(self.latency_ns())
        return super().answer(values)

    def latency_ns(self) -> int:
        options = self.plan.options
        jitter_us = float(options.get("jitter_us", 200))
        return round(1000 * (float(options.get("latency_us", 1000)) + self.rng.uniform(0, jitter_us)))


class FakePaced(FakeEngine):
    name, session, options = "fake-paced", _Paced, ("latency_us", "jitter_us")


class _Drifting(_Paced):
    """100 us a run, and from run number `after` on 1 us more with every run."""

    def latency_ns(self) -> int:
        return 100_000 + 1000 * max(0, self.runs - int(self.plan.options.get("after", 2000)))


class FakeDrift(FakeEngine):
    name, session, options = "fake-drift", _Drifting, ("after",)


class _Restless(_Paced):
    """Never warm: a run takes longer in proportion to the time since the first one."""

    began_ns = 0

    def latency_ns(self) -> int:
        self.began_ns = self.began_ns or time.perf_counter_ns()
        return 20_000 + (time.perf_counter_ns() - self.began_ns) // 1000


class FakeRestless(FakeEngine):
    name, session = "fake-restless", _Restless


class _Overlapped(FakeSession):
    """Four at a time, each asleep for `latency_us`: 4x the throughput of one."""

    inflight = 4

    def answer(self, values: Any) -> Any:
        time.sleep(float(self.plan.options.get("latency_us", 1000)) * 1e-6)
        return super().answer(values)


class FakeOverlapped(FakeEngine):
    name, session, options = "fake-overlapped", _Overlapped, ("latency_us",)


class _Mixed(_Overlapped):
    """Right one at a time, and with somebody else's answer when runs overlap: all share one buffer."""

    def answer(self, values: Any) -> Any:
        self.buffer = self.function(**values)
        time.sleep(0.002)
        return self.buffer


class FakeMixed(FakeEngine):
    name, session = "fake-mixed", _Mixed


class _Hurting(FakeSession):
    """Does something bad in its run number `after` + 1, counted from the first."""

    def answer(self, values: Any) -> Any:
        if self.runs > int(self.plan.options.get("after", 0)):
            self.hurt()
        return super().answer(values)

    def hurt(self) -> None:
        raise NotImplementedError


class _Hurt(FakeEngine):
    """With option `in` = compile, it happens there and not in a run; `after` runs are let through before."""

    options = ("in", "after")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        session = super().compile(model, plan, device)
        if plan.options.get("in") == "compile":
            session.hurt()  # type: ignore[attr-defined]
        return session


class _Hanging(_Hurting):
    def hurt(self) -> None:
        time.sleep(3600)


class FakeHang(_Hurt):
    name, session = "fake-hang", _Hanging


class _Crashing(_Hurting):
    def hurt(self) -> None:
        os.write(2, b"fake engine: assertion failed in kernel.cc:42\n")
        os.abort()


class FakeCrash(_Hurt):
    name, session = "fake-crash", _Crashing


class _Segfaulting(_Hurting):
    def hurt(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class FakeSegfault(_Hurt):
    name, session = "fake-segfault", _Segfaulting


class _Killed(_Hurting):
    def hurt(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out


class FakeKilled(_Hurt):
    name, session = "fake-killed", _Killed


class _OutOfMemory(_Hurting):
    def hurt(self) -> None:
        raise MemoryError("cannot allocate 64 GiB for activations")


class FakeOutOfMemory(_Hurt):
    name, session = "fake-oom", _OutOfMemory


class _Failing(_Hurting):
    def hurt(self) -> None:
        raise RuntimeError("the fake device gave up\nand says more in a second line")


class FakeFailing(_Hurt):
    name, session = "fake-failing", _Failing


class _Noisy(FakeSession):
    """Prints what no parser likes, to both streams, through Python and past it."""

    def answer(self, values: Any) -> Any:
        print('{"event": "result"}', "\x1b[31mred\x1b[0m")
        print("warning: noise", file=sys.stderr)
        os.write(1, b"\xff\xfe raw bytes\n")
        return super().answer(values)


class FakeNoisy(FakeEngine):
    name, session = "fake-noisy", _Noisy


class FakeMisplaced(FakeEngine):
    """40 % of the graph is on the device."""

    name = "fake-misplaced"

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        assert model.net is not None
        return FakeSession(model.net(), plan, share=0.4)


class FakeUnsupported(FakeEngine):
    name = "fake-unsupported"

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        raise Unsupported("no kernel for tanh")


class FakeNotInstalled(FakeEngine):
    name = "fake-not-installed"

    def available(self, device: Device) -> Presence:
        return Presence("absent", "the package fakelib is not installed", "pip install fakelib")


class _Batched(_Paced):
    """A run costs 400 us and 20 us more a sample up to 8 samples; beyond, 400 us a sample: 8 is the best batch."""

    def latency_ns(self) -> int:
        return 400_000 + 20_000 * min(self.plan.batch, 8) + 400_000 * max(0, self.plan.batch - 8)


class FakeBatched(FakeEngine):
    name, session = "fake-batched", _Batched


class _Hangs(FakeSession):
    def close(self) -> None:
        super().close()
        time.sleep(3600)


class FakeHangsInClose(FakeEngine):
    name, session = "fake-hangs-in-close", _Hangs


class _LateConstant(FakeSession):
    """Right for `after` runs, then its last right answer for ever: what a check before the window cannot see."""

    last: Any = None

    def answer(self, values: Any) -> Any:
        if self.runs <= int(self.plan.options.get("after", 200)):
            self.last = super().answer(values)
        return self.last


class FakeLateConstant(FakeEngine):
    name, session, options = "fake-late-constant", _LateConstant, ("after",)


class _LateStale(_Stale):
    """Right for `after` runs, then the answer before this one."""

    def answer(self, values: Any) -> Any:
        stale = super().answer(values)
        return self.previous if self.runs <= int(self.plan.options.get("after", 200)) else stale


class FakeLateStale(FakeEngine):
    name, session, options = "fake-late-stale", _LateStale, ("after",)


class _Caching(_Paced):
    """Remembers its answers by the bytes of the inputs; only what it does not know takes `latency_us`."""

    def __init__(self, function: Any, plan: Plan) -> None:
        super().__init__(function, plan)
        self.memory: dict[Any, Any] = {}

    def answer(self, values: Any) -> Any:
        key = self.key(values)
        if key not in self.memory:
            self.memory[key] = values, super().answer(values)
        return self.memory[key][1]

    def key(self, values: Any) -> Any:
        return tuple(array.tobytes() for array in values.values())


class FakeCaching(FakeEngine):
    name, session, options = "fake-caching", _Caching, FakePaced.options


class _CachingObjects(_Caching):
    """Remembers its answers by whose memory the inputs are, not by what is in it."""

    def key(self, values: Any) -> Any:
        return tuple(id(array) for array in values.values())  # `memory` holds the arrays, so no id comes twice


class FakeCachingObjects(FakeEngine):
    name, session, options = "fake-caching-objects", _CachingObjects, FakePaced.options


class _WithClock(_Paced):
    """Its device says that it worked for `device_us` of every run."""

    def device_ns(self) -> int:
        return round(1000 * float(self.plan.options.get("device_us", 500)))


class FakeWithClock(FakeEngine):
    name, session, options = "fake-with-clock", _WithClock, (*FakePaced.options, "device_us")


class FakeCompiler(FakeEngine):
    """Compiles for what is not here. Its options choose what is wrong with it."""

    name = "fake-compiler"
    options = ("fault",)

    def available(self, device: Device) -> Presence:
        return Presence("present" if device.backend == "fake-elsewhere" else "absent", "it compiles for elsewhere only")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        raise AssertionError("a device that is not here runs nothing")

    def estimate(self, model: Model, plan: Plan, device: Device) -> Estimate:
        fault = plan.options.get("fault", "")
        if fault == "too-large":
            raise Unsupported("needs 24 GB of memory, and it has 16")
        assert model.net is not None
        session = (_Constant if fault == "constant" else FakeSession)(model.net(), plan)
        settings: dict[str, Setting] = {"precision": plan.precision, "accelerator": device.name}
        placement = Placement(device.name, 0.5 if fault == "fallback" else 1.0, "it says so")
        return Estimate(
            provenance="simulator" if fault == "simulator" else "estimate",
            source="fake-compiler 9.1",
            facts=Facts(settings, placement, import_ns=1, load_ns=None, compile_ns=2),
            caveat="a fake's own model",
            numerics=None if fault == "no-numerics" else session,
            latency_ns=1_000_000.0,
            cycles=500_000,
            clock_mhz=500.0,
            flops=1234,
            missing=dict.fromkeys(
                ("memory_peak_bytes", "memory_limit_bytes", "sram_peak_bytes", "weights_bytes", "fallback_operators"),
                "a fake has none",
            ),
        )
