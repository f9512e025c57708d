"""Was the machine the same throughout, and ours alone?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median

from results.checks.reasons import Check, Figures, noisy, note
from results.record import Calibration, Conditions, Reason, Record

MACHINE_DRIFT_ALLOWED = 0.03
STEAL_ALLOWED_PERCENT = 5.0
OTHER_LOAD_ALLOWED_PERCENT = 5.0
CLOCK_DROP_ALLOWED = 0.10
MEMORY_LEFT_NEEDED = 0.10
LEAK_ALLOWED_BYTES = 64 << 20

_KERNELS = ("integer_ns", "sgemm_ns", "memcpy_ns")
_CLOCKS = ("frequency_mhz", "device_clock_mhz")


def machine_shift(calibration: Iterable[Calibration]) -> float | None:
    """How much slower (+) or faster (-) the machine became, as a fraction; None without both moments.

    Per kernel the median after over the median before; of the three kernels the median, so that one disturbed kernel
    proves nothing and two that moved together do.
    """
    entries = tuple(calibration)
    before, after = ([entry for entry in entries if entry.moment == moment] for moment in ("before", "after"))
    return calibration_shift(before, after)


def calibration_shift(one: Iterable[Calibration], other: Iterable[Calibration]) -> float | None:
    """How much slower (+) or faster (-) the kernels ran in `other`; None where either is empty."""
    ratios = []
    first, second = tuple(one), tuple(other)
    for kernel in _KERNELS:
        old, new = ([getattr(entry, kernel) for entry in entries] for entries in (first, second))
        if not old or not new or not median(old):
            return None
        ratios.append(median(new) / median(old))
    return float(median(ratios)) - 1


def _calibration(record: Record, _: Figures) -> Iterator[Reason]:
    shift = machine_shift(record.context.calibration)
    if shift is not None and abs(shift) > MACHINE_DRIFT_ALLOWED:
        way = "slower" if shift > 0 else "faster"
        detail = f"the calibration kernels became {abs(shift):.1%} {way}; {MACHINE_DRIFT_ALLOWED:.0%} is allowed"
        yield noisy("machine_drift", detail)


def _neighbours(record: Record, _: Figures) -> Iterator[Reason]:
    """Who else was at work: other guests of the host, other processes, other users of the device."""
    during = _at(record, "during")
    stolen = during.steal_percent if during else None
    if stolen is not None and stolen > STEAL_ALLOWED_PERCENT:
        detail = f"{stolen:.1f} % of the time was stolen by other guests; {STEAL_ALLOWED_PERCENT:g} % are allowed"
        yield noisy("stolen_time", detail)
    other = during.other_cpu_percent if during else None
    if other is not None and other > OTHER_LOAD_ALLOWED_PERCENT:
        detail = f"other processes used {other:.1f} % of the processors; {OTHER_LOAD_ALLOWED_PERCENT:g} % are allowed"
        yield noisy("other_load", detail)
    users = {each.moment: each.device_other_users for each in record.context.conditions if each.device_other_users}
    if users:
        seen = ", ".join(f"{count} {moment}" for moment, count in users.items())
        yield noisy("device_shared", f"other processes used the device: {seen} the window")


def _memory(record: Record, _: Figures) -> Iterator[Reason]:
    during, total_bytes = _at(record, "during"), record.context.machine.memory_bytes
    left_bytes = during.memory_available_bytes if during else None
    if left_bytes is not None and left_bytes < MEMORY_LEFT_NEEDED * total_bytes:
        detail = f"{left_bytes >> 20} of {total_bytes >> 20} MiB were left; a tenth is needed, or the kernel may swap"
        yield noisy("memory_pressure", detail)


def _throttling(record: Record, _: Figures) -> Iterator[Reason]:
    named = {name for each in record.context.conditions for name in each.device_throttle_reasons or ()}
    thermal = sorted(name for name in named if "thermal" in name.lower())
    other = sorted(named.difference(thermal))
    events = _rise(record, "throttle_events")
    hot = [f"the device says {', '.join(thermal)}"] if thermal else []
    hot += [f"the processor throttled {events} times"] if events and events > 0 else []
    if hot:
        yield noisy("thermal_throttling", "; ".join(hot))
    slow = [f"the device says {', '.join(other)}"] if other else []
    slow += [detail for clock in _CLOCKS if (detail := _clock_drop(record, clock))]
    if slow:
        yield noisy("clock_throttling", "; ".join(slow))


def _clock_drop(record: Record, clock: str) -> str:
    before, during = (_reading(record, moment, clock) for moment in ("before", "during"))
    if not before or during is None or during >= (1 - CLOCK_DROP_ALLOWED) * before:
        return ""
    return f"{clock} fell from {before:.0f} to {during:.0f}; {CLOCK_DROP_ALLOWED:.0%} is allowed"


def _leak(record: Record, _: Figures) -> Iterator[Reason]:
    rise = _rise(record, "device_memory_used_bytes")
    if rise is not None and rise > LEAK_ALLOWED_BYTES:
        detail = f"{rise / (1 << 20):.0f} MiB more of the device's memory are in use after the item than before"
        yield noisy("device_memory_leaked", f"{detail}; {LEAK_ALLOWED_BYTES >> 20} MiB are allowed")


def _power(record: Record, _: Figures) -> Iterator[Reason]:
    """Concerns the energy alone, so a note."""
    energy, window = record.energy, record.window
    if energy is not None and energy.power_valid is False:
        codes = ", ".join(energy.power_reasons) or "no reason given"
        seen = f" ({energy.readings} readings; a window of {window.duration_ns / 1e9:.3g} s)" if window else ""
        longer = "; a longer profile, or a faster meter, has more" if "too_few_readings" in energy.power_reasons else ""
        yield note("power_invalid", f"{energy.meter}: {codes}{seen}{longer}")


def _at(record: Record, moment: str) -> Conditions | None:
    return next((each for each in record.context.conditions if each.moment == moment), None)


def _reading(record: Record, moment: str, name: str) -> float | None:
    conditions = _at(record, moment)
    value: float | None = getattr(conditions, name) if conditions else None
    return value


def _rise(record: Record, name: str) -> float | None:
    before, after = (_reading(record, moment, name) for moment in ("before", "after"))
    return None if before is None or after is None else after - before


CHECKS: tuple[Check, ...] = (_calibration, _neighbours, _memory, _throttling, _leak, _power)
