from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.numbers import si, significant


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0, 3, "0"), (45678, 3, "45,678"), (1234567.8, 3, "1,234,568"), (12.345, 3, "12.3"), (0.04791, 3, "0.0479"),
     (999.96, 3, "1,000"), (9.996, 3, "10.0"), (0.000047912, 3, "4.79e-05"), (-3.14159, 3, "-3.14"),
     (0.999998, 6, "0.999998"), (5, 1, "5"), (0.5, 1, "0.5")],
)  # fmt: skip
def test_significant(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@given(st.floats(1e-12, 1e12), st.integers(2, 8))
def test_significant_is_near(value: float, digits: int) -> None:
    assert float(significant(value, digits).replace(",", "")) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(52.13e9, "", "52.1 G"), (1.5e12, "FLOP/s", "1.5 TFLOP/s"), (999, "", "999"), (999, "B", "999 B"), (0, "B", "0 B"),
     (2e3, "", "2 k"), (-2e3, "", "-2 k")],
)  # fmt: skip
def test_si(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text
