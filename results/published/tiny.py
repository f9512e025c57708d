"""MLPerf Tiny: the `summary.csv` of mlcommons/tiny_results_v1.2 and its like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from results.published.row import Bad, Published, cleaned, csv_rows, has_columns, number

KIND = "MLPerf Tiny's summary.csv"
COLUMNS = ("MlperfModel", "Result", "ResultUnit", "BoardName", "HasPower", "Power", "PowerUnit")
NOTHING = ("", "n/a", "none")


def fits(text: str) -> bool:
    return has_columns(text, COLUMNS)


def rows(text: str) -> Iterator[Published | Bad]:
    return csv_rows(text, _values, "the row has no such figure")


def _values(row: Mapping[str, str]) -> dict[str, object]:
    unit = cleaned(row["ResultUnit"]).lower()
    if unit != "inf./sec.":
        raise ValueError(f"ResultUnit {unit[:40]!r}: known is inf./sec.")
    accelerator, processor = (_said(row.get(f"{part}ModelName")) for part in ("Accelerator", "HostProcessor"))
    missing = {} if accelerator else {"accelerators": f"only a processor: {processor or 'not named'}"}
    return {
        "source": f"MLPerf Tiny, {cleaned(row.get('Division'))}/{cleaned(row.get('Organization'))}",
        "hardware": f"{cleaned(row['BoardName'])} ({accelerator or processor or 'processor not named'})",
        "accelerators": 1 if accelerator else None,
        "software": _said(row.get("InferenceFramework")),
        "workload": f"tiny-{cleaned(row['MlperfModel'])}",
        "batch": 1,
        "scenario": "single inference",
        "metric": "throughput (1 / median latency)",
        "unit": "inference",
        "throughput_per_s": number(row["Result"], "Result"),
        "energy_j": _energy_j(row),
        "missing": missing,
        "note": "; ".join(
            filter(None, (_said(row.get(name)) for name in ("SystemDesc", "Availability", "HardwareNotes")))
        ),
    }


def _energy_j(row: Mapping[str, str]) -> float | None:
    """Per inference; the table has 0 where nobody measured it."""
    if cleaned(row["HasPower"]).lower() != "true":
        return None
    unit = cleaned(row["PowerUnit"]).lower()
    if unit != "uj/inf.":
        raise ValueError(f"PowerUnit {unit[:40]!r}: known is uJ/inf.")
    return number(row["Power"], "Power") * 1e-6


def _said(text: object) -> str:
    return "" if cleaned(text).lower() in NOTHING else cleaned(text)
