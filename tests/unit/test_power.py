"""Choosing, opening and reading meters; idle power; and the section that comes of it."""

from __future__ import annotations

import json

import pytest

from backends.contract import Device, Meter, Reading
from bench import parts
from bench.selection import SelectionError
from bench.surroundings import power
from bench.surroundings.power import Metering
from bench.surroundings.sampler import Sampler, Source
from results.record import Energy
from tests.fakes import fake_meters
from tests.fakes.fake_meters import DEVICE, Clock

S = 1_000_000_000


def names(meters: list[Meter] | None) -> list[str] | None:
    return None if meters is None else [meter.name for meter in meters]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), None),
        (("none",), []),
        (("rapl",), ["rapl"]),
        (("rapl,hwmon", "nvml"), ["rapl", "hwmon", "nvml"]),
        (("csv:a.csv,column=w,rapl",), ["csv", "rapl"]),
    ],
)
def test_meters_are_chosen_by_name(asked: tuple[str, ...], expected: list[str] | None) -> None:
    assert names(power.chosen(asked)) == expected


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (("rappl",), "unknown meter rappl (did you mean rapl?)"),
        (("none", "rapl"), "none goes with no other"),
        (("rapl", "rapl"), "rapl is there twice"),
        (("rapl:fast",), "meter rapl takes nothing behind its name, so not fast"),
        (("csv:,column=w",), "write csv:PATH"),
        (("",), "unknown meter "),
    ],
)
def test_a_meter_that_cannot_be_meant_is_one_line(asked: tuple[str, ...], cause: str) -> None:
    with pytest.raises(SelectionError) as caught:
        power.chosen(asked)
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


def of(*meters: Meter, device: Device = DEVICE, clock: Clock | None = None) -> Metering:
    metering = Metering.of(device, meters)
    if clock:
        metering.clock, metering.sleep = clock, clock.sleep
    return metering


def test_the_most_trusted_meter_comes_first_and_what_fails_says_why() -> None:
    clock = Clock()
    fakes = [fake_meters.failing(clock, how) for how in ("permission", "open")]
    good = [fake_meters.power(clock), fake_meters.thermometer(clock), fake_meters.counter(clock)]
    metering = of(*fakes, *good)
    assert names(metering.meters) == ["fake-counter", "fake-power", "fake-heat"]
    assert metering.absent == {
        "fake-permission": "/dev/meter may not be read",
        "fake-open": "opening it raised RuntimeError: no such register",
        "fake-heat": "it reads temperature_c, and no energy follows from that",
    }
    assert metering.forbidden
    metering.close()
    assert [meter.opened for meter in metering.meters] == [0, 0, 0]  # type: ignore[attr-defined]


def test_meters_of_other_hardware_are_named_only_when_they_were_asked_for() -> None:
    cpu = Device("cpu", "a processor", {})
    assert of(fake_meters.counter(Clock()), device=cpu).absent == {"fake-counter": "it reads fakes"}
    assert "nvml" not in Metering.of(cpu).absent


def test_without_asking_every_meter_of_the_shelf_is_tried() -> None:
    metering = Metering.of(DEVICE)
    assert metering.meters == []
    assert set(metering.absent) == {"csv"}


def test_two_meters_of_one_scope_are_enough_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    several = [fake_meters.counter(clock, name=f"fake-{n}", trust=n) for n in (10, 30, 20)]
    wall = fake_meters.power(clock, name="fake-wall")
    wall.scope = "wall"
    found = [parts.Found(meter.name, meter, None, "here") for meter in (*several, wall)]
    monkeypatch.setattr(power.parts, "collect", lambda *_: found)
    assert names(Metering.of(DEVICE).meters) == ["fake-wall", "fake-30", "fake-20"]
    assert names(of(*several).meters) == ["fake-30", "fake-20", "fake-10"]


def test_a_part_that_cannot_be_loaded_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = parts.Found("mine", None, "SyntaxError: here", "mine.py")
    monkeypatch.setattr(power.parts, "collect", lambda *_: [broken])
    assert Metering.of(DEVICE).absent == {"mine": "cannot be loaded: SyntaxError: here"}


def run(metering: Metering, clock: Clock, seconds: float) -> tuple[list[Source], int, int]:
    """Readings as the sampler would have made them around a window."""
    sources = metering.sources()
    sampler = Sampler(sources, clock)
    end_ns = clock.now_ns + round((seconds + 2) * S)
    opened_ns = clock.now_ns + S
    while clock.now_ns < end_ns:
        clock.sleep(sampler.step())
    return sources, opened_ns, opened_ns + round(seconds * S)


def test_known_power_gives_known_energy() -> None:
    clock = Clock()
    meter = fake_meters.counter(clock, 50.0)
    meter.shared = True
    metering = of(meter, fake_meters.power(clock), clock=clock)
    section, readings = metering.account(*run(metering, clock, 10))
    energy = Energy.model_validate_json(json.dumps(section))
    assert energy.energy_j == pytest.approx(500)
    assert energy.check_j == pytest.approx(500)
    assert (energy.meter, energy.power_valid) == ("fake-counter", True)
    assert energy.power_reasons == ("shared_meter", "idle_not_measured")
    assert readings.count("\nfake-power,power_w,board,") == readings.count("\nfake-counter,energy_j,board,") > 90


def test_net_energy_is_of_the_machine_above_idling() -> None:
    clock = Clock()
    start_ns = clock.now_ns
    metering = of(fake_meters.power(clock, lambda t_ns: 20.0 if t_ns < start_ns + 2 * S else 70.0), clock=clock)
    metering.find_idle()
    clock.sleep(5)
    section, _ = metering.account(*run(metering, clock, 10))
    assert section["energy_j"] == pytest.approx(700)
    assert section["idle_w"] == pytest.approx(20)
    assert section["net_energy_j"] == pytest.approx(500)
    assert section["power_reasons"] == []


def test_idle_power_is_measured_again_when_it_is_a_minute_old() -> None:
    clock = Clock()
    metering = of(fake_meters.counter(clock), clock=clock)
    taken = []
    for wait_s in (0, 10, 45, 6):
        clock.sleep(wait_s)
        before_ns = clock.now_ns
        metering.find_idle()
        taken.append((clock.now_ns - before_ns) / S)
    assert taken == [pytest.approx(1.002), 0, 0, pytest.approx(1.002)]


def test_a_slow_meter_is_watched_for_ten_of_its_updates() -> None:
    clock = Clock()
    meter = fake_meters.power(clock)
    meter.update_s = 1.0
    before_ns = clock.now_ns
    metering = of(meter, clock=clock)
    metering.find_idle()
    assert clock.now_ns - before_ns == 12 * S
    assert metering.idle["fake-power"].power_w == pytest.approx(50)


def test_without_a_meter_of_energy_idling_costs_no_time() -> None:
    clock = Clock()
    for metering in (of(clock=clock), of(fake_meters.thermometer(clock), clock=clock)):
        metering.find_idle()
        section, readings = metering.account(metering.sources(), clock.now_ns, clock.now_ns + S)
        assert section["method"] == "none"
        assert readings == ""
    assert clock.now_ns == Clock().now_ns


def test_a_meter_that_raises_is_a_reading_without_a_value() -> None:
    clock = Clock()
    metering = of(fake_meters.failing(clock, "read"), clock=clock)
    metering.find_idle()
    section, readings = metering.account(*run(metering, clock, 10))
    why = "fake-read gave no usable reading before the window: OSError: the bus is gone"
    assert section["missing"]["energy_j"] == why
    assert (section["power_valid"], section["power_reasons"]) == (False, ["border_not_covered"])
    assert "fake-read,power_w,board,0," in readings


def test_what_is_no_number_is_no_reading() -> None:
    clock = Clock()
    metering = of(fake_meters.power(clock, lambda _t_ns: float("nan")), clock=clock)
    section, _ = metering.account(*run(metering, clock, 10))
    assert section["missing"]["energy_j"] == "fake-power gave no usable reading before the window: no number"


def test_rows_that_come_late_are_waited_for() -> None:
    clock = Clock(look_ns=1)
    late = fake_meters.power(clock)
    rows = iter([[], [(0, 50.0)], [], [(20 * S, 50.0)]])
    late.read = lambda: [Reading(*row) for row in next(rows, [])]  # type: ignore[method-assign]
    metering = of(late, clock=clock)
    section, _ = metering.account([*metering.sources()], 2 * S, 12 * S)
    assert section["energy_j"] == pytest.approx(500)


def test_a_logger_that_has_died_is_not_waited_for_for_ever() -> None:
    clock = Clock(look_ns=1)
    dead = fake_meters.power(clock)
    dead.read = list  # type: ignore[method-assign]
    metering = of(dead, clock=clock)
    before_ns = clock.now_ns
    section, _ = metering.account(metering.sources(), 2 * S, 12 * S)
    assert clock.now_ns - before_ns == pytest.approx(power.LATE_S * S, rel=0.1)
    assert section["power_reasons"] == ["border_not_covered"]
