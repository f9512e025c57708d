from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydantic import ValidationError

from results import catalog
from results.catalog import DeviceFact, PriceRow


def every_device() -> list[DeviceFact]:
    return [fact for name in catalog.devices() for fact in catalog.device(name)]


def test_every_number_has_a_source_a_date_and_a_place_of_its_own() -> None:
    facts = every_device()
    assert len(facts) > 200
    assert len({(fact.device, fact.quantity, fact.precision) for fact in facts}) == len(facts)
    assert all((fact.precision != "") == (fact.quantity == "dense_flops_per_s") for fact in facts)


def test_every_price_has_a_place_of_its_own() -> None:
    rows = catalog.prices()
    assert len(rows) > 300
    assert len({(row.cloud, row.region, row.instance_type, row.kind, row.date) for row in rows}) == len(rows)


def test_no_sentinels_and_no_spot_above_on_demand() -> None:
    rows = catalog.prices()
    assert all(row.usd_per_hour != 700.0 for row in rows)
    on_demand = {
        (row.cloud, row.region, row.instance_type): row.usd_per_hour for row in rows if row.kind == "on-demand"
    }
    spot = [row for row in rows if row.kind == "spot"]
    assert spot
    assert all(row.usd_per_hour <= on_demand[row.cloud, row.region, row.instance_type] for row in spot)


def test_peaks_are_dense() -> None:
    """The sparse figures that other tables print, side by side with ours."""
    for device, precision, sparse in (("NVIDIA H100-SXM5-80GB", "bf16", 1979e12), ("NVIDIA L4", "int8", 485e12)):
        found = catalog.fact(device, "dense_flops_per_s", precision)
        assert found is not None
        assert found.value == pytest.approx(sparse / 2, rel=0.01)


def test_faster_arithmetic_is_never_listed_as_slower() -> None:
    for device in catalog.devices():
        peaks = [catalog.fact(device, "dense_flops_per_s", p) for p in ("fp32", "bf16", "int8")]
        values = [peak.value for peak in peaks if peak]
        assert values == sorted(values), device


def test_what_was_only_remembered_is_left_out() -> None:
    assert catalog.fact("NVIDIA A10G", "dense_flops_per_s", "fp16") is None
    assert catalog.fact("NVIDIA A100-PCIe-40GB", "tdp_w") is None
    assert {fact.grade for fact in every_device()} == {"V", "R", "T", "D"}


@pytest.mark.parametrize("name", ["NVIDIA A100-SXM4-80GB", "nvidia a100 sxm4 80gb", "NVIDIA_A100_SXM4_80GB"])
def test_names_as_drivers_print_them(name: str) -> None:
    found = catalog.fact(name, "memory_bytes")
    assert found is not None
    assert found.value == 80e9


def test_a_cpu_by_the_name_in_cpuinfo() -> None:
    assert catalog.device("Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz")
    assert catalog.device("AMD EPYC 9654 96-Core") == ()


def test_newest_prices_first_undated_last() -> None:
    dates = [row.date for row in catalog.prices("p4d.24xlarge")]
    assert dates == ["2026-07-20", "2025-06-23", "2023-09-18"]
    assert catalog.prices(hardware="google tpu v4")[0].chips == 1408
    assert all(row.region == "eastus" and row.kind == "on-demand" for row in catalog.prices(region="eastus"))
    assert catalog.prices("no.such") == ()


@pytest.mark.parametrize(
    ("column", "value"),
    [("usd_per_hour", "-1"), ("usd_per_hour", "nan"), ("usd_per_hour", ""), ("date", "last week"), ("kind", "free"),
     ("source", ""), ("chips", "many"), ("surplus", "x")],
)  # fmt: skip
def test_rows_are_strict(column: str, value: str) -> None:
    good = catalog.prices("c7i.large")[0].model_dump()
    with pytest.raises(ValidationError, match=column):
        PriceRow.model_validate({**good, column: value})


def test_files_are_plain_csv() -> None:
    for name, kind in (("devices.csv", DeviceFact), ("prices.csv", PriceRow)):
        with (Path(catalog.__file__).parent / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0] == list(kind.model_fields)
        assert {len(row) for row in rows} == {len(rows[0])}
