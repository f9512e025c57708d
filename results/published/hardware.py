"""What the catalog calls hardware that published tables name in their own words."""

from __future__ import annotations

import re
from functools import lru_cache

from results import catalog

ALIASES = (
    (r"\bT4\b", "NVIDIA T4"), (r"\bL4(-PCIe)?\b", "NVIDIA L4"), (r"\bL40S\b", "NVIDIA L40S"),
    (r"\bA10G\b", "NVIDIA A10G"),
    (r"A100-SXM4?-80", "NVIDIA A100-SXM4-80GB"), (r"A100-SXM4?-40", "NVIDIA A100-SXM4-40GB"),
    (r"A100-PCIe-80", "NVIDIA A100-PCIe-80GB"), (r"A100-PCIe-40", "NVIDIA A100-PCIe-40GB"),
    (r"H100-SXM", "NVIDIA H100-SXM5-80GB"), (r"H100-PCIe", "NVIDIA H100-PCIe-80GB"),
    (r"H200-SXM", "NVIDIA H200-SXM-141GB"), (r"\bB200-SXM", "NVIDIA B200"), (r"\bMI300X\b", "AMD MI300X"),
    (r"TPU.?v4\b", "Google TPU v4"), (r"TPU.?v5e\b", "Google TPU v5e"), (r"TPU.?v5p\b", "Google TPU v5p"),
    (r"TPU.?v6e\b", "Google TPU v6e"),
    (r"\binf1\b|Inferentia1\b", "AWS Inferentia1"), (r"\binf2\b|Inferentia2\b", "AWS Inferentia2"),
    (r"Coral USB Accelerator \(USB 3", "Coral Edge TPU (USB 5000 Mb/s)"),
    (r"Coral .*\(PCIe\)", "Coral Edge TPU (PCIe)"), (r"165H.*iGPU", "Intel Core Ultra 7 165H iGPU"),
)  # fmt: skip
"""Patterns of names, and the catalog's device. Two kinds of accelerator in one figure are no device of it."""


@lru_cache(maxsize=4096)
def device_of(hardware: str) -> str | None:
    """The catalog's name; None for what it does not have."""
    if catalog.device(hardware):
        return hardware
    if "Virtualized" in hardware or "(x" in hardware:
        return None
    return next((name for pattern, name in ALIASES if re.search(pattern, hardware, re.IGNORECASE)), None)
