from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import catalog, cost
from results.cost import Owned, Price, Pricing, price_of, usd_per_million
from tests.fakes.records import CLOUD_MACHINE, MACHINE

positive = st.floats(1e-6, 1e9)


@pytest.mark.parametrize(
    ("rate_per_s", "usd_per_hour", "usd"),
    [(4393, 0.758, 0.0479), (2674, 0.7582, 0.0788), (4393, 0.328, 0.0207), (2674, 0.328, 0.0341)],
)
def test_aws_neurons_own_table(rate_per_s: float, usd_per_hour: float, usd: float) -> None:
    """Its cost per 1M inferences of ResNet-50 and BERT-base on inf2.xlarge, on demand and reserved (2026-02-26)."""
    assert usd_per_million(usd_per_hour, rate_per_s) == pytest.approx(usd, abs=0.00005)


def test_the_catalog_has_the_prices_of_that_table() -> None:
    reserved, on_demand = (catalog.prices("inf2.xlarge", kind=kind)[0] for kind in ("reserved", "on-demand"))
    assert (reserved.usd_per_hour, round(on_demand.usd_per_hour, 3)) == (0.328, 0.758)


@given(positive, positive, st.floats(0.01, 1), st.floats(0.01, 1))
def test_an_hour_costs_what_its_samples_cost(usd: float, rate: float, share: float, utilisation: float) -> None:
    per_million = usd_per_million(usd, rate, share, utilisation)
    samples = 3600 * rate * utilisation
    assert per_million * samples / 1e6 == pytest.approx(usd * share)


@given(positive, positive)
def test_half_the_machine_half_the_cost_half_the_use_twice(usd: float, rate: float) -> None:
    whole = usd_per_million(usd, rate)
    assert usd_per_million(usd, rate, share=0.5) == pytest.approx(whole / 2)
    assert usd_per_million(usd, rate, utilisation=0.5) == pytest.approx(whole * 2)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_no_rate_no_cost(rate: float) -> None:
    with pytest.raises(ValueError, match="no cost at a rate of"):
        usd_per_million(1.0, rate)


@given(
    st.floats(0, 1e9).map(lambda x: round(x, 6)), st.floats(0.01, 1000).map(lambda x: round(x, 6)),
    st.sampled_from(sorted(cost.HOURS)),
)  # fmt: skip
def test_a_purchase_survives_being_printed(usd: float, count: float, unit: str) -> None:
    owned = Owned(usd, count, unit)
    assert Owned.parse(str(owned)) == owned


def test_a_purchase_by_hand() -> None:
    assert Owned.parse("2400usd/3y").usd_per_hour == pytest.approx(2400 / (3 * 365.25 * 24))
    assert Owned.parse(" 60USD/36mo ").usd_per_hour == pytest.approx(60 / (3 * 365.25 * 24))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2400",
        "2400usd",
        "2400usd/3",
        "2400usd/0y",
        "-1usd/3y",
        "1e3usd/3y",
        "2400eur/3y",
        "nanusd/3y",
        "2400usd/3y\nx",
    ],
)
def test_what_is_no_purchase_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write AMOUNTusd/TIME, for example 2400usd/3y") as caught:
        Owned.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"share": 0.0}, "share is 0.0"), ({"share": 1.5}, "share is 1.5"), ({"utilisation": -1.0}, "utilisation is"),
        ({"usd_per_hour": -0.1}, "usd_per_hour is -0.1"), ({"usd_per_hour": float("nan")}, "usd_per_hour is nan"),
        ({"usd_per_kwh": float("inf")}, "usd_per_kwh is inf"), ({"share": float("nan")}, "share is nan"),
        ({"usd_per_hour": 1.0, "owned": Owned(1.0, 1.0, "y")}, "exclude each other"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pricing(**values)  # type: ignore[arg-type]  # whatever the table says


class TestPriceOfAMachine:
    def test_a_known_instance_type_has_the_catalogs_newest(self) -> None:
        price = price_of(CLOUD_MACHINE, Pricing(), "cpu")
        assert isinstance(price, Price)
        assert (price.usd_per_hour, price.kind, price.date) == (0.08925, "on-demand", "2026-07-20")
        assert price.source.startswith("aws us-east-1, ")
        assert str(price).startswith("$0.08925/h on-demand, aws us-east-1, ")

    @pytest.mark.parametrize(("cores", "instance", "usd"), [(2, "c7i.large", 0.08925), (5, "c7i.2xlarge", 0.357)])
    def test_an_unknown_machines_processor_is_priced_by_reference(self, cores: int, instance: str, usd: float) -> None:
        price = price_of(MACHINE.model_copy(update={"cores": cores}), Pricing(), "cpu")
        assert isinstance(price, Price)
        assert (price.usd_per_hour, price.kind) == (usd, "reference")
        assert price.source.startswith(f"as if it were {instance} (")

    @pytest.mark.parametrize(("backend", "cores"), [("cuda", 2), ("cpu", 100_000)])
    def test_what_has_no_reference_says_what_to_do(self, backend: str, cores: int) -> None:
        assert price_of(MACHINE.model_copy(update={"cores": cores}), Pricing(), backend) == (
            "no price: this machine is no known instance type; give --price or --owned"
        )

    def test_what_the_reader_gives_goes_first(self) -> None:
        for machine in (MACHINE, CLOUD_MACHINE):
            given_price = price_of(machine, Pricing(usd_per_hour=0.35), "cpu")
            owned = price_of(machine, Pricing(owned=Owned.parse("2400usd/3y")), "cpu")
            assert isinstance(given_price, Price)
            assert isinstance(owned, Price)
            assert (given_price.usd_per_hour, given_price.kind) == (0.35, "given")
            assert (owned.kind, round(owned.usd_per_hour, 4)) == ("owned", 0.0913)

    def test_a_region_or_a_kind_that_nobody_lists(self) -> None:
        assert price_of(CLOUD_MACHINE, Pricing(region="mars-1"), "cpu") == (
            "no price: the catalog has no on-demand price of c7i.large in mars-1; give --price"
        )
        unknown = CLOUD_MACHINE.model_copy(update={"instance_type": "x9.huge"})
        assert price_of(unknown, Pricing(kind="spot"), "cpu") == (
            "no price: the catalog has no spot price of x9.huge; give --price"
        )

    def test_electricity(self) -> None:
        assert cost.electricity_usd_per_hour(250.0, 0.30) == pytest.approx(0.075)
