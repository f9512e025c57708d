"""What else ran while a check was made, and what its verdicts are worth then.

On shared processors two contenders get what the kernel's scheduler gives each of them, and that is not the same. Beside
one to three other busy processes on two processors, benchmark_app had 1.1 to 1.7 times the throughput of a session that
had 1.04 times benchmark_app's when undisturbed (2026-11): the session's threads always had work and waited two thirds
of the time for a processor (/proc/PID/task/*/schedstat). That says nothing about a harness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.selfcheck.contract import Row, judged
from bench.surroundings.host import CpuTime

OTHERS_MAX = 0.05
"""Of the processors' time; what results/checks lets others take during a measurement."""


def share(before: CpuTime | None, after: CpuTime | None) -> float | None:
    """Of the usable processors' time between two readings: what was neither idle nor ours. None: not known."""
    if before is None or after is None or after.total <= before.total:
        return None
    idle, idle_before = (one.total - one.busy - one.steal for one in (after, before))
    ours = after.own - before.own
    return max(0.0, 1 - (ours + idle - idle_before) / (after.total - before.total))


def weighed(rows: Sequence[Row], taken: float | None) -> list[Row]:
    """The rows, with one more for what others took; where that was too much, no comparison proves a difference."""
    if taken is None:
        return [*rows]
    found, bound = f"{100 * taken:.1f} %", f"at most {100 * OTHERS_MAX:g} %"
    quiet = taken <= OTHERS_MAX
    kept = rows if quiet else [_doubted(row, f"differs while others took {found}") for row in rows]
    return [*kept, Row("what others took of the processors meanwhile", judged(quiet, "noisy"), found, bound=bound)]


def _doubted(row: Row, why: str) -> Row:
    """A comparison, which has its A/A ratio, is a question of who was disturbed; a clock that errs is not."""
    if row.verdict != "differs" or not row.noise:
        return row
    return replace(row, verdict="undecided", detail=f"{why}: {row.detail}")
