from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import fidelity
from bench.fidelity import Ratio, interval


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (20, 6, 15), (25, 8, 18), (100, 40, 61)])
def test_the_interval_has_the_ranks_of_the_binomial_table(n, low, high):
    """Conover's table A3, for a median at 95 %."""
    found = interval([float(rank) for rank in range(1, n + 1)])
    assert (found.low, found.high) == (low, high)


def test_too_few_ratios_have_no_interval():
    with pytest.raises(ValueError, match="5 ratios are too few for an interval of 95%"):
        interval([1.0] * 5)


@given(st.lists(st.floats(0.5, 2.0), min_size=6, max_size=80))
def test_the_interval_holds_the_median(ratios):
    found = interval(ratios)
    assert found.low <= found.centre <= found.high


def test_the_interval_covers_the_true_median_in_95_of_100_skewed_samples():
    rng = random.Random(4)
    covered = 0
    for _ in range(1000):
        found = interval([math.exp(rng.expovariate(1.0)) for _ in range(25)])
        covered += found.low <= math.exp(math.log(2)) <= found.high
    assert 935 <= covered <= 985  # 95.7 % by construction


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.99, 1.01, "agrees"),
        (0.981, 1.019, "agrees"),
        (0.97, 1.0, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (1.01, 1.03, "inconclusive"),
        (1.021, 1.03, "differs"),
        (0.9, 0.979, "differs"),
    ],
)
def test_a_straddling_interval_is_inconclusive(low, high, verdict):
    assert Ratio((low + high) / 2, low, high).verdict == verdict


def test_every_round_asks_every_contender_once_and_the_first_round_is_dropped():
    asked = []

    def contender(number):
        def block():
            asked.append(number)
            return float(number)

        return block

    rows = fidelity.compare([contender(n) for n in range(3)], 20, random.Random(1))
    assert rows == [[0.0, 1.0, 2.0]] * 20
    rounds = [asked[i : i + 3] for i in range(0, len(asked), 3)]
    assert all(sorted(order) == [0, 1, 2] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 3


def test_fewer_than_twenty_rounds_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        fidelity.main(["--rounds", "19"])
    assert stop.value.code == 2
    assert "fewer than 20 say too little" in capsys.readouterr().err
