"""MLPerf Inference: the `summary_results.json` at the root of mlcommons/inference_results_v5.1 and its like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from results.published.row import Bad, Published, cleaned, made, number, precision, whole

KIND = "MLPerf Inference's summary_results.json"
KEYS = ("Performance_Result", "Performance_Units", "Scenario", "Model", "a#", "Nodes")
UNITS = {"tokens/s": "token", "samples/s": "sample", "queries/s": "query"}
LATENCY = "latency (ms)"
LATENCIES = {"SingleStream": ("p90 latency", 1), "MultiStream": ("p99 latency of 8 samples", 8)}
"""What the rules have a stream's latency be: percentile by early stopping, and samples of a query."""


def fits(text: str) -> bool:
    return text.lstrip().startswith("[") and any(f'"{key}"' in text for key in KEYS[:1])


def rows(text: str) -> Iterator[Published | Bad]:
    """Every entry; `line` counts entries from 1. Raises ValueError for what is no JSON list."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a damaged or incomplete file, as it is not JSON ({error}): fetch it again") from error
    for line, entry in enumerate(entries, 1):
        try:
            yield made(line, _values(entry), "the entry has no such figure")
        except ValueError as error:
            yield Bad(line, str(error))


def _values(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError("no JSON object")
    lacking = [key for key in KEYS if key not in entry]
    if lacking:
        raise ValueError(f"no {', '.join(lacking)}")
    systems = whole(entry["Nodes"], "Nodes")
    card = cleaned(entry.get("Accelerator"))
    processors = cleaned(entry.get("Processor")) or "unknown processor"
    scenario, missing = cleaned(entry["Scenario"]), {}
    accelerators = whole(entry["a#"], "a#") * systems if card and entry["a#"] != "" else None
    if accelerators is None:
        missing["accelerators"] = f"only processors: {entry.get('p#') or '?'} x {processors} in each of {systems}"
    open_division = cleaned(entry.get("Category")) == "open"
    return {
        "source": f"MLPerf Inference {cleaned(entry.get('version'))}, {cleaned(entry.get('Location'))}"[:300],
        "hardware": card or processors,
        "accelerators": accelerators,
        "systems": systems,
        "software": cleaned(entry.get("Software")),
        "workload": cleaned(entry["UsedModel"] if open_division else entry["Model"]),
        "precision": "" if entry.get("weight_data_types") == "UNSET" else precision(entry.get("weight_data_types")),
        "scenario": scenario,
        "missing": missing,
        "note": _note(entry),
        **_performance(entry, scenario),
        **_power(entry),
    }


def _performance(entry: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    unit, value = cleaned(entry["Performance_Units"]).lower(), number(entry["Performance_Result"], "Performance_Result")
    if unit == LATENCY:
        metric, samples = LATENCIES.get(scenario, ("latency", None))
        return {"metric": metric, "unit": "query", "batch": samples, "latency_ns": value * 1e6}
    if unit not in UNITS:
        raise ValueError(f"Performance_Units {unit[:40]!r}: known are {', '.join((*UNITS, LATENCY))}")
    return {"metric": "throughput", "unit": UNITS[unit], "throughput_per_s": value}


def _power(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Of the whole system at the wall. 0 is telemetry that was off."""
    if not entry.get("Power_Result"):
        return {}
    value, unit = number(entry["Power_Result"], "Power_Result"), cleaned(entry.get("Power_Units")).lower()
    known = {"watts": ("power_w", 1.0), "millijoules": ("energy_j", 1e-3)}
    if unit not in known:
        raise ValueError(f"Power_Units {unit[:40]!r}: known are {', '.join(known)}")
    name, scale = known[unit]
    return {name: value * scale}


def _note(entry: Mapping[str, Any]) -> str:
    """Who, under which division's rules; and whether the figure was computed from that of another scenario."""
    parts = [cleaned(entry.get(key)) for key in ("ID", "Submitter", "Category", "Suite", "Availability")]
    inferred = "; inferred from another scenario by the submission checker" if entry.get("inferred") else ""
    return f"{' '.join(filter(None, parts))}; {cleaned(entry.get('System'))}{inferred}"[:2000]
