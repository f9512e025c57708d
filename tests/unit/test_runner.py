"""What the parent does around a worker, with a worker that is a function."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import Backend, Device, DeviceState, Presence
from bench import parts, runner, supervisor
from bench.cases import Case, Item
from bench.profiles import PROFILES
from bench.protocol import Job
from bench.runner import Request, Runner
from bench.selection import Selection
from bench.supervisor import Outcome
from bench.surroundings.host import HostReader
from bench.surroundings.power import Metering
from bench.surroundings.watch import Watch
from results.record import Record
from results.store import read
from tests.fakes import fake_meters
from tests.unit.test_recorder import result
from workloads.contract import Bound, Workload

S = 1_000_000_000


def item(order: int = 0, **changes: Any) -> Item:
    workload = parts.find(Workload, "fake-project", ("tests.fakes",))  # type: ignore[type-abstract]
    names = ("none", "fp32", "1", "single_stream", "latency")
    case = Case(workload, *names, {}, (), "fake", "fake", "Fake 1", "fake-exact", Presence("present"))
    return Item(dataclasses.replace(case, **changes), 0, order)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Runner]:
    def runner_of(*items: Item, **changes: Any) -> Runner:
        selection = Selection(parts=("tests.fakes",), targets=("other:b",))
        request = Request(selection, PROFILES["quick"], tmp_path, "pytest bench/", **changes)
        return Runner(request, {one.id: one for one in items})

    return runner_of


Worker = Callable[[Job, Callable[[str, int], None]], Outcome]


def worker(marks: Any, phases: tuple[str, ...] = ("start", "warmup", "measure", "audit", "finish")) -> Worker:
    """`marks`: "real" for a window of 20 ms around now."""

    def run(job: Job, on_phase: Callable[[str, int], None], *_: Any) -> Outcome:
        for phase in phases:
            on_phase(phase, time.monotonic_ns())
        opened_ns = time.monotonic_ns()
        time.sleep(0.02)
        np.array([2_000_000, 3_000_000, 5_000_000], "<i8").tofile(job.samples_path)
        found = {"opened_ns": opened_ns, "closed_ns": time.monotonic_ns()} if marks == "real" else marks
        return Outcome("ok", phases[-1], result={**result(), "marks": found})

    return run


def measure(monkeypatch: pytest.MonkeyPatch, one: Runner, run: Worker) -> list[Record]:
    monkeypatch.setattr(supervisor, "run", run)
    one.prepare([])
    for item_id in one.items:
        one.measure(item_id)
    one.close()
    return [record for record, _ in read(one.request.results)]


def test_the_worker_is_told_what_the_case_asks_for(make: Callable[..., Runner]) -> None:
    plain, asked = item(targets=("fake:a",)), item(1, rules="mlperf", bounds=(Bound(7.0), Bound(9.0, 50.0)))
    one = make(plain, asked)
    job = one.job(plain)
    card = plain.case.workload.card
    assert (job.rules, job.model) == ("accelmark", "")
    assert job.bounds == tuple((bound.latency_ms, bound.percentile) for bound in card.bounds)
    assert job.targets == ("fake:a",)
    assert Path(job.samples_path).suffix == ".i64"
    assert (one.job(asked).rules, one.job(asked).bounds) == ("mlperf", ((7.0, 99.0), (9.0, 50.0)))
    assert Job.from_line(one.job(asked).to_line()) == one.job(asked)
    one.close()


def test_a_record_has_conditions_of_three_moments(make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = measure(monkeypatch, make(item()), worker("real"))
    assert record.status == "ok", record.reason
    assert [one.moment for one in record.context.conditions] == ["before", "during", "after"]
    assert [one.moment for one in record.context.calibration] == ["before", "after"]
    assert record.context.conditions[1].missing["device_clock_mhz"].startswith("no reading fell into the window of ")
    assert record.context.conditions[2].missing["device_clock_mhz"] == "fake has no reader for it"


def test_without_a_meter_a_record_says_why(make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = measure(monkeypatch, make(item()), worker("real"))
    assert record.energy is not None
    assert record.energy.missing["energy_j"] == "csv: no file of an external meter was named"


def test_no_meter_is_read_when_none_is_asked_for(make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = measure(monkeypatch, make(item(), meters=("none",)), worker("real"))
    assert record.energy is not None
    assert record.energy.missing["energy_j"] == "no meter was asked for"


@pytest.mark.parametrize(
    "marks", [None, {}, {"opened_ns": 1}, {"opened_ns": 5, "closed_ns": 5}, {"opened_ns": 1.5, "closed_ns": 2.5}]
)
def test_a_worker_that_names_no_window_has_neither_energy_nor_conditions_of_it(
    make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch, marks: Any
) -> None:
    (record,) = measure(monkeypatch, make(item()), worker(marks))
    assert record.status == "ok", record.reason
    assert record.energy is None
    assert [one.moment for one in record.context.conditions] == ["before", "after"]


def test_what_fails_has_conditions_and_no_energy(make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(job: Job, on_phase: Callable[[str, int], None], *_: Any) -> Outcome:
        on_phase("compile", 1)
        return Outcome("failed", "compile", "boom")

    (record,) = measure(monkeypatch, make(item()), crash)
    assert (record.status, record.energy) == ("failed", None)
    assert [one.moment for one in record.context.conditions] == ["before", "after"]


def test_meters_are_opened_once_for_a_device_and_given_back(
    make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = fake_meters.counter(time.monotonic_ns)
    opened: list[Device] = []
    monkeypatch.setattr(meter, "open", opened.append)
    closed: list[bool] = []
    monkeypatch.setattr(meter, "close", lambda: closed.append(True))
    monkeypatch.setattr(runner.power, "chosen", lambda *_: [meter])
    monkeypatch.setattr(runner.power, "IDLE_S", 0.05)
    first, second = measure(monkeypatch, make(item(), item(1, precision="bf16")), worker("real"))
    assert (len(opened), len(closed)) == (1, 1)
    assert opened[0].address == {"fake": "fake:0"}
    for record in (first, second):
        assert record.energy is not None
        assert record.energy.energy_j is not None
        assert 50 * 0.02 * 0.9 < record.energy.energy_j < 50  # a sleep may last longer on a busy machine
        assert record.energy.idle_w == pytest.approx(50)
        assert record.energy.readings_file is not None


def watch(state: Callable[[], DeviceState]) -> Watch:
    return Watch(HostReader(), state, Metering([]))


def test_a_backend_that_raises_costs_no_measurement() -> None:
    def broken() -> DeviceState:
        raise RuntimeError("the driver is gone")

    one = watch(broken)
    one.before()
    with one.sampling():
        one.enter("measure", 1)
    one.after()
    before, after = one.surroundings(None).conditions
    assert before["missing"]["device_clock_mhz"] == "asking the device raised RuntimeError: the driver is gone"
    assert after["device_clock_mhz"] is None


def test_the_window_has_what_was_read_in_it() -> None:
    one = watch(lambda: DeviceState(clock_mhz=1500.0, throttle_reasons=("hot",), missing={}))
    one.before()
    with one.sampling():
        opened_ns = time.monotonic_ns()
        while len(one._states.seen) < 3 or len(one._readings.seen) < 5:
            time.sleep(0.01)
        closed_ns = time.monotonic_ns()
    one.after()
    _, during, _ = one.surroundings((opened_ns, closed_ns)).conditions
    assert (during["device_clock_mhz"], during["device_throttle_reasons"]) == (1500, ["hot"])
    assert during["other_cpu_percent"] is not None
    assert one.last is not None
    assert one.last.t_ns > closed_ns


def test_nothing_slow_is_read_between_the_windows_that_a_server_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    host, slow = HostReader(), []
    monkeypatch.setattr(host, "lasting", lambda: slow.append("read") or {})
    one = Watch(host, lambda: DeviceState.unknown("no device"), Metering([]))
    for phase in ("warmup", "search", "measure", "measure", "measure"):
        one.enter(phase, 1)
    assert slow == []
    one.enter("audit", 1)
    assert slow == ["read"]


def test_a_device_that_has_gone_is_asked_for_nothing(
    make: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = parts.find(Backend, "fake", ("tests.fakes",))  # type: ignore[type-abstract]
    monkeypatch.setattr(type(fake), "probe", lambda *_: Presence("absent", "unplugged"))
    (record,) = measure(monkeypatch, make(item()), worker("real"))
    assert record.status == "ok"
    assert record.context.conditions[0].device_clock_mhz is None
