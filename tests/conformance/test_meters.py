"""What every meter owes, here and on machines that have what it reads: the shelf's, third parties', and fakes.

pytest tests/conformance -k mymeter --parts mypackage
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from backends.contract import Backend, Device, Meter, Unsupported
from backends.meters.apex import ApexMeter
from backends.meters.csv import CsvMeter
from backends.meters.hwmon import GaudiMeter, HwmonEnergyMeter, HwmonMeter
from backends.meters.neuron import NeuronMeter
from backends.meters.nvml import NvmlInstantMeter, NvmlMeter, NvmlUsageMeter
from backends.meters.rapl import RaplMeter
from bench import parts
from tests.conformance.test_probes import machine
from tests.fakes import fake_meters
from tests.fakes.fake_meters import DEVICE, GPU, compile_nvml, installed_nvml

QUANTITIES = get_args(get_type_hints(Meter)["quantity"])
KINDS = ("cpu", "cuda", "edgetpu", "inferentia", "tpu", "nothing-like-that")
CPU = Device("cpu", "a processor", {})
RAPL = "sys/class/powercap/intel-rapl:0"
FILES = {
    f"{RAPL}/name": "package-0",
    f"{RAPL}/energy_uj": "1000000",
    f"{RAPL}/max_energy_range_uj": "262143328850",
    "sys/class/hwmon/hwmon0/name": "ina226",
    "sys/class/hwmon/hwmon0/power1_input": "12000000",
    "sys/class/hwmon/hwmon0/energy1_input": "5000000",
    "sys/bus/pci/devices/0000:33:00.0/vendor": "0x1da3",
    "sys/class/hwmon/hwmon1/device": "-> ../../../0000:33:00.0",
    "sys/class/hwmon/hwmon1/power1_input": "90000000",
    "sys/class/apex/apex_0/temp": "48550",
    "sys/devices/virtual/neuron_device/neuron0/stats/power/utilization": "POWER_STATUS_VALID,1781370720,1.5,3.5,2.0",
}
CARD = Device("edgetpu", "Coral Edge TPU (PCIe)", {})
GAUDI = Device("gaudi", "Intel Gaudi 2", {})
CHIP = Device("inferentia", "AWS Inferentia2", {})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "found_meter" in metafunc.fixturenames:
        several = parts.collect(Meter, metafunc.config.getoption("--parts"))  # type: ignore[type-abstract]
        metafunc.parametrize("found_meter", several, ids=[one.name for one in several])


@pytest.fixture
def meter(found_meter: parts.Found[Meter]) -> Meter:
    assert found_meter.part is not None, found_meter.error
    return found_meter.part


def test_it_says_what_it_reads(meter: Meter) -> None:
    assert meter.quantity in QUANTITIES
    assert meter.scope
    assert meter.__doc__ or type(meter).__doc__
    assert meter.period_s > 0
    assert meter.update_s > 0
    assert meter.trust >= 0


def test_it_answers_for_every_device_and_never_raises(meter: Meter) -> None:
    found = parts.collect(Backend)  # type: ignore[type-abstract]
    here = [device for one in found if one.part is not None for device in one.part.probe().devices]
    for device in (*here, *(Device(kind, "made up", {}) for kind in KINDS)):
        presence = meter.available(device)
        assert presence.state == "present" or presence.reason, device
        if presence.state in ("no_permission", "broken"):
            assert presence.remedy, device


def test_it_refuses_words_that_it_does_not_take(meter: Meter) -> None:
    with pytest.raises(Unsupported, match=meter.name):
        meter.given(",")


def test_names_are_its_own() -> None:
    found = parts.collect(Meter)  # type: ignore[type-abstract]
    assert len({one.name for one in found}) == len(found)


Ready = Callable[[], tuple[Meter, Device]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


SETUPS = {
    "rapl": (RaplMeter, CPU),
    "hwmon": (HwmonMeter, CPU),
    "hwmon-energy": (HwmonEnergyMeter, CPU),
    "hwmon-gaudi": (GaudiMeter, GAUDI),
    "apex": (ApexMeter, CARD),
    "neuron": (NeuronMeter, CHIP),
}
NVIDIA = {"nvml": NvmlMeter, "nvml-instant": NvmlInstantMeter, "nvml-usage": NvmlUsageMeter}
FAKES = {"fake-counter": fake_meters.counter, "fake-power": fake_meters.power, "fake-heat": fake_meters.thermometer}


@pytest.fixture(params=[*SETUPS, *NVIDIA, *FAKES, "csv"])
def ready(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Meter, Device]]:
    """A meter and a device that it reads, on a machine made up for it."""
    name = request.param
    if name in SETUPS:
        kind, device = SETUPS[name]
        yield kind(machine(tmp_path, FILES)), device
    elif name in NVIDIA:
        with installed_nvml(request.getfixturevalue("library"), tmp_path):
            yield NVIDIA[name](), GPU
    elif name in FAKES:
        yield FAKES[name](time.monotonic_ns), DEVICE
    else:
        (tmp_path / "meter.csv").write_text("time,power_w\n")
        yield _Fed(str(tmp_path / "meter.csv")), CPU


class _Fed(CsvMeter):
    """A row is written before each read."""

    def read(self):
        with Path(self._path).open("a") as file:
            file.write(f"{time.time_ns()},51.5\n")
        return super().read()


def test_every_meter_of_the_shelf_is_tried_where_it_works() -> None:
    shelf = {one.name for one in parts.collect(Meter)}  # type: ignore[type-abstract]
    assert shelf == {*SETUPS, *NVIDIA, "csv"}


def test_where_it_works_it_reads_a_value_of_now(ready: tuple[Meter, Device]) -> None:
    meter, device = ready
    assert meter.available(device).state == "present"
    meter.open(device)
    before_ns = time.monotonic_ns()
    readings = [reading for _ in range(3) for reading in meter.read()]
    after_ns = time.monotonic_ns()
    meter.close()
    assert len(readings) == 3
    assert [reading.reason for reading in readings] == [""] * 3
    assert all(isinstance(reading.value, float) for reading in readings)
    moments = [reading.t_ns for reading in readings]
    assert moments == sorted(moments)
    slack_ns = 5_000_000 if meter.name == "csv" else 0  # two clocks are read one after the other
    assert before_ns - slack_ns <= moments[0]
    assert moments[-1] <= after_ns + slack_ns


def test_it_can_be_opened_again(ready: tuple[Meter, Device]) -> None:
    meter, device = ready
    for _ in range(2):
        meter.open(device)
        assert meter.read()[0].value is not None
        meter.close()


def test_counters_do_not_fall(ready: tuple[Meter, Device]) -> None:
    meter, device = ready
    meter.open(device)
    values = [reading.value for _ in range(5) for reading in meter.read()]
    meter.close()
    if meter.quantity == "energy_j":
        assert values == sorted(values)  # type: ignore[type-var]
