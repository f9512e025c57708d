"""What others published, held against data sheets, links and each other.

Findings change nothing that was measured here. Operations and weights are those of `results/published/networks.py`, so
a row of a network that nobody counted is judged by its neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from results import catalog
from results.catalog import PriceRow
from results.lints.kinds import LEVELS, SLACK, Found, Level, over
from results.lints.physics import LINK_IMPOSSIBLE, WINOGRAD
from results.numbers import si
from results.published.hardware import device_of
from results.published.networks import Network, network_of
from results.published.row import Published
from results.roofline import ELEMENT_BYTES, link_roof_per_s

DIGITS_MIN = 4
"""Two different networks seldom have a figure in common to so many digits."""
PRECISION_GAIN = 30.0
"""How much faster fewer bits may be: twice the 14.9 that OpenVINO 2024.1 publishes for int8 over fp32 with AMX, the
most that we have seen and can explain."""
ALONE = ("singlestream", "single inference")
IO_BYTES = {"resnet50": 151_528, "mobilenetv2": 151_528}
"""In int8: an image of 224 x 224 x 3 and 1,000 classes. Other networks' are left out of their link's roof."""


@dataclass(frozen=True)
class MarketFinding:
    """Of the published row that stood at `place`; `results.lints.WHY[code]` says what it means."""

    level: Level
    code: str
    place: tuple[str, int]
    detail: str


def find(rows: Sequence[Published]) -> list[MarketFinding]:
    """Everything to be said of published rows, the worst first."""
    found = [
        MarketFinding(level, code, row.place, detail)
        for row, (level, code, detail) in (*_alone(rows), *_copied(rows), *_precisions(rows), *_little(rows))
    ]
    return sorted(dict.fromkeys(found), key=lambda finding: LEVELS.index(finding.level))


def prices(rows: Iterable[PriceRow]) -> Iterator[Found]:
    """Spot is what is left over: dearer than on demand it is no price, or of another instance."""
    by_place: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        place = (row.cloud, row.region, row.instance_type, row.hardware, row.date)
        by_place.setdefault(place, {})[row.kind] = row.usd_per_hour
    for (cloud, region, instance, *_), kinds in by_place.items():
        spot, full = kinds.get("spot"), kinds.get("on-demand")
        if spot is not None and full is not None and spot > full:
            where = f"{cloud} {region} {instance}"
            yield "suspect", "spot_over_on_demand", f"{where}: ${spot:g}/h spot, ${full:g}/h on demand"


def _alone(rows: Sequence[Published]) -> Iterator[tuple[Published, Found]]:
    for row in rows:
        network, device = network_of(row.workload), device_of(row.hardware)
        if device is not None and (rate := _runs_per_s(row)):
            yield from ((row, found) for found in _peak(row, network, device, rate))
            yield from ((row, found) for found in _link_roof(row, network, device, rate))


def _runs_per_s(row: Published) -> float | None:
    """Samples a second of one accelerator: as printed, or of one at a time by its latency; None: nobody can say."""
    if row.unit == "token" or row.accelerators is None:
        return None
    if row.throughput_per_s is not None:
        return row.per_accelerator_per_s
    alone = row.scenario.lower() in ALONE and row.batch in (None, 1)
    return 1e9 / row.latency_ns if alone and row.latency_ns else None


def _peak(row: Published, network: Network, device: str, rate: float) -> Iterator[Found]:
    peak = catalog.fact(device, "dense_flops_per_s", row.precision.replace("uint8", "int8"))
    if network.flops is None or peak is None:
        return
    needed = rate * network.flops
    if level := over(needed / peak.value, SLACK, SLACK * WINOGRAD[0], SLACK * WINOGRAD[1]):
        figures = f"{si(needed, 'FLOP/s')} on one {device}, {si(peak.value, 'FLOP/s')} on the data sheet"
        yield level, "over_peak", figures


def _link_roof(row: Published, network: Network, device: str, rate: float) -> Iterator[Found]:
    link, on_chip = catalog.fact(device, "link_bytes_per_s"), catalog.fact(device, "on_chip_bytes")
    size = ELEMENT_BYTES.get(row.precision)
    if network.parameters is None or link is None or on_chip is None or size is None:
        return
    if catalog.fact(device, "memory_bytes"):
        return
    moved = IO_BYTES.get(network.workload or "", 0)
    roof = link_roof_per_s(network.parameters * size, moved, link.value, on_chip.value)
    if roof and (level := over(rate / roof, SLACK, SLACK, LINK_IMPOSSIBLE)):
        yield level, "over_link_roof", f"{rate:.4g}/s, {roof:.4g}/s of weights, inputs and outputs fit through the link"


def _copied(rows: Sequence[Published]) -> Iterator[tuple[Published, Found]]:
    """The same figure for two networks on the same machine."""
    alike: dict[tuple[object, ...], list[Published]] = {}
    for row in rows:
        value = row.throughput_per_s or row.latency_ns
        if value and len(f"{value:.12g}".replace(".", "").strip("0")) >= DIGITS_MIN:
            place = (row.file, row.hardware, row.accelerators, row.software, row.precision, row.scenario, row.unit)
            alike.setdefault((*place, row.metric, value), []).append(row)
    for group in alike.values():
        names = sorted({_plain(row.workload) for row in group})
        if len(names) > 1:
            for row in group:
                yield row, ("suspect", "copied", f"the same figure to {DIGITS_MIN} digits or more: {', '.join(names)}")


def _plain(workload: str) -> str:
    """MLPerf gives one run for both of its accuracy targets."""
    return workload.lower().removesuffix("-99.9").removesuffix("-99")


def _precisions(rows: Sequence[Published]) -> Iterator[tuple[Published, Found]]:
    """The best of each precision, from the widest to the narrowest."""
    alike: dict[tuple[object, ...], dict[float, Published]] = {}
    for row in rows:
        size = ELEMENT_BYTES.get(row.precision)
        if row.throughput_per_s and size:
            place = (row.file, row.hardware, row.accelerators, row.workload, row.scenario, row.unit, row.batch)
            best = alike.setdefault(place, {})
            if row.throughput_per_s > (best[size].throughput_per_s or 0 if size in best else 0):
                best[size] = row
    for sizes in alike.values():
        for wide, narrow in pairwise(sizes[size] for size in sorted(sizes, reverse=True)):
            gain = (narrow.throughput_per_s or 0) / (wide.throughput_per_s or 1)
            if gain > PRECISION_GAIN:
                detail = f"{gain:.3g} times as fast in {narrow.precision} as in {wide.precision}"
                yield narrow, ("suspect", "precision_gain", detail)


def _little(rows: Sequence[Published]) -> Iterator[tuple[Published, Found]]:
    """Throughput and latency that the same table gives for the same run."""
    runs: dict[tuple[object, ...], list[Published]] = {}
    for row in rows:
        place = (row.file, row.hardware, row.accelerators, row.software, row.workload, row.precision, row.scenario)
        runs.setdefault((*place, row.batch), []).append(row)
    for group in runs.values():
        rates = [row for row in group if row.throughput_per_s and row.unit != "token"]
        times = [
            row for row in group if row.latency_ns and ("mean" in row.metric.lower() or "p50" in row.metric.lower())
        ]
        if len(rates) == 1 and len(times) == 1 and (batch := rates[0].batch):
            yield from ((rates[0], found) for found in _under_way(rates[0], times[0], batch))


def _under_way(rate: Published, time: Published, batch: int) -> Iterator[Found]:
    per_s, latency_ns = rate.throughput_per_s or 0, time.latency_ns or 0
    queries = per_s / batch * latency_ns / 1e9
    figures = f"{per_s:.4g}/s / batch {batch} x {latency_ns / 1e6:.4g} ms = {queries:.3f} queries under way"
    if rate.scenario.lower() in ALONE and queries > SLACK:
        yield "impossible", "overlapping", f"{figures}; there is 1"
    elif queries < 1 / SLACK:
        yield "suspect", "not_one_run", figures
