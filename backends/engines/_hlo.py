"""What a compiled program of XLA multiplies, read from the text of its optimised HLO. Holds no part.

Inside a fusion an instruction stands as it does outside, so the text has every product of the program once.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

TYPES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "s8": "int8", "u8": "int8", "s32": "int32", "s4": "int4"}
"""XLA's primitive types (xla/xla_data.proto) by the names of precisions; int32 is what int8 was widened to."""
COMPUTATION = re.compile(r"^\S.*\{$")
DEFINED = re.compile(r"^\s+(?:ROOT )?%(\S+) = (\w+)\[")
PRODUCT = re.compile(r" (dot|convolution|custom-call)\(%([^\s,()]+), %([^\s,()]+)")
LIBRARY = re.compile(r'custom_call_target="[^"]*(?:gemm|matmul|conv)', re.IGNORECASE)
"""Products that a library computes, such as oneDNN on a CPU ("__onednn$matmul")."""


@dataclass(frozen=True)
class Products:
    """Matrix products and convolutions by what they multiply, and in XLA's own words ("dot s8 x s8 -> s32")."""

    kernels: Counter[str]
    names: Counter[str]


def products(text: str) -> Products:
    """Of a program as `compiled.as_text()` gives it. What a loop repeats is counted once."""
    found = Products(Counter(), Counter())
    types: dict[str, str] = {}
    for line in text.splitlines():
        if COMPUTATION.match(line):
            types = {}  # names are unique within a computation only
        defined = DEFINED.match(line)
        if defined is None:
            continue
        types[defined[1]] = defined[2]
        product = PRODUCT.search(line)
        if product is not None and (product[1] != "custom-call" or LIBRARY.search(line)):
            left, right = (types.get(name, "unknown") for name in product.groups()[1:])
            found.kernels[_kind(left, right)] += 1
            found.names[f"{product[1]} {left} x {right} -> {defined[2]}"] += 1
    return found


def _kind(left: str, right: str) -> str:
    kinds = {TYPES.get(one, "fp8" if one.startswith("f8") else one) for one in (left, right)}
    return " by ".join(sorted(kinds))
