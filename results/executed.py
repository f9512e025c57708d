"""What an engine executed, held against the precision that a record claims (`results.evidence.Kernels`)."""

from __future__ import annotations

from collections.abc import Mapping

from results.record import Kernels, Record

WEIGHTS = " weights"
UNTOLD = {"tf32": "a profile does not tell TF32 from fp32"}


def share_at(kernels: Kernels, precision: str) -> float | None:
    """The part of matrix products and convolutions that ran in `precision`: of their time or their number, the larger.

    Kernels that are fast take a small share of the time, and many small ones may be a small share of the work.
    Weights that are only kept in it count, as multiplying them is what storing them so is for; and uint8 is int8.
    None where there is none of these kernels.
    """
    counts = {name: float(count) for name, count in kernels.kernels.items()}
    shares = [_share(found, precision) for found in (counts, kernels.time_share or {}) if sum(found.values())]
    return max(shares, default=None)


def _share(by_kernel: Mapping[str, float], precision: str) -> float:
    mine = sum(value for name, value in by_kernel.items() if name.removesuffix(WEIGHTS).removeprefix("u") == precision)
    return mine / sum(by_kernel.values())


def proved(record: Record) -> tuple[float | None, str]:
    """`share_at` of the record's own precision, or None and why nobody knows."""
    evidence, precision = record.evidence, record.identity.precision
    if evidence is None:
        return None, "the record has no evidence"
    if evidence.kernels is None:
        return None, evidence.missing["kernels"]
    if precision in UNTOLD:
        return None, UNTOLD[precision]
    share = share_at(evidence.kernels, precision)
    return share, "" if share is not None else "its profile names no matrix product and no convolution"
