"""What a name in a record may be and says, for those too who cannot wait for pydantic to be imported."""

from __future__ import annotations

import re

LENGTH_MAX = 160
COMPILE = "compile"
"""The scenario of what is only compiled for: the device is not here, and nothing is run."""
CONTROLS = ("distill-scratch", "fuse-off", "int3-rounded")
"""Techniques that are measured to compare with, and never recommended: a record does not say which."""
_CHARACTERS = r"A-Za-z0-9 ._:/+@()\[\]=,>%#~*-"
PATTERN = rf"[A-Za-z0-9][{_CHARACTERS}]{{0,{LENGTH_MAX - 1}}}"


def is_name(text: str) -> bool:
    return re.fullmatch(PATTERN, text) is not None


def is_control(technique: str) -> bool:
    """Whether a control is among the techniques that are joined by a plus."""
    return not {*technique.split("+")}.isdisjoint(CONTROLS)


def scenario_name(scenario: str) -> str:
    """A scenario without its parameters: of `server(rate=40)`, server."""
    return scenario.partition("(")[0]


def cleaned(text: str) -> str:
    """`text` as a name: other characters become "_", and it is neither empty nor too long."""
    kept = re.sub(f"[^{_CHARACTERS}]+", "_", text.strip())
    return re.sub(r"\A[^A-Za-z0-9]+", "", kept)[:LENGTH_MAX].rstrip() or "unknown"
