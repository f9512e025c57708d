"""From evidence to reason codes to a verdict. Nothing else decides what may be trusted.

| code | severity | when |
|---|---|---|
| outputs_unchecked | invalid | no output was compared with golden; noisy: fewer than 12 were |
| not_finite | invalid | an output held NaN or infinity |
| outputs_wrong | invalid | an output is nearer to another sample's golden, or further from its own than allowed |
| quality_below_floor | invalid | the card's quality metric is on the wrong side of its floor |
| placement_not_proved | invalid | a share of the graph ran elsewhere than on the device asked for, or nobody knows |
| never_stabilised | noisy | the warm-up ended at its time limit, not because latencies had settled |
| drift | noisy | a quarter of the window deviates by more than 5 % from the whole |
| too_few_samples | noisy | not enough queries for the scenario's figure |
| machine_drift | noisy | the calibration kernels shifted by more than 3 % between before and after |
| stolen_time | noisy | the hypervisor took more than 5 % of the time during the window |
| wide_interval | noisy | over repeats: the half-width of the interval is more than 5 % |
| repeats_failed | noisy | over repeats: some were measured and others failed |
| no_figures | invalid | over repeats: a measured one has samples that cannot be read |

A result with an invalid reason is invalid, else one with a noisy reason is noisy, else it is valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from statistics import median

from results.record import Calibration, OutputCheck, Reason, Record, Verdict

DRIFT_ALLOWED = 0.05
HALF_WIDTH_ALLOWED = 0.05
MACHINE_DRIFT_ALLOWED = 0.03
STEAL_ALLOWED_PERCENT = 5.0
CHECKED_OUTPUTS = 12
MIN_QUERIES = {"latency_ns": 64, "done_ns": 50}
"""64 latencies support a p90, MLPerf's single-stream figure (`stats.needed`); 50 completions make one of them 2 %."""

_KERNELS = ("integer_ns", "sgemm_ns", "memcpy_ns")


@dataclass(frozen=True)
class Figures:
    """What the samples say, as far as a verdict needs it."""

    queries: int
    drift: float | None


def judge(record: Record, figures: Figures) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict on an `ok` record, with every reason for it."""
    reasons = tuple(
        reason for check in (_outputs, _quality, _placement, _window, _machine) for reason in check(record, figures)
    )
    return verdict_of(reasons), reasons


def verdict_of(reasons: Iterable[Reason]) -> Verdict:
    """The worst severity decides."""
    severities = {reason.severity for reason in reasons}
    return "invalid" if "invalid" in severities else "noisy" if "noisy" in severities else "valid"


def judge_repeats(half_width: float | None, failed: int, unread: int, repeats: int) -> tuple[Reason, ...]:
    """Reasons that only the repeats of a row together give.

    `half_width` is relative, None where there is no interval; of `repeats`, `failed` were not measured and `unread`
    were, but have no summary.
    """
    reasons = []
    if half_width is not None and half_width > HALF_WIDTH_ALLOWED:
        detail = f"95 % interval of ±{half_width:.1%} over repeats; {HALF_WIDTH_ALLOWED:.0%} is allowed"
        reasons.append(Reason(code="wide_interval", severity="noisy", detail=detail))
    if failed:
        detail = f"{failed} of {repeats} repeats gave no result"
        reasons.append(Reason(code="repeats_failed", severity="noisy", detail=detail))
    if unread:
        detail = f"{unread} of {repeats} repeats have samples that cannot be read"
        reasons.append(Reason(code="no_figures", severity="invalid", detail=detail))
    return tuple(reasons)


def machine_shift(calibration: Iterable[Calibration]) -> float | None:
    """How much slower (+) or faster (-) the machine became, as a fraction; None without both moments.

    Per kernel the median after over the median before; of the three kernels the median, so that one disturbed kernel
    proves nothing and two that moved together do.
    """
    entries = tuple(calibration)
    ratios = []
    for kernel in _KERNELS:
        before = [getattr(entry, kernel) for entry in entries if entry.moment == "before"]
        after = [getattr(entry, kernel) for entry in entries if entry.moment == "after"]
        if not before or not after or not median(before):
            return None
        ratios.append(median(after) / median(before))
    return float(median(ratios)) - 1


def _outputs(record: Record, _: Figures) -> Iterator[Reason]:
    outputs = record.evidence.outputs if record.evidence else None
    if outputs is None:
        why = record.evidence.missing["outputs"] if record.evidence else "the record has no evidence"
        yield Reason(
            code="outputs_unchecked", severity="invalid", detail=f"outputs were not compared with golden: {why}"
        )
        return
    if not outputs.finite:
        yield Reason(code="not_finite", severity="invalid", detail="an output holds NaN or infinity")
    faults = list(output_faults(outputs))
    if faults:
        yield Reason(code="outputs_wrong", severity="invalid", detail="; ".join(faults))
    if outputs.n < CHECKED_OUTPUTS:
        few = f"{outputs.n} outputs were compared with golden; {CHECKED_OUTPUTS} tell a wrong sample from a right one"
        yield Reason(code="outputs_unchecked", severity="noisy", detail=few)


def output_faults(outputs: OutputCheck) -> Iterator[str]:
    if outputs.identity_hits < outputs.n:
        yield f"{outputs.n - outputs.identity_hits} of {outputs.n} outputs are nearer to another sample's golden"
    if outputs.centred_cosine_min < outputs.cosine_required:
        yield f"centred cosine {outputs.centred_cosine_min:.6g} is below the required {outputs.cosine_required:.6g}"
    allowed = outputs.relative_error_allowed
    if allowed is not None and outputs.relative_error_max > allowed:
        yield f"relative error {outputs.relative_error_max:.3g} is over the allowed {allowed:.3g}"


def _quality(record: Record, _: Figures) -> Iterator[Reason]:
    card, result = record.card.quality, record.evidence.quality if record.evidence else None
    if card is None or card.floor is None or result is None:
        return
    below = result.value < card.floor if card.better == "higher" else result.value > card.floor
    if below:
        side = "below" if card.better == "higher" else "above"
        detail = f"{card.metric} {result.value:.4g} {card.unit} is {side} its floor {card.floor:.4g} (n={result.n})"
        yield Reason(code="quality_below_floor", severity="invalid", detail=detail)


def _placement(record: Record, _: Figures) -> Iterator[Reason]:
    placement = record.evidence.placement if record.evidence else None
    if placement is None:
        detail = "nothing proves that the work ran on the device asked for"
        yield Reason(code="placement_not_proved", severity="invalid", detail=detail)
    elif placement.share < 1:
        detail = f"{placement.share:.1%} of the graph ran on {placement.device}: {placement.proof[:200]}"
        yield Reason(code="placement_not_proved", severity="invalid", detail=detail)


def _window(record: Record, figures: Figures) -> Iterator[Reason]:
    window = record.window
    if window is None:
        return
    if not window.warmup_stable:
        detail = (
            f"latencies had not settled after {window.warmup_queries} warm-up queries in {window.warmup_ns / 1e9:.2f} s"
        )
        yield Reason(code="never_stabilised", severity="noisy", detail=detail)
    if figures.queries < MIN_QUERIES[window.samples_kind]:
        detail = f"{figures.queries} queries; {MIN_QUERIES[window.samples_kind]} are needed"
        yield Reason(code="too_few_samples", severity="noisy", detail=detail)
    if figures.drift is not None and isfinite(figures.drift) and figures.drift > DRIFT_ALLOWED:
        detail = (
            f"a quarter of the window deviates by {figures.drift:.1%} from the whole; {DRIFT_ALLOWED:.0%} is allowed"
        )
        yield Reason(code="drift", severity="noisy", detail=detail)


def _machine(record: Record, _: Figures) -> Iterator[Reason]:
    shift = machine_shift(record.context.calibration)
    if shift is not None and abs(shift) > MACHINE_DRIFT_ALLOWED:
        way = "slower" if shift > 0 else "faster"
        detail = f"the calibration kernels became {abs(shift):.1%} {way}; {MACHINE_DRIFT_ALLOWED:.0%} is allowed"
        yield Reason(code="machine_drift", severity="noisy", detail=detail)
    for conditions in record.context.conditions:
        stolen = conditions.steal_percent
        if conditions.moment == "during" and stolen is not None and stolen > STEAL_ALLOWED_PERCENT:
            detail = f"{stolen:.1f} % of the time was stolen by other guests; {STEAL_ALLOWED_PERCENT:g} % are allowed"
            yield Reason(code="stolen_time", severity="noisy", detail=detail)
