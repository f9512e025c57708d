"""Configurations of Arm's Ethos-U, and the text that names one. Holds no part.

Accelerators and systems are those of ethos-u-vela 5.2.0: `Accelerator` in its architecture_features.py, and its
Arm/vela.ini, whose names and clocks stand here so that a target can be named where Vela is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backends.contract import Unsupported

CLOCKS_MHZ = {
    "Ethos_U55_Deep_Embedded": 200.0,
    "Ethos_U55_High_End_Embedded": 500.0,
    "Ethos_U65_Embedded": 500.0,
    "Ethos_U65_Mid_End": 500.0,
    "Ethos_U65_High_End": 1000.0,
    "Ethos_U65_Client_Server": 1000.0,
    "Ethos_U85_SYS_Flash_Low": 200.0,
    "Ethos_U85_SYS_Flash_High": 500.0,
    "Ethos_U85_SYS_DRAM_Low": 500.0,
    "Ethos_U85_SYS_DRAM_Mid": 1000.0,
    "Ethos_U85_SYS_DRAM_High": 1000.0,
}
"""Clock of each system that Arm/vela.ini describes; its bandwidths and latencies are Vela's own business."""
MEMORY_MODES = (
    "Sram_Only", "Shared_Sram", "Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB",
    "Dedicated_Sram_512KB",
)  # fmt: skip
STANDARD = {
    "u55-32": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u55-64": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u55-128": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u55-256": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65-256": ("Ethos_U65_High_End", "Dedicated_Sram"),
    "u65-512": ("Ethos_U65_Client_Server", "Dedicated_Sram"),
    "u85-128": ("Ethos_U85_SYS_DRAM_Low", "Dedicated_Sram_256KB"),
    "u85-256": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
    "u85-512": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
    "u85-1024": ("Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB"),
    "u85-2048": ("Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB"),
}
"""System and memory mode of each accelerator where a target names none: a choice of this project, after the sizes that
Arm's ml-embedded-evaluation-kit pairs with each system. Without one Vela warns that its own default may be far off."""
KEYS = ("system", "memory", "sram_kib")
SRAM_MAX_KIB = 4 * 1024 * 1024
"""The 4 GiB that the addresses of a U55 reach."""


@dataclass(frozen=True)
class Configuration:
    """One accelerator in one system. `sram_kib` is the fast memory that there is; None: as the memory mode says."""

    accelerator: str
    system: str
    memory: str
    sram_kib: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of 8 bits in a cycle, which the accelerator's name ends with."""
        return int(self.accelerator.partition("-")[2])

    @property
    def clock_mhz(self) -> float:
        return CLOCKS_MHZ[self.system]

    @property
    def name(self) -> str:
        """For people, with all that estimates depend on."""
        sram = "" if self.sram_kib is None else f", {self.sram_kib} KiB SRAM"
        system = f"{self.system} at {self.clock_mhz:g} MHz"
        return f"Arm Ethos-{self.accelerator.upper()} ({system}, {self.memory}{sram})"

    def __str__(self) -> str:
        """What `parsed` reads."""
        sram = "" if self.sram_kib is None else f"&sram_kib={self.sram_kib}"
        return f"{self.accelerator}?system={self.system}&memory={self.memory}{sram}"


def parsed(text: str) -> Configuration:
    """`u85-256?system=...&memory=...&sram_kib=...`, all after the accelerator optional; raises Unsupported."""
    accelerator, _, query = text.partition("?")
    if accelerator not in STANDARD:
        raise Unsupported(f"no Ethos-U is called {accelerator or '(nothing)'}; there are {', '.join(STANDARD)}")
    chosen = Configuration(accelerator, *STANDARD[accelerator])
    given: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if key not in KEYS or key in given:
            raise Unsupported(f"{pair} is not one each of {', '.join(f'{known}=...' for known in KEYS)}")
        given[key] = value
    chosen = replace(chosen, system=given.get("system", chosen.system), memory=given.get("memory", chosen.memory))
    return _checked(replace(chosen, sram_kib=_kib(given["sram_kib"])) if "sram_kib" in given else chosen)


def _checked(chosen: Configuration) -> Configuration:
    """Vela would take the system of another generation without a word, and estimate a machine that nobody builds."""
    generation = f"Ethos_{chosen.accelerator.partition('-')[0].upper()}_"
    systems = [system for system in CLOCKS_MHZ if system.startswith(generation)]
    if chosen.system not in systems:
        raise Unsupported(f"{chosen.accelerator} has no system {chosen.system}; it has {', '.join(systems)}")
    if chosen.memory not in MEMORY_MODES:
        raise Unsupported(f"there is no memory mode {chosen.memory}; there are {', '.join(MEMORY_MODES)}")
    return chosen


def _kib(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= SRAM_MAX_KIB:
        raise Unsupported(f"sram_kib={text} is no whole number from 1 to {SRAM_MAX_KIB:,}")
    return int(text)
