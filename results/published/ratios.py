"""How many times a kind of hardware is a processor, where one published table has both under the same conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from results.published.hardware import device_of
from results.published.row import Published

Figure = Callable[[Published], float | None]


def rate(row: Published) -> float | None:
    """Of an offline row, for one accelerator or one system of processors."""
    return row.per_accelerator_per_s if "offline" in row.scenario.lower() else None


def latency(row: Published) -> float | None:
    """Of a row that ran one sample at a time, in nanoseconds."""
    alone = row.scenario.lower() in ("singlestream", "single inference")
    return row.latency_ns if alone and row.batch in (None, 1) else None


def over_processor(
    rows: Sequence[Published], devices: Sequence[str], figure: Figure, pick: Callable[[float, float], float]
) -> dict[str, float] | None:
    """By network: the best of `devices` (how the catalog's names begin) over the best processor in fp32.

    Only of the same table, scenario, metric and batch. None where no table has one of `devices` at all.
    """
    own: dict[tuple[object, ...], float] = {}
    processor: dict[tuple[object, ...], float] = {}
    for row in rows:
        value = figure(row)
        if value is None:
            continue
        place = (row.workload, row.file, row.scenario, row.metric, row.unit, row.batch)
        if (device_of(row.hardware) or "").startswith(tuple(devices)):
            own[place] = pick(own.get(place, value), value)
        elif is_processor(row) and row.precision == "fp32":
            processor[place] = pick(processor.get(place, value), value)
    shared = {str(place[0]): own[place] / processor[place] for place in own if place in processor}
    return shared if own else None


def is_processor(row: Published) -> bool:
    """Whether only processors worked, so far as the table says so."""
    return row.accelerators is None and (
        "cpu" in row.hardware.lower() or row.missing.get("accelerators", "").startswith("only")
    )
