"""Known answers; what holds on average is simulated in test_coverage.py."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from results import difference as module
from results.difference import difference, needed_repeats, repeats_to_rule_out
from results.stats import Shift, shift_of

figures = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12)


def spread(n: int, sigma: float, centre: float = 1.0) -> list[float]:
    """n values whose logarithms have exactly this standard deviation and mean."""
    raw = [NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)]
    scale = sigma / math.sqrt(sum(x * x for x in raw) / (n - 1))
    return [centre * math.exp(scale * x) for x in raw]


def between(a: list[float], b: list[float]) -> Shift:
    shift = shift_of(a, b)
    assert shift is not None
    return shift


class TestOutcome:
    @pytest.mark.parametrize(
        ("ratio", "outcome"),
        [(1.0, "no difference"), (1.015, "no difference"), (1.019, "undecidable"), (1.021, "higher"),
         (1.3, "higher"), (1 / 1.015, "no difference"), (1 / 1.021, "lower"), (0.7, "lower")],
    )  # fmt: skip
    def test_at_a_small_spread_two_percent_decide(self, ratio: float, outcome: str) -> None:
        assert difference(spread(5, 0.002), spread(5, 0.002, ratio)).outcome == outcome

    @pytest.mark.parametrize(
        ("ratio", "outcome"), [(1.0, "undecidable"), (1.05, "undecidable"), (1.2, "higher"), (1 / 1.2, "lower")]
    )
    def test_at_a_large_spread_the_interval_does(self, ratio: float, outcome: str) -> None:
        assert difference(spread(5, 0.05), spread(5, 0.05, ratio)).outcome == outcome

    def test_it_is_decided_by_a_tighter_interval_than_is_shown(self) -> None:
        """With 8 degrees of freedom t is 2.306 at 97.5 % and 2.634 at 98.5 %: a shift between the two is not told."""
        error = 0.03 * math.sqrt(2 / 5)
        found = difference(spread(5, 0.03), spread(5, 0.03, math.exp(2.45 * error)))
        assert found.ratio.low > 1
        assert found.outcome == "undecidable"
        assert difference(spread(5, 0.03), spread(5, 0.03, math.exp(2.65 * error))).outcome == "higher"

    def test_no_spread_at_all(self) -> None:
        assert difference([1.0] * 5, [1.03] * 5).outcome == "higher"
        assert difference([1.0] * 5, [1.01] * 5).outcome == "no difference"

    @given(figures, figures)
    def test_swapping_sides_mirrors_it(self, a: list[float], b: list[float]) -> None:
        there, back = difference(a, b), difference(b, a)
        mirrored = {"higher": "lower", "lower": "higher"}
        assert back.outcome == mirrored.get(there.outcome, there.outcome)
        assert back.ratio.centre == pytest.approx(1 / there.ratio.centre)
        assert (back.reason, back.detectable) == (there.reason, pytest.approx(there.detectable))

    @given(figures, figures, st.floats(1e-6, 1e6))
    def test_units_do_not_matter(self, a: list[float], b: list[float], unit: float) -> None:
        one, other = difference(a, b), difference([x * unit for x in a], [x * unit for x in b])
        assume(one.detectable is None or one.detectable > 0.021)  # without spread, rounding decides
        assert (one.outcome, one.reason) == (other.outcome, other.reason)


class TestBelowFiveRepeats:
    @pytest.mark.parametrize("n", [2, 4])
    def test_ranges_and_how_many_would_do(self, n: int) -> None:
        found = difference(spread(n, 0.01), spread(5, 0.01, 2.0))
        assert (found.outcome, found.ratio.kind, found.detectable) == ("undecidable", "range", None)
        assert found.ratio.low <= 2.0 <= found.ratio.high
        assert found.reason.startswith("needs ")
        assert " repeats to find a change of 5%, " in found.reason
        assert found.reason.endswith(f"(has {n})")

    def test_of_one_repeat_no_spread_is_known(self) -> None:
        found = difference([1.0], [2.0] * 9)
        assert found.reason == "needs 5 repeats or more (has 1)"
        assert (found.ratio.low, found.ratio.centre, found.ratio.high) == (2.0, 2.0, 2.0)

    def test_a_figure_that_is_no_rate(self) -> None:
        found = difference([0.0] * 5, [1.0] * 5)
        assert (found.outcome, found.ratio.kind, found.reason) == ("undecidable", "range", "a figure of 0 has no ratio")


class TestNeeds:
    def test_the_normal_limit(self) -> None:
        """n = 2 (sigma (z_0.985 + z_0.90) / ln 1.05)^2 for a spread that is known well, and as much for ruling out."""
        z = NormalDist().inv_cdf
        pair = spread(400, 0.10), spread(400, 0.10)
        upper = 1.0442  # of a variance with 798 degrees of freedom: 798 / 764.2, its chi-square's 20 % quantile
        find = 2 * upper * (0.10 * (z(0.985) + z(0.90)) / math.log(1.05)) ** 2
        assert needed_repeats(between(*pair)) == pytest.approx(find, rel=0.02)
        pair = spread(400, 0.05), spread(400, 0.05)
        rule_out = 2 * upper * (0.05 * (z(0.985) + z(0.95)) / math.log(1.02)) ** 2
        assert repeats_to_rule_out(between(*pair)) == pytest.approx(rule_out, rel=0.02)

    @pytest.mark.parametrize(("freedom", "quantile"), [(2, 0.446), (4, 1.649), (8, 4.594), (18, 12.857), (100, 87.945)])
    def test_the_upper_limit_of_a_variance(self, freedom: float, quantile: float) -> None:
        """Printed 20 % quantiles of chi-square; the approximation is within 1 % from 4 degrees of freedom on."""
        assert module._upper(freedom) == pytest.approx(freedom / quantile, rel=0.05 if freedom < 4 else 0.01)

    def test_few_repeats_ask_for_more_than_many_at_the_same_spread(self) -> None:
        few, many = (needed_repeats(between(spread(n, 0.04), spread(n, 0.04))) for n in (5, 50))
        assert few is not None
        assert many is not None
        assert few > many

    def test_five_at_least_and_a_thousand_at_most(self) -> None:
        assert needed_repeats(between([1.0, 1.0], [1.0, 1.0])) == 5
        assert needed_repeats(between([1.0, 100.0], [1.0, 100.0])) is None

    def test_what_is_said(self) -> None:
        wide, shift = difference(spread(5, 0.05), spread(5, 0.05)), between(spread(5, 0.05), spread(5, 0.05))
        assert wide.reason == (
            f"needs {needed_repeats(shift)} repeats to find a change of 5%,"
            f" {repeats_to_rule_out(shift)} to rule out 2% (has 5)"
        )
        fair = difference(spread(5, 0.012), spread(5, 0.012))
        assert fair.detectable is not None
        assert fair.detectable < 0.05
        assert fair.reason.startswith("needs ")
        assert fair.reason.endswith(" repeats to rule out a change of 2% (has 5)")
        near = difference(spread(20, 0.01), spread(20, 0.01, 1.0199))
        assert near.reason == "too near to a change of 2% to tell (has 20 repeats)"
        hopeless = difference(spread(5, 1.0), spread(5, 1.0))
        assert "needs more than 1000 repeats to find a change of 5%" in hopeless.reason


class TestDetectable:
    def test_it_is_the_interval_and_the_power_together(self) -> None:
        """With 8 degrees of freedom t is 2.6338 at 98.5 % and 1.3968 at 90 %, and chi-square 4.594 at 20 %."""
        error = 0.03 * math.sqrt(2 / 5) * math.sqrt(8 / 4.594)
        found = difference(spread(5, 0.03), spread(5, 0.03)).detectable
        assert found == pytest.approx(math.exp((2.6338 + 1.3968) * error) - 1, rel=0.01)

    def test_never_below_the_minimum_effect(self) -> None:
        assert difference([1.0] * 5, [1.0] * 5).detectable == pytest.approx(0.02)
