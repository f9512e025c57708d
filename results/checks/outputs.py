"""Is it the right computation, made anew each time, by the device that is named?"""

from __future__ import annotations

from collections.abc import Iterator

from results.checks.reasons import Check, Figures, invalid, noisy, note
from results.executed import proved
from results.record import OutputCheck, Reason, Record

CHECKED_OUTPUTS = 12
EXECUTED_MIN = 0.5
"""Of matrix products and convolutions: engines leave those out that they are slower at, or that lose too much."""
FASTER_ALLOWED = 1.10
"""How much faster one repeated input may be: MLPerf's TEST04 (compliance/TEST04 in mlcommons/inference)."""


def output_faults(outputs: OutputCheck) -> Iterator[str]:
    """What is wrong with outputs that were compared with golden."""
    if outputs.identity_hits < outputs.n:
        yield f"{outputs.n - outputs.identity_hits} of {outputs.n} outputs are nearer to another sample's golden"
    if outputs.centred_cosine_min < outputs.cosine_required:
        yield f"centred cosine {outputs.centred_cosine_min:.6g} is below the required {outputs.cosine_required:.6g}"
    allowed = outputs.relative_error_allowed
    if allowed is not None and outputs.relative_error_max > allowed:
        yield f"relative error {outputs.relative_error_max:.3g} is over the allowed {allowed:.3g}"


def _asked(record: Record, _: Figures) -> Iterator[Reason]:
    outputs = record.evidence.outputs if record.evidence else None
    if outputs is None:
        why = record.evidence.missing["outputs"] if record.evidence else "the record has no evidence"
        severity = invalid if record.estimate is None else noisy  # no output is part of a prediction
        yield severity("outputs_unchecked", f"outputs were not compared with golden: {why}")
        return
    if not outputs.finite:
        yield invalid("not_finite", "an output holds NaN or infinity")
    faults = list(output_faults(outputs))
    if faults:
        yield invalid("outputs_wrong", "; ".join(faults))
    if outputs.n < CHECKED_OUTPUTS:
        few = f"{outputs.n} outputs were compared with golden; {CHECKED_OUTPUTS} tell a wrong sample from a right one"
        yield noisy("outputs_unchecked", few)


def _timed(record: Record, _: Figures) -> Iterator[Reason]:
    """MLPerf's TEST01. Where no output at all was compared, `outputs_unchecked` has said so."""
    evidence = record.evidence
    timed = evidence.timed_outputs if evidence else None
    if timed is not None and timed.n:
        faults = [*(() if timed.finite else ("an output holds NaN or infinity",)), *output_faults(timed)]
        if faults:
            yield invalid("timed_outputs_wrong", f"in the timed window: {'; '.join(faults)}")
    elif evidence is not None and evidence.outputs is not None and record.window is not None:
        why = "none was kept" if timed else evidence.missing["timed_outputs"]
        yield noisy("timed_outputs_unchecked", f"no output of the timed window was checked: {why}")


def _caching(record: Record, _: Figures) -> Iterator[Reason]:
    same = record.evidence.same_input if record.evidence else None
    if same is not None and same.high < 1 / FASTER_ALLOWED:
        detail = f"one repeated input takes {same.ratio:.3f} of the time of rotating inputs"
        interval = f"95 % interval {same.low:.3f} to {same.high:.3f}, {same.pairs} pairs"
        yield invalid("caching_suspected", f"{detail} ({interval}); {1 / FASTER_ALLOWED:.3f} is allowed")


def _quality(record: Record, _: Figures) -> Iterator[Reason]:
    card, result = record.card.quality, record.evidence.quality if record.evidence else None
    if card is None or card.floor is None or result is None:
        return
    below = result.value < card.floor if card.better == "higher" else result.value > card.floor
    if below:
        side = "below" if card.better == "higher" else "above"
        detail = f"{card.metric} {result.value:.4g} {card.unit} is {side} its floor {card.floor:.4g} (n={result.n})"
        yield invalid("quality_below_floor", detail)


def placement(record: Record, _: Figures) -> Iterator[Reason]:
    placement = record.evidence.placement if record.evidence else None
    if placement is None:
        yield invalid("placement_not_proved", "nothing proves that the work ran on the device asked for")
    elif placement.share < 1:
        detail = f"{placement.share:.1%} of the graph ran on {placement.device}: {placement.proof[:200]}"
        yield invalid("placement_not_proved", detail)


def executed(record: Record, _: Figures) -> Iterator[Reason]:
    """By what the engine executed. fp32 too: some engines compute in less where they may. No proof is no fault."""
    if record.window is None:
        return
    precision, (share, why) = record.identity.precision, proved(record)
    if share is None:
        if precision != "fp32":
            yield note("precision_unproved", f"nothing proves that it computed in {precision}: {why}")
    elif share < EXECUTED_MIN and record.evidence and record.evidence.kernels:
        ran = ", ".join(f"{n} in {name}" for name, n in sorted(record.evidence.kernels.kernels.items()))
        detail = f"{share:.0%} of matrix products and convolutions ran in {precision}, by time or by number: {ran}"
        yield invalid("precision_not_executed", f"{detail}; {EXECUTED_MIN:.0%} are needed")


CHECKS: tuple[Check, ...] = (_asked, _timed, _caching, _quality, placement, executed)
