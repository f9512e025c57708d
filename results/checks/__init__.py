"""From evidence to reason codes to a verdict. Nothing else decides what may be trusted.

| code | severity | when |
|---|---|---|
| outputs_unchecked | invalid | no output was compared with golden; noisy: fewer than 12 were, or of an estimate |
| not_finite | invalid | an output held NaN or infinity |
| outputs_wrong | invalid | an output is nearer to another sample's golden, or further from its own than allowed |
| timed_outputs_wrong | invalid | likewise, or NaN or infinity, of an output that was kept from the timed window |
| timed_outputs_unchecked | noisy | no output of the timed window could be checked |
| caching_suspected | invalid | repeating one input is surely over 10 % faster than rotating inputs (MLPerf's TEST04) |
| quality_below_floor | invalid | the card's quality metric is on the wrong side of its floor |
| does_not_train | invalid | steps of training did not lower the loss, or did not reach and change every parameter |
| placement_not_proved | invalid | a share of the graph ran elsewhere than on the device asked for, or nobody knows |
| precision_not_executed | invalid | by the engine's profile, under half of its kernels ran in that precision |
| precision_unproved | note | the engine does not tell what it executed, and the precision is not fp32 |
| never_stabilised | noisy | the warm-up ended at its time limit, not because latencies had settled |
| drift | noisy | a quarter of the window deviates by more than 5 % from the whole |
| too_few_samples | noisy | not enough queries for the scenario's figure |
| heavy_tail | note | the mean is over 1.25 times the median: a few slow queries take much of the time |
| host_bound | note | a run takes the host 1.25 times as long as the device worked, or handing it over 0.8 of that |
| link_bound | note | moving inputs and outputs takes as long as the run, or longer |
| generator_bound | invalid | the load generator was late, or issued too little; noisy: in under 1,000 queries |
| bound_missed | invalid | more queries of a server's window exceeded the latency bound than the bound allows |
| loadgen_invalid | invalid | MLPerf's LoadGen calls the run invalid; noisy: only because too few queries prove it |
| page_cache_warm | noisy | a cold start from a cold page cache found over 5 % of its files in memory |
| not_official | note | LoadGen was driven for less than MLPerf's durations |
| machine_drift | noisy | the calibration kernels shifted by more than 3 % between before and after |
| stolen_time | noisy | the hypervisor took more than 5 % of the time during the window |
| other_load | noisy | other processes used more than 5 % of the processors during the window |
| memory_pressure | noisy | less than a tenth of the memory was left during the window |
| thermal_throttling | noisy | the device names a thermal reason, or the host's throttle counter rose |
| clock_throttling | noisy | the device names another reason, or a clock fell by more than 10 % in the window |
| device_shared | noisy | others used the device before, during or after the window |
| device_memory_leaked | noisy | over 64 MiB more of the device's memory are in use after the item than before |
| power_invalid | note | the power readings do not support an energy figure; speed is not concerned |
| wide_interval | noisy | over repeats: the half-width of the interval is more than 5 % |
| repeats_failed | noisy | over repeats: some were measured and others failed |
| no_figures | invalid | over repeats: a measured one has samples that cannot be read |

A result with an invalid reason is invalid, else one with a noisy reason is noisy, else it is valid: a note says what a
number is and never changes its verdict. Whatever the verdict, the number is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.checks import load, machine, outputs, training, window
from results.checks.machine import machine_shift
from results.checks.outputs import output_faults
from results.checks.reasons import Check, Figures, invalid, noisy
from results.record import Reason, Record, Verdict

__all__ = ["Figures", "judge", "judge_repeats", "machine_shift", "output_faults", "verdict_of"]

HALF_WIDTH_ALLOWED = 0.05
TIMED = (*window.CHECKS, *load.CHECKS, *machine.CHECKS)


def judge(record: Record, figures: Figures) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict on an `ok` record, with every reason for it."""
    reasons = tuple(reason for check in _checks(record) for reason in check(record, figures))
    return verdict_of(reasons), reasons


def _checks(record: Record) -> tuple[Check, ...]:
    """Nothing is timed in an estimate, and nothing answered in training."""
    what = training.CHECKS if record.identity.mode == "train" else outputs.CHECKS
    return what if record.window is None else (*what, *TIMED)


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
        reasons.append(noisy("wide_interval", detail))
    if failed:
        reasons.append(noisy("repeats_failed", f"{failed} of {repeats} repeats gave no result"))
    if unread:
        reasons.append(invalid("no_figures", f"{unread} of {repeats} repeats have samples that cannot be read"))
    return tuple(reasons)
