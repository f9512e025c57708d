"""Any other table, brought into the columns below: Coral's benchmarks, AWS Neuron's, OpenVINO's, TensorRT-LLM's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date

from results.published.row import Bad, Published, cleaned, csv_rows, has_columns, number, precision, whole

COLUMNS = (
    "hardware", "n_accel", "software", "workload", "dtype", "batch", "scenario", "metric", "value", "unit", "source",
    "date", "note",
)  # fmt: skip
KIND = f"a CSV with the columns {','.join(COLUMNS)}"
RATES = {
    "tokens/s": "token", "tok/s": "token", "samples/s": "sample", "queries/s": "query", "requests/s": "query",
    "inf./sec.": "inference", "inferences/s": "inference", "inf/s": "inference", "fps": "inference",
    "images/s": "sample", "img/s": "sample", "sequences/s": "sample",
}  # fmt: skip
TIMES_NS = {"s": 1e9, "ms": 1e6, "latency (ms)": 1e6, "us": 1e3, "\u00b5s": 1e3, "ns": 1.0}
ENERGIES_J = {"j": 1.0, "mj": 1e-3, "millijoules": 1e-3, "uj": 1e-6, "uj/inf.": 1e-6, "\u00b5j": 1e-6}
POWERS_W = {"w": 1.0, "watts": 1.0, "mw": 1e-3, "kw": 1e3}


def fits(text: str) -> bool:
    return has_columns(text, COLUMNS)


def rows(text: str) -> Iterator[Published | Bad]:
    return csv_rows(text, _values, "the row has another figure")


def _values(row: Mapping[str, str]) -> dict[str, object]:
    return {
        "source": cleaned(row["source"])[:300],
        "date": _date(row["date"]),
        "hardware": cleaned(row["hardware"]),
        "accelerators": whole(row["n_accel"], "n_accel") if row["n_accel"].strip() else None,
        "software": cleaned(row["software"]),
        "workload": cleaned(row["workload"]),
        "precision": precision(row["dtype"]),
        "batch": whole(row["batch"], "batch") if row["batch"].strip().isdecimal() else None,
        "scenario": cleaned(row["scenario"]),
        "metric": cleaned(row["metric"]),
        "note": cleaned(row["note"]),
        "missing": {"accelerators": "the table does not say", "batch": _said(row["batch"])},
        **_figure(row),
    }


def _date(text: str) -> str:
    """In the table's own words; raises ValueError where these begin with a day or month that no calendar has."""
    words = cleaned(text)
    if told := re.match(r"(\d{4})-(\d+)(?:-(\d+))?", words):
        try:
            date(*(int(part or 1) for part in told.groups()))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"date {words[:40]!r} is in no calendar: {error}") from error
    return words or "undated"


def _said(batch: str) -> str:
    return f"the table says {cleaned(batch)[:80]}" if batch.strip() else "the table does not say"


def _figure(row: Mapping[str, str]) -> dict[str, object]:
    unit, value = cleaned(row["unit"]), number(row["value"], "value")
    name = unit.lower()
    if name in RATES:
        return {"unit": RATES[name], "throughput_per_s": value}
    for known, field in ((TIMES_NS, "latency_ns"), (ENERGIES_J, "energy_j"), (POWERS_W, "power_w")):
        if name in known:
            return {"unit": "inference", field: value * known[name]}
    raise ValueError(f"unit {unit[:40]!r} is none of a rate, a time, an energy or a power that is known")
