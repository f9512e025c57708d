"""What cannot be among others' figures, by examples that really were published and by the smallest changes to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from results import catalog
from results.catalog import PriceRow
from results.lints import WHY, market
from results.published.row import Published
from results.published.table import rows
from results.roofline import link_roof_per_s
from tests.fakes import market as made

VGG16_BYTES, VGG19_BYTES = 138_357_544, 143_667_240
"""In int8, a byte a weight."""
CORAL_ON_CHIP, USB3, PCIE_X1 = 8e6, 500e6, 500e6


def published(*table: dict[str, object]) -> list[Published]:
    return [row for row in rows(made.table(*table)) if isinstance(row, Published)]


def codes(found: Sequence[Published]) -> list[tuple[str, str, str]]:
    by_place = {row.place: row for row in found}
    return [(one.level, one.code, by_place[one.place].workload) for one in market.find(found)]


class TestLinkRoof:
    def test_what_does_not_fit_on_the_chip_crosses_the_link_in_every_run(self) -> None:
        assert link_roof_per_s(18e6, 2e6, 500e6, 8e6) == pytest.approx(500 / 12)

    def test_what_fits_does_not(self) -> None:
        assert link_roof_per_s(4e6, 150_528, 500e6, 8e6) == pytest.approx(500e6 / 150_528)
        assert link_roof_per_s(8e6, 0, 500e6, 8e6) is None

    @pytest.mark.parametrize(("vgg16_ms", "vgg19_ms", "rate"), [(296, 308, 440e6), (343, 357, 380e6)])
    def test_corals_two_large_networks_stream_at_one_rate(self, vgg16_ms: float, vgg19_ms: float, rate: float) -> None:
        """Published by coral.ai for USB 3.0 and for the Dev Board: two networks, one rate, so the link is the roof."""
        for weights, latency_ms in ((VGG16_BYTES, vgg16_ms), (VGG19_BYTES, vgg19_ms)):
            assert (weights - CORAL_ON_CHIP) / latency_ms * 1e3 == pytest.approx(rate, rel=2e-3)
            roof = link_roof_per_s(weights, 151_528, USB3, CORAL_ON_CHIP)
            assert roof is not None
            assert 1e3 / latency_ms / roof == pytest.approx(rate / USB3, rel=5e-3)

    def test_the_catalog_has_the_link_and_the_chip_of_every_kind_of_edge_tpu(self) -> None:
        names = ("USB 5000 Mb/s", "USB 480 Mb/s", "PCIe", "PCIe, maximum clock", "USB 5000 Mb/s, standard clock")
        for name in (f"Coral Edge TPU ({link})" for link in names):
            assert catalog.fact(name, "link_bytes_per_s")
            assert catalog.fact(name, "on_chip_bytes")
            assert catalog.fact(name, "memory_bytes") is None


class TestPublished:
    def test_what_coral_and_neuron_published_is_possible(self) -> None:
        assert codes(published(*made.CORAL)) == []
        assert codes(published(*made.NEURON)) == []

    def test_the_row_that_openvino_copied(self) -> None:
        """ssd-resnet34-1200 in int8 has resnet-50's figure: 12 times the data sheet, 58 times its own fp16."""
        found = codes(published(*made.OPENVINO))
        assert found[0] == ("impossible", "over_peak", "ssd-resnet34-1200")
        assert ("suspect", "precision_gain", "ssd-resnet34-1200") in found
        assert ("suspect", "copied", "ssd-resnet34-1200") in found
        assert ("suspect", "copied", "resnet-50") in found
        assert all(code in WHY for _, code, _ in found)

    def test_a_copied_row_is_found_without_a_data_sheet(self) -> None:
        unknown = [{**row, "hardware": "some other GPU"} for row in made.OPENVINO]
        assert {code for _, code, _ in codes(published(*unknown))} == {"copied", "precision_gain"}

    def test_one_run_for_both_accuracy_targets_of_mlperf_is_no_copy(self) -> None:
        both = [made.row("H200", f"llama2-70b-{target}", 8840.42, "Tokens/s") for target in ("99", "99.9")]
        assert codes(published(*both)) == []

    def test_round_figures_are_no_copies(self) -> None:
        assert codes(published(made.row("X", "a", 120, "ms"), made.row("X", "b", 120, "ms"))) == []

    def test_vgg_that_is_faster_than_its_link(self) -> None:
        assert codes(published(made.row(made.USB, "VGG16", 240, "ms"))) == [("suspect", "over_link_roof", "VGG16")]
        assert codes(published(made.row(made.USB, "VGG16", 29.6, "ms"))) == [("impossible", "over_link_roof", "VGG16")]

    def test_accelerators_share_the_peak(self) -> None:
        """8 A100 at 87 % of their peak are possible, one with the same figure is not."""
        resnet: dict[str, Any] = {"unit": "Samples/s", "scenario": "Offline", "metric": "throughput", "batch": ""}
        for accelerators, expected in ((8, []), (1, [("impossible", "over_peak", "resnet50")])):
            row = made.row("NVIDIA A100-SXM4-80GB", "resnet50", 532_000, n_accel=str(accelerators), **resnet)
            assert codes(published(row)) == expected

    def test_nothing_is_said_of_the_peak_where_the_table_does_not_say_how_many(self) -> None:
        row = made.row("NVIDIA A100-SXM4-80GB", "resnet50", 532_000, "Samples/s", n_accel="", scenario="Offline")
        assert codes(published(row)) == []

    @pytest.mark.parametrize(
        ("scenario", "latency_ms", "expected"),
        [
            ("single inference", 0.5, []),
            ("single inference", 0.6, [("impossible", "overlapping", "bert-base")]),
            ("max load", 2.0, []),
            ("max load", 0.2, [("suspect", "not_one_run", "bert-base")]),
        ],
    )
    def test_littles_law(self, scenario: str, latency_ms: float, expected: list[tuple[str, str, str]]) -> None:
        rate = made.row("X", "bert-base", 2000, "inferences/s", metric="throughput", scenario=scenario)
        time = made.row("X", "bert-base", latency_ms, "ms", metric="latency p50", scenario=scenario)
        assert codes(published(rate, time)) == expected


def price(kind: Any, usd: float) -> PriceRow:
    """As SkyPilot's catalog has it for H100x8 in us-central1."""
    return PriceRow(
        hardware="NVIDIA H100-SXM5-80GB", cloud="gcp", region="us-central1", instance_type="a3-highgpu-8g", chips=8,
        vcpus=208, kind=kind, usd_per_hour=usd, date="undated", source="skypilot-catalog", note="",
    )  # fmt: skip


def test_a_spot_price_over_the_one_on_demand() -> None:
    (found,) = market.prices([price("on-demand", 33.6), price("spot", 42.7)])
    assert found[:2] == ("suspect", "spot_over_on_demand")
    assert list(market.prices([price("on-demand", 33.6), price("spot", 20.0)])) == []
    assert list(market.prices(catalog.prices())) == []
