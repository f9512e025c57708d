"""Figures against the device: its peak, its memory, its link, its power.

The roofs are those of `results/roofline.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from results.lints.kinds import SLACK, Found, Row, RowLint, known, over
from results.numbers import si
from results.record import Record
from results.roofline import ELEMENT_BYTES

WINOGRAD = (2.25, 4.0)
"""A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv 1509.09308), §4: how many
times fewer multiplications a 3x3 convolution takes by F(2x2, 3x3) and F(4x4, 3x3). Operations are counted without."""
HOST_CACHE_BYTES = 1152 << 20
DEVICE_CACHE_BYTES = 256 << 20
"""The largest there are, where the machine does not say: AMD EPYC 9684X (1152 MB of L3), and on accelerators AMD
Instinct MI300X (256 MB of Infinity Cache), both by AMD's data sheets."""
LINK_BYTES_PER_S = 126e9
"""PCI Express 5.0 with 16 lanes, both directions together: 32 GT/s x 16 x 128/130 / 8 each (PCI-SIG base
specification 5.0), for devices whose link the catalog does not have; a faster one is a finding to explain."""
LINK_IMPOSSIBLE = 1.25
TDP_SUSPECT = {"board": 1.2, "chip": 1.2, "device": 1.2, "package": 2.5}
"""Times the data sheet's power, by the meter's scope: a processor may take its turbo limit, over twice as much, for a
while, and a package meter may add up two sockets. What is read at the wall is not the device's alone."""


def _peak(row: Row) -> Iterator[Found]:
    found = known(row, "achieved_flops_per_s", "datasheet_flops_per_s")
    if not found:
        return
    achieved, peak = found
    saved = WINOGRAD if row["role"] == "model" else (1.0, 1.0)
    level = over(achieved / peak, SLACK, SLACK * saved[0], SLACK * saved[1])
    if level:
        yield level, "over_peak", f"{si(achieved, 'FLOP/s')} achieved, {si(peak, 'FLOP/s')} on the data sheet"


def _roof(row: Row) -> Iterator[Found]:
    """A roof is what an engine reached, so being over it is never impossible."""
    found = known(row, "achieved_flops_per_s", "ceiling_flops_per_s")
    if not found or row["role"] != "model":
        return
    achieved, roof = found
    level = over(achieved / roof, SLACK, SLACK * WINOGRAD[0])
    if level:
        yield level, "over_measured_roof", f"{si(achieved, 'FLOP/s')} achieved, {si(roof, 'FLOP/s')} is the ceiling"


def _bandwidth(row: Row) -> Iterator[Found]:
    """Against the data sheet impossible for the ceiling workload only, all of whose weights are surely read."""
    per_s = _weights_read_per_s(row)
    probe = row["role"] == "ceiling_bytes"
    sheet, ceiling = known(row, "datasheet_bytes_per_s"), known(row, "ceiling_bytes_per_s")
    if per_s and sheet and (level := over(per_s / sheet[0], SLACK, SLACK, SLACK if probe else inf)):
        yield level, "over_bandwidth", f"{si(per_s, 'B/s')} of weights, {si(sheet[0], 'B/s')} on the data sheet"
    elif per_s and ceiling and not probe and (level := over(per_s / ceiling[0], SLACK, 2.0)):
        yield level, "over_bandwidth", f"{si(per_s, 'B/s')} of weights, {si(ceiling[0], 'B/s')} is the ceiling"


def _weights_read_per_s(row: Row) -> float | None:
    """At least, from memory, in bytes: a cache may hold a part, and runs that overlap may share what they read."""
    found, size = known(row, "throughput_per_s"), ELEMENT_BYTES.get(row["precision"])
    if not found or size is None:
        return None
    record: Record = row["entries"][0][0]
    runs_per_s = found[0] / (record.context.batch_chosen or 1) / int(record.context.settings.get("inflight", 1))
    return max(0.0, record.card.weight_bytes * size / 4 - _cache_bytes(record)) * runs_per_s


def _cache_bytes(record: Record) -> int:
    """What of the weights may stay near the processor from one query to the next."""
    if record.identity.backend != "cpu":
        return DEVICE_CACHE_BYTES
    size = record.context.machine.llc_bytes
    return HOST_CACHE_BYTES if size is None else size


def _link(row: Row) -> Iterator[Found]:
    found = known(row, "throughput_per_s")
    if not found or row["backend"] == "cpu":
        return
    per_s = found[0] * row["entries"][0][0].card.io_bytes * ELEMENT_BYTES.get(row["precision"], 4.0) / 4
    sheet = known(row, "datasheet_link_bytes_per_s")
    limit = 2 * sheet[0] if sheet else LINK_BYTES_PER_S
    if per_s > SLACK * limit:
        yield "suspect", "over_link", f"{si(per_s, 'B/s')} in and out, {si(limit, 'B/s')} fit through"


def _link_roof(row: Row) -> Iterator[Found]:
    """How much fits on the chip is known to a tenth at best, so it takes a quarter over the roof to be impossible."""
    found = known(row, "throughput_per_s", "link_roof_per_s")
    if found and (level := over(found[0] / found[1], SLACK, SLACK, LINK_IMPOSSIBLE)):
        figures = f"{found[0]:.4g}/s, {found[1]:.4g}/s of weights, inputs and outputs fit through the link"
        yield level, "over_link_roof", figures


def _power(row: Row) -> Iterator[Found]:
    """Of power that may be believed (`results/energy.py`)."""
    found = known(row, "power_w")
    if not found or row["power_valid"] is False:
        return
    (power_w,) = found
    tdp, allowed = known(row, "datasheet_tdp_w"), TDP_SUSPECT.get(row["energy_scope"])
    if tdp and allowed and power_w > allowed * tdp[0]:
        figures = f"{power_w:.4g} W by {row['energy_meter']} ({row['energy_scope']}), {tdp[0]:.4g} W on the data sheet"
        yield "suspect", "over_tdp", figures
    idle_w = [record.energy.idle_w for record, _ in row["entries"] if record.energy and record.energy.idle_w]
    if idle_w and power_w * SLACK < min(idle_w):
        yield "suspect", "below_idle", f"{power_w:.4g} W in the window, {min(idle_w):.4g} W idle"


ROWS: tuple[RowLint, ...] = (_peak, _roof, _bandwidth, _link, _link_roof, _power)
