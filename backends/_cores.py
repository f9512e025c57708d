"""How much of the CPU this process may use: affinity, physical cores, the quota of its control group. Holds no part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backends._host import HOST, Host

UNLIMITED_V1 = 1 << 62
"""Version 1 writes the largest number of bytes in whole pages where there is no limit."""


@dataclass(frozen=True)
class Cores:
    """`cores` physical ones, on which `threads` hardware threads may run; `cpus` are their numbers."""

    cores: int
    threads: int
    cpus: tuple[int, ...]


def usable(host: Host = HOST, cpus: Iterable[int] | None = None) -> Cores:
    """What this process may run on. `cpus` replaces its affinity.

    A quota counts whole CPUs only, as a thread beyond it would be stopped in every period.
    """
    allowed = tuple(sorted(affinity() if cpus is None else cpus))
    lists = ((cpu, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in allowed)
    siblings = {host.text(path) or str(cpu) for cpu, path in lists}
    limit = max(1, int(min(quotas(host), default=len(allowed))))
    return Cores(min(len(siblings), limit), min(len(allowed), limit), allowed)


def affinity() -> set[int]:
    """Numbers of the CPUs that the scheduler may give this process."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def quotas(host: Host) -> Iterator[float]:
    """CPUs' worth of time per period that each enclosing control group allows; nothing where none is set."""
    yield from _limits(host, "cpu", _quota_v2, _quota_v1)


def memory_limits(host: Host) -> Iterator[int]:
    """Bytes that each enclosing control group allows; nothing where none is set."""
    yield from (int(limit) for limit in _limits(host, "memory", _memory_v2, _memory_v1))


def _limits(
    host: Host, controller: str, v2: Callable[[Host, Path], float | None], v1: Callable[[Host, Path], float | None]
) -> Iterator[float]:
    """Files of both versions: docs.kernel.org/admin-guide/cgroup-v2, cgroup-v1/memory and scheduler/sched-bwc."""
    for line in (host.text("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if line.startswith("0::"):
            found = [v2(host, folder) for folder in _climb("sys/fs/cgroup", path)]
        elif controller in controllers.split(","):
            found = [v1(host, folder) for folder in _climb(f"sys/fs/cgroup/{controller}", path)]
        else:
            continue
        yield from (limit for limit in found if limit)


def _climb(mount: str, path: str) -> list[Path]:
    """The folders of a control group and of all that enclose it; inside a container only the mount itself exists."""
    folder = Path(mount) / path.lstrip("/")
    return [one for one in (folder, *folder.parents) if one == Path(mount) or Path(mount) in one.parents]


def _quota_v2(host: Host, folder: Path) -> float | None:
    quota, _, period = (host.text(folder / "cpu.max") or "").partition(" ")
    return float(quota) / float(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(host: Host, folder: Path) -> float | None:
    quota, period = host.number(folder / "cpu.cfs_quota_us"), host.number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _memory_v2(host: Host, folder: Path) -> float | None:
    return host.number(folder / "memory.max")  # "max" is no number


def _memory_v1(host: Host, folder: Path) -> float | None:
    limit = host.number(folder / "memory.limit_in_bytes")
    return limit if limit and limit < UNLIMITED_V1 else None
