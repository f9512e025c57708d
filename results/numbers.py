"""How numbers are written for people."""

from __future__ import annotations

from math import floor, log10

BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
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


def count(value: float) -> str:
    """A whole number in full, as in 1,184,000; of a median between two with its half."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def binary(size_bytes: float) -> str:
    """Three significant digits and a binary prefix: "41.0 KiB", "16.0 GiB", "999 B"."""
    factor, unit = next(((factor, unit) for factor, unit in BINARY if size_bytes >= factor), (1, "B"))
    return f"{significant(size_bytes / factor, 3)} {unit}"


def si(value: float, unit: str = "") -> str:
    """Three significant digits and a decimal prefix: "52.1 GB", "999 B"; without a unit "52.1 G", "999"."""
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if abs(value) >= factor), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{unit}".rstrip()
