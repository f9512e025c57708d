"""How host and device were doing, at a moment or over the window.

The dictionaries have the fields of `results.record.Conditions`; None has its reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from statistics import fmean
from typing import Any, Literal

from backends.contract import DeviceState
from bench.surroundings.host import NO_CPUFREQ, CpuTime, Found, HostReading

Moment = Literal["before", "during", "after"]
SHARE_NS_MIN = 500_000_000
"""Processor time is counted in ticks of 10 ms (proc(5)): over half a second of two processors one of them is 1 %."""


def at(
    moment: Moment,
    now: HostReading,
    since: HostReading | None,
    lasting: Mapping[str, Found],
    state: DeviceState,
) -> dict[str, Any]:
    """Now; shares of processor time are over what passed between `since` and `now`."""
    if since is None:
        shares = _no_shares("a share of time needs two readings")
    else:
        shares = _shares(since.cpu, now.cpu, now.t_ns - since.t_ns)
    return _explained(moment, _host([now]), shares, lasting, _device([state]))


def during(
    readings: Sequence[HostReading],
    states: Sequence[tuple[int, DeviceState]],
    lasting: Mapping[str, Found],
    opened_ns: int,
    closed_ns: int,
) -> dict[str, Any]:
    """Over the readings within the window, which `results.record.Conditions` says how; `lasting` is of its end."""
    inside = [one for one in readings if opened_ns <= one.t_ns <= closed_ns]
    seen = [state for t_ns, state in states if opened_ns <= t_ns <= closed_ns]
    between = f"no reading fell into the window of {(closed_ns - opened_ns) / 1e9:.3g} s"
    shares = _shares(_cpu_at(readings, opened_ns), _cpu_at(readings, closed_ns), closed_ns - opened_ns)
    return _explained("during", _host(inside, between), shares, lasting, _device(seen, between))


def _explained(moment: Moment, *parts: Mapping[str, Found]) -> dict[str, Any]:
    found = {name: value for part in parts for name, value in part.items()}
    return {
        "moment": moment,
        **{name: value for name, (value, _) in found.items()},
        "missing": {name: why for name, (value, why) in found.items() if value is None},
    }


def _host(readings: Sequence[HostReading], unread: str = "") -> dict[str, Found]:
    """`unread`: why there may be no reading at all."""
    summaries: Mapping[str, tuple[Callable[[list[Any]], Any], str]] = {
        "load_1m": (fmean, "no /proc/loadavg"),
        "frequency_mhz": (min, NO_CPUFREQ),
        "temperature_c": (max, "no sensor of the processor under /sys/class/hwmon or thermal"),
        "memory_available_bytes": (min, "no MemAvailable in /proc/meminfo"),
    }
    return {
        name: _over(summary, [getattr(one, name) for one in readings], why if readings else unread)
        for name, (summary, why) in summaries.items()
    }


def _device(states: Sequence[DeviceState], unread: str = "") -> dict[str, Found]:
    summaries: Mapping[str, Callable[[list[Any]], Any]] = {
        "clock_mhz": min,
        "temperature_c": max,
        "throttle_reasons": lambda several: sorted({reason for one in several for reason in one}),
        "other_users": max,
        "memory_used_bytes": _whole_mean,
    }
    return {
        f"device_{name}": _over(
            summary, [getattr(one, name) for one in states], states[-1].missing.get(name, "") if states else unread
        )
        for name, summary in summaries.items()
    }


def _over(summary: Callable[[list[Any]], Any], values: Sequence[Any], why: str) -> Found:
    known = [value for value in values if value is not None]
    return (summary(known), "") if known else (None, why)


def _whole_mean(values: list[int]) -> int:
    return round(fmean(values))


def _shares(first: CpuTime | None, last: CpuTime | None, duration_ns: int) -> dict[str, Found]:
    """Of the usable processors' time, in percent, what others used and what the hypervisor gave to others."""
    if first is None or last is None:
        return _no_shares("/proc/stat was not read at both ends")
    if duration_ns < SHARE_NS_MIN or last.total <= first.total:
        return _no_shares(f"{duration_ns / 1e9:.2g} s are too short for a share of clock ticks of 10 ms")
    total = last.total - first.total
    other = (last.busy - first.busy) - (last.own - first.own)
    return {
        "other_cpu_percent": (100 * max(0.0, other) / total, ""),
        "steal_percent": (100 * max(0.0, last.steal - first.steal) / total, ""),
    }


def _no_shares(why: str) -> dict[str, Found]:
    return dict.fromkeys(("other_cpu_percent", "steal_percent"), (None, why))


def _cpu_at(readings: Sequence[HostReading], t_ns: int) -> CpuTime | None:
    """Processor time at any moment between the first and the last reading, on a straight line between two."""
    timed = [(one.t_ns, one.cpu) for one in readings if one.cpu is not None]
    after = bisect_left(timed, t_ns, key=lambda pair: pair[0])
    if after == len(timed) or (after == 0 and timed[0][0] > t_ns):
        return None
    if after == 0:
        return timed[0][1]
    (t0_ns, old), (t1_ns, new) = timed[after - 1], timed[after]
    part = (t_ns - t0_ns) / (t1_ns - t0_ns)
    names = [one.name for one in fields(CpuTime)]
    return CpuTime(*(getattr(old, name) + part * (getattr(new, name) - getattr(old, name)) for name in names))
