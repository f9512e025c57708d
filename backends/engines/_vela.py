"""Runs Arm's Vela compiler as a command, and reads what it reports. Holds no part.

The command line and its files are what Vela documents; its Python modules are not. Tried with 5.2.0.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends._ethos_u import Configuration
from backends.contract import Unsupported

CONFIG = "Arm/vela.ini"
TIMEOUT_S = 300.0
"""The largest network here takes seconds; a search that has not ended by then is taken to be stuck."""
KIB = 1024
COUNTS = {
    "cycles_total": 1, "cycles_npu": 1, "cycles_sram_access": 1, "cycles_dram_access": 1,
    "cycles_on_chip_flash_access": 1, "cycles_off_chip_flash_access": 1, "nn_macs": 1,
    "total_original_weights": 1, "total_npu_encoded_weights": 1, "sram_memory_used": KIB, "dram_memory_used": KIB,
    "on_chip_flash_memory_used": KIB, "off_chip_flash_memory_used": KIB, "arena_cache_size": KIB,
}  # fmt: skip
"""Columns of the summary that are read, by the factor that makes a whole number of them: memory is in KiB."""
OPERATORS = r"^{} operators = (\d+) \("
REFUSED = re.compile(r"errors\.(?:ConfigOptionError|CliOptionError): '?(?:Error: )?(.+?)'?$")
"""How Vela ends when a system and a memory mode do not go together."""
LAYERS = ("Original Operator", "Op Cycles", "Name")


@dataclass(frozen=True)
class Layer:
    """What one operator of the network comes to; operators overlap, so cycles may add up to more than the total."""

    operator: str
    name: str
    cycles: int


@dataclass(frozen=True)
class Report:
    """What Vela says of a network. `counts` has the columns of COUNTS, memory in bytes; `inference_s` is its latency.

    Cycles, weights and multiply-accumulates (`nn_macs`) are those of the NPU's operators only.
    """

    clock_hz: float
    inference_s: float
    counts: Mapping[str, int]
    npu_operators: int
    cpu_operators: int
    layers: tuple[Layer, ...]


def compiled(path: Path, chosen: Configuration, optimise: str, folder: Path) -> Report:
    """Compiles an int8 .tflite into `folder`. Raises Unsupported for a configuration that Vela refuses."""
    arguments = [
        str(path), "--config", CONFIG, "--accelerator-config", f"ethos-{chosen.accelerator}",
        "--system-config", chosen.system, "--memory-mode", chosen.memory, "--optimise", optimise,
        *(("--arena-cache-size", str(chosen.sram_kib * KIB)) if chosen.sram_kib is not None else ()),
        "--verbose-performance", "--output-dir", str(folder),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ethosu.vela", *arguments],
            cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"vela did not end within {TIMEOUT_S:g} s of compiling for {chosen}") from error
    if done.returncode:
        _fail(chosen, done.stderr.strip() or done.stdout.strip())
    npu, cpu = (_operators(done.stdout, kind) for kind in ("NPU", "CPU"))
    clock_hz, inference_s, counts = _summary(_only(folder, "*_summary_*.csv"))
    return Report(clock_hz, inference_s, counts, npu, cpu, _layers(folder))


def _fail(chosen: Configuration, said: str) -> None:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "nothing")
    if refused := REFUSED.search(last):
        raise Unsupported(f"vela refuses {chosen}: {refused[1]}")
    raise RuntimeError(f"vela failed compiling for {chosen}: {last}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise RuntimeError(f"vela wrote {len(found)} files {pattern} where one was expected: is this version 5?")
    return found[0]


def _summary(path: Path) -> tuple[float, float, dict[str, int]]:
    """The summary's one row, by the names of its columns: another version may order them differently."""
    with path.open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file), {})
    wanted = ("core_clock", "inference_time", *COUNTS)
    if missing := [name for name in wanted if not row.get(name)]:
        raise RuntimeError(f"vela's summary has no {', '.join(missing)}: this reads the columns of version 5")
    try:
        counts = {name: round(float(row[name]) * factor) for name, factor in COUNTS.items()}
        return float(row["core_clock"]), float(row["inference_time"]), counts
    except (ValueError, OverflowError) as error:
        raise RuntimeError(f"vela's summary holds what is no number: {error}") from error


def _operators(said: str, kind: str) -> int:
    """How many operators a processor gets: the summary does not say, and a line on the screen does."""
    found = re.search(OPERATORS.format(kind), said, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"vela did not print its line '{kind} operators = N': this reads version 5's")
    return int(found[1])


def _layers(folder: Path) -> tuple[Layer, ...]:
    """Operators that take time of their own, the longest first; none where no operator is on the NPU.

    The file quotes nothing, and a tensor's name, which comes last, may have commas.
    """
    path = next(iter(folder.glob("*_per-layer.csv")), None)
    if path is None:
        return ()
    header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
    columns = header.split(",")
    if missing := [name for name in LAYERS if name not in columns]:
        raise RuntimeError(f"vela's table of layers has no {', '.join(missing)}: this reads the columns of version 5")
    operator, cycles, name = (columns.index(one) for one in LAYERS)
    layers = []
    for cells in (row.split(",", len(columns) - 1) for row in rows):
        if len(cells) != len(columns) or not cells[cycles].isdecimal():
            raise RuntimeError(f"vela's table of layers has a row that cannot be read: {','.join(cells)[:80]}")
        layers.append(Layer(cells[operator], cells[name], int(cells[cycles])))
    return tuple(sorted((layer for layer in layers if layer.cycles), key=lambda layer: -layer.cycles))
