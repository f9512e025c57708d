"""The page's colours, one table per theme, and the arithmetic that proves them legible.

Charts are drawn in placeholder colours; `css` gives each placeholder its value as a CSS variable, so that one SVG
serves light, dark and print. Series follow Okabe and Ito's colour-blind-safe palette (jfly.uni-koeln.de/color, 2008),
darkened or lightened where a theme's background needs it.
"""

from __future__ import annotations

SERIES = 7
BINS = 9
MIDDLE_BIN = BINS // 2

LIGHT = {
    "bg": "#ffffff", "fg": "#1b1f24", "mut": "#57606a", "line": "#d5dae0", "rule": "#8c959f", "card": "#f6f8fa",
    "acc": "#0757b5", "good": "#0f6a2c", "warn": "#7d4e00", "bad": "#a40e26",
    "s0": "#0072b2", "s1": "#c75300", "s2": "#008663", "s3": "#b0568a", "s4": "#9a6a00", "s5": "#2f86bd",
    "s6": "#6f6a00",
}  # fmt: skip
DARK = {
    "bg": "#0f1419", "fg": "#e6edf3", "mut": "#9aa7b4", "line": "#2d343c", "rule": "#6b7683", "card": "#161c23",
    "acc": "#79b8ff", "good": "#56d364", "warn": "#e3b341", "bad": "#ff938a",
    "s0": "#4aa8e0", "s1": "#f0843c", "s2": "#2fc096", "s3": "#dd93bd", "s4": "#e69f00", "s5": "#8fcdf2",
    "s6": "#e2d84a",
}  # fmt: skip

HEAT_LIGHT = ("#a84a00", "#d07a2c", "#e9aa6c", "#f6d9bb", "#eef1f4", "#c9dff0", "#94c2e3", "#4f97cb", "#0f63a5")
HEAT_DARK = ("#f2995a", "#c9702f", "#8f4d1e", "#553119", "#2a323b", "#1c3e59", "#1f5a86", "#2872a8", "#7cc0f5")


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21, WCAG 2.2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink(background: str) -> str:
    """Black or white, whichever reads better on `background`."""
    return max(("#11161b", "#ffffff"), key=lambda colour: contrast(colour, background))


def variables(theme: str) -> dict[str, str]:
    """Every CSS variable of "light" or "dark": `h0`... are heat-map fills, `t0`... the text on them."""
    colours, heat = (LIGHT, HEAT_LIGHT) if theme == "light" else (DARK, HEAT_DARK)
    fills = {f"h{i}": colour for i, colour in enumerate(heat)}
    return {**colours, **fills, **{f"t{i}": ink(colour) for i, colour in enumerate(heat)}}


def css() -> str:
    """The variables for both themes; paper is always light."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in variables(t).items()) for t in ("light", "dark"))
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}"
    )
