"""How numbers are written for people."""

from __future__ import annotations

from math import floor, log10

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float, digits: int) -> str:
    """`value` to so many significant digits, integers in full: 45,678 or 12.3 or 0.0479; tiny ones as 4.79e-05."""
    if value == 0:
        return "0"
    exponent = floor(log10(abs(value)))
    if exponent < -4:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - floor(log10(abs(round(value, digits - 1 - exponent)))))
    return f"{value:,.{decimals}f}"


def si(value: float, unit: str = "") -> str:
    """Three significant digits and a decimal prefix: "52.1 GB", "999 B"; without a unit "52.1 G", "999"."""
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if abs(value) >= factor), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{unit}".rstrip()
