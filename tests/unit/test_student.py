from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from results.student import student_t


@pytest.mark.parametrize(
    ("freedom", "two_sided_90", "two_sided_95", "two_sided_99"),
    [
        (1, 6.313752, 12.706205, 63.656741),
        (2, 2.919986, 4.302653, 9.924843),
        (4, 2.131847, 2.776445, 4.604095),
        (9, 1.833113, 2.262157, 3.249836),
        (30, 1.697261, 2.042272, 2.749996),
        (120, 1.657651, 1.979930, 2.617421),
        (1e6, 1.644856, 1.959966, 2.575835),
    ],
)
def test_printed_tables(freedom: float, two_sided_90: float, two_sided_95: float, two_sided_99: float) -> None:
    found = [student_t(p, freedom) for p in (0.95, 0.975, 0.995)]
    assert found == pytest.approx([two_sided_90, two_sided_95, two_sided_99], abs=2e-6)


@given(st.floats(0.001, 0.999))
@example(0.5)
@example(0.999999)
def test_closed_forms(p: float) -> None:
    """One degree of freedom is Cauchy's distribution; two have the quantile (2p-1) sqrt(2 / (4p(1-p)))."""
    assert student_t(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-8, abs=1e-9)
    assert student_t(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-8, abs=1e-9)


@given(st.floats(0.501, 0.9999), st.lists(st.floats(1, 500), min_size=2, max_size=5, unique=True))
def test_falls_with_the_degrees_of_freedom(p: float, freedoms: list[float]) -> None:
    found = [student_t(p, freedom) for freedom in sorted(freedoms)]
    assert all(earlier >= later - 1e-9 for earlier, later in pairwise(found))


@pytest.mark.parametrize(("p", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0), (0.5, -1)])
def test_nonsense_is_refused(p: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        student_t(p, freedom)
