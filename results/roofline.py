"""How near a row comes to what its own machine can do.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009. The roofs
are measured: the fastest query of a `ceiling_flops` and of a `ceiling_bytes` workload on the same device, or the mean
rate where queries overlap. A roof is what the device was ever seen to do, so noise may only lower it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from results.names import scenario_name
from results.record import Card

ELEMENT_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}


@dataclass(frozen=True)
class Ceiling:
    """The roofs over one device at one precision; None: no valid ceiling workload was measured there."""

    fingerprint: str
    backend: str
    device: str
    precision: str
    flops_per_s: float | None
    bytes_per_s: float | None

    def at(self, intensity_flops_per_byte: float) -> float | None:
        """The roof in flops per second over a point of this intensity."""
        if self.flops_per_s is None or self.bytes_per_s is None:
            return None
        return min(self.flops_per_s, self.bytes_per_s * intensity_flops_per_byte)


def intensity_flops_per_byte(card: Card, precision: str, batch: int) -> float | None:
    """Operations per byte moved for one sample, its share of the weights counted once a batch.

    None for a precision of unknown size and for operations that cannot be counted.

    Activations that stay in a cache are not counted, so this is an upper bound of the true intensity.
    """
    size = ELEMENT_BYTES.get(precision)
    if size is None or card.flops is None or batch < 1:
        return None
    moved_bytes = card.weight_bytes * size / 4 / batch + card.io_bytes
    return card.flops / moved_bytes if moved_bytes else None


def link_roof_per_s(
    weight_bytes: float, io_bytes: float, link_bytes_per_s: float, on_chip_bytes: float
) -> float | None:
    """Runs a second that a host's link lets through to a device without memory of its own; None: nothing crosses it.

    What of the weights does not fit on the chip comes over the link again in every run, as do inputs and outputs.
    """
    moved_bytes = max(0.0, weight_bytes - on_chip_bytes) + io_bytes
    return link_bytes_per_s / moved_bytes if moved_bytes else None


def ceilings(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str, str], Ceiling]:
    """By (fingerprint, backend, device, precision). Bandwidth does not depend on the precision, arithmetic does."""
    flops: dict[tuple[str, ...], float] = {}
    bandwidth: dict[tuple[str, ...], float] = {}
    seen = set()
    for row in rows:
        place = (row["fingerprint"], row["backend"], row["device"])
        achieved, intensity = row["achieved_flops_per_s"], row["intensity_flops_per_byte"]
        if achieved is None or intensity is None or row["verdict"] == "invalid":
            continue
        seen.add((*place, row["precision"]))
        best = achieved * _speed_of_fastest(row)
        if row["role"] == "ceiling_flops":
            key = (*place, row["precision"])
            flops[key] = max(flops.get(key, 0.0), best)
        elif row["role"] == "ceiling_bytes":
            bandwidth[place] = max(bandwidth.get(place, 0.0), best / intensity)
    return {key: Ceiling(*key, flops_per_s=flops.get(key), bytes_per_s=bandwidth.get(key[:3])) for key in sorted(seen)}


def _speed_of_fastest(row: Mapping[str, Any]) -> float:
    """The fastest query's rate over the mean rate, where queries follow each other and the mean latency is the rate."""
    mean_ns, least_ns = row["latency_mean_ns"], row["latency_min_ns"]
    one_by_one = scenario_name(row["scenario"]) in ("single_stream", "multi_stream")
    return float(mean_ns / least_ns) if one_by_one and mean_ns and least_ns else 1.0
