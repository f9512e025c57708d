"""Paired tests of grades: known values, symmetry, and whether 95 % is 95 %."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from results import paired
from results.paired import Grades, NotPaired, bootstrap, change, mcnemar, shift_of
from results.record import Quality

ACCURACY = Quality(metric="accuracy", unit="fraction", better="higher")
ERRORS = Quality(metric="error rate", unit="fraction", better="lower")
PERPLEXITY = Quality(metric="perplexity", unit="per byte", better="lower")

numbers = arrays(np.float64, st.integers(3, 40), elements=st.floats(0.01, 8))
counts = st.integers(0, 60)


def grades(n: int, before: int, gained: int, lost: int) -> tuple[Grades, Grades]:
    """`before` of n examples right, of which `lost` become wrong, and `gained` of the others right."""
    first = (np.arange(n) < before).astype(float)
    second = first.copy()
    second[:lost] = 0
    second[before : before + gained] = 1
    return first, second


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (1, 7, 0.0390625),  # Fagerland et al. 2013, table 1 (airway hyper-responsiveness): mid-p 0.039
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 0.03125),  # by hand: 2 (1/2) 2^-5
        (3, 0, 0.125),  # by hand: 2 (1/2) 2^-3
    ],
)
def test_mcnemars_mid_p_has_the_published_values(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p, abs=1e-12)


def test_mcnemars_p_of_many_examples_goes_over_into_the_normal_smoothly() -> None:
    below, above = mcnemar(469, 530), mcnemar(470, 531)
    assert above == pytest.approx(below, rel=5e-3)


@given(counts, counts)
def test_mcnemar_knows_no_sides_and_is_a_probability(gained: int, lost: int) -> None:
    assert mcnemar(gained, lost) == mcnemar(lost, gained)
    assert 0 < mcnemar(gained, lost) <= 1


@given(numbers, st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_exchanging_the_sides_turns_the_bootstrap_round(values: Grades, seed: int) -> None:
    one, other = (bootstrap(sign * (values - 4), 500, seed) for sign in (1, -1))
    assert one.value == -other.value
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)


@given(st.integers(2, 400), counts, counts)
def test_exchanging_the_sides_turns_an_accuracy_round(wide: int, gained: int, lost: int) -> None:
    first, second = grades(gained + lost + wide, lost + wide // 2, gained, lost)
    one, other = shift_of(first, second), shift_of(second, first)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p_value == other.p_value


@given(numbers)
@settings(max_examples=30)
def test_equal_grades_have_changed_nothing(values: Grades) -> None:
    found = change(PERPLEXITY, values, values.copy(), 0.01)
    assert (found.loss, found.low, found.high, found.shift.changed, found.outcome) == (0, 0, 0, 0, "no worse")


def test_equal_answers_of_few_examples_leave_a_loss_possible() -> None:
    """That none of 30 examples changed does not show that none of 1,000 will."""
    first, second = grades(30, 28, 0, 0)
    assert change(ACCURACY, first, second, 0.01).outcome == "undecided"
    first, second = grades(850, 849, 0, 0)
    found = change(ACCURACY, first, second, 0.01)
    assert (found.loss, found.outcome) == (0, "no worse")
    assert 0 < found.high < 0.004


def test_a_coverage_of_accuracies_is_what_it_says() -> None:
    """2,000 studies of 300 examples, of which 4 % get lost and 2 % gained."""
    rng = np.random.default_rng(1)
    table = rng.multinomial(300, [0.02, 0.04, 0.94], 2000)
    found = [paired._of_counts(300, int(gained), int(lost)) for gained, lost, _ in table]
    assert 0.93 <= np.mean([one.low <= -0.02 <= one.high for one in found]) <= 0.97


def test_a_coverage_of_the_bootstrap_is_what_it_says() -> None:
    """500 studies of 120 examples whose grades change by a skewed amount, 0.1 on average."""
    rng = np.random.default_rng(2)
    found = [bootstrap(rng.gamma(2, 0.5, 120) - 0.9, 1000) for _ in range(500)]
    assert 0.93 <= np.mean([one.low <= 0.1 <= one.high for one in found]) <= 0.97


def test_a_perplexity_is_exp_of_the_mean_and_its_loss_what_is_not_kept() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(log(4.0), 0.2, 240)
    found = change(PERPLEXITY, first, first + log(1.25), 0.01)
    assert found.after / found.before == pytest.approx(1.25)
    assert found.before == pytest.approx(exp(first.mean()))
    assert found.loss == pytest.approx(0.2)
    assert found.outcome == "worse"
    kept = change(PERPLEXITY, first, first - np.log(1 / 0.99), 0.01)
    assert kept.outcome == "no worse"
    assert kept.loss < 0


def test_the_way_the_metric_runs_decides_what_a_loss_is() -> None:
    first, second = grades(500, 400, 0, 20)
    fewer = change(ACCURACY, first, second, 0.01)
    assert fewer.loss == pytest.approx(0.05)
    assert fewer.outcome == "worse"
    errors = change(ERRORS, first, second, 0.01)
    assert (errors.outcome, errors.loss < 0) == ("no worse", True)


def test_the_examples_that_would_decide_do_decide() -> None:
    first, second = grades(400, 380, 3, 4)
    found = change(ACCURACY, first, second, 0.01)
    assert (found.outcome, found.needed is not None) == ("undecided", True)
    assert found.needed is not None
    factor = -(-found.needed // 400)
    first, second = grades(400 * factor, 380 * factor, 3 * factor, 4 * factor)
    assert change(ACCURACY, first, second, 0.01).outcome == "no worse"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (np.ones(5), np.ones(4), "graded on 4 examples, the baseline on 5: no pairs"),
        (np.ones(1), np.ones(1), "graded on 1 example: too few for an interval"),
        (np.ones(3), np.array([1, np.nan, 0]), "a grade is not finite"),
    ],
)
def test_what_is_no_pair_is_refused_with_why(before: Grades, after: Grades, why: str) -> None:
    with pytest.raises(NotPaired) as refused:
        change(ACCURACY, before, after, 0.01)
    assert str(refused.value) == why


def test_resampling_many_grades_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks, and the result does not depend on how large they are but for the draws."""
    rng = np.random.default_rng(4)
    values = rng.normal(0.1, 1, 2000)
    whole = bootstrap(values, 400)
    monkeypatch.setattr(paired, "CHUNK", 4000)
    parts = bootstrap(values, 400)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))
