"""Power sensors of boards and cards, as the kernel's hwmon files show them.

Units: Documentation/hwmon/sysfs-interface.rst (power in µW, energy in µJ, voltage in mV, current in mA). Jetson's
ina3221 has voltage and current by rail only, and one rail, VDD_IN, that feeds all others (NVIDIA's Jetson developer
guide, "Power Monitors").
"""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from backends._host import HOST, Host
from backends.contract import Device, Meter, Presence, Reading

CHIPS = re.compile(r"ina\d+\w*|power_meter")
"""Drivers ina2xx, ina238, ina3221 and the ACPI power meter."""
INPUT = re.compile(r"(VDD|POM_5V|VIN).*_IN$|^VIN", re.IGNORECASE)
"""Labels of a rail that feeds the whole board."""
NO_DEVICE = "it reads boards whose processor is the device"


class _HwmonMeter(Meter):
    """`_rails` gives a function for each rail, so that files are looked for once."""

    scope = "board"
    shared = True

    def __init__(self, host: Host = HOST) -> None:
        self._host = host

    def available(self, device: Device) -> Presence:
        if device.backend != "cpu":
            return Presence("absent", NO_DEVICE)
        if not self._rails():
            why = f"no {self.quantity.partition('_')[0]} sensor of the board under /sys/class/hwmon"
            return Presence("absent", why, "load the driver of the board's sensor, if it has one")
        return Presence("present")

    def open(self, device: Device) -> None:
        self._opened = self._rails()

    def read(self) -> Sequence[Reading]:
        values = [value for rail in self._opened if (value := rail()) is not None]
        if len(values) < len(self._opened):
            return [Reading(time.monotonic_ns(), None, "a sensor of the board could not be read")]
        return [Reading(time.monotonic_ns(), sum(values))]

    @abstractmethod
    def _rails(self) -> list[Callable[[], float | None]]:
        """What to add up, in the meter's unit."""

    def _chips(self) -> list[Path]:
        chips = self._host.glob("sys/class/hwmon/hwmon*")
        return [chip for chip in chips if CHIPS.fullmatch(self._host.within(chip, "name") or "")]

    def _scaled(self, path: Path, factor: float) -> Callable[[], float | None]:
        def value() -> float | None:
            number = self._host.number(path.relative_to(self._host.root))
            return None if number is None else number * factor

        return value


class HwmonEnergyMeter(_HwmonMeter):
    """Energy that a chip has added up itself."""

    name = "hwmon-energy"
    quantity = "energy_j"
    trust = 70

    def _rails(self) -> list[Callable[[], float | None]]:
        return [self._scaled(path, 1e-6) for chip in self._chips() for path in sorted(chip.glob("energy*_input"))]


class HwmonMeter(_HwmonMeter):
    """Power of the moment: of the rail that feeds the board if one is named so, else of all rails together."""

    name = "hwmon"
    quantity = "power_w"
    trust = 50

    def _rails(self) -> list[Callable[[], float | None]]:
        rails = [rail for chip in self._chips() for rail in (*self._power(chip), *self._product(chip))]
        whole = [value for label, value in rails if INPUT.search(label)]
        return whole[:1] or [value for _, value in rails]

    def _power(self, chip: Path) -> list[tuple[str, Callable[[], float | None]]]:
        paths = [path for kind in ("input", "average") for path in sorted(chip.glob(f"power*_{kind}"))]
        first = {path.name.partition("_")[0]: path for path in reversed(paths)}
        return [(self._label(chip, number), self._scaled(path, 1e-6)) for number, path in first.items()]

    def _product(self, chip: Path) -> list[tuple[str, Callable[[], float | None]]]:
        """Voltage times current of an ina3221's three channels (Documentation/hwmon/ina3221.rst): it gives no power."""
        if any(chip.glob("power*_*")):
            return []
        numbers = [path.name[4:-6] for path in sorted(chip.glob("curr[1-3]_input"))]
        pairs = [(n, chip / f"in{n}_input", chip / f"curr{n}_input") for n in numbers]
        return [
            (self._label(chip, f"in{n}"), _times(self._scaled(u, 1e-3), self._scaled(i, 1e-3)))
            for n, u, i in pairs
            if self._host.exists(u)
        ]

    def _label(self, chip: Path, number: str) -> str:
        return self._host.within(chip, f"{number}_label") or ""


class GaudiMeter(_HwmonMeter):
    """Power of a Gaudi card, which its driver shows as a chip (drivers/accel/habanalabs/common/hwmon.c).

    Not verified on a device. Of several cards nobody says which one PyTorch takes, so none is read.
    """

    name = "hwmon-gaudi"
    quantity = "power_w"
    trust = 50
    shared = False

    def available(self, device: Device) -> Presence:
        if device.backend != "gaudi":
            return Presence("absent", "it reads Gaudi cards")
        if len(chips := self._chips()) != 1:
            why = f"{len(chips)} Gaudi cards have a power sensor under /sys/class/hwmon, and one is needed"
            return Presence("absent", why, "measure where there is one card, or with a meter at the wall")
        return Presence("present")

    def _rails(self) -> list[Callable[[], float | None]]:
        return [self._scaled(chip / "power1_input", 1e-6) for chip in self._chips()]

    def _chips(self) -> list[Path]:
        cards = {card.address for card in self._host.pci("1da3")}
        chips = [
            chip for chip in self._host.glob("sys/class/hwmon/hwmon*") if self._host.link(chip / "device") in cards
        ]
        return [chip for chip in chips if self._host.exists(chip / "power1_input")]


def _times(one: Callable[[], float | None], other: Callable[[], float | None]) -> Callable[[], float | None]:
    def value() -> float | None:
        volts, amperes = one(), other()
        return None if volts is None or amperes is None else volts * amperes

    return value
