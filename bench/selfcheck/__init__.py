"""`accelmark selfcheck`: what a user runs before trusting a machine, and us.

Each other file of this folder that has a `Check` is one, found by its being there. They are made one after the other,
the quickest first, so that they do not disturb each other; the answers are one table.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench import console, intervals, parts
from bench.parts import Found, PartError
from bench.progress import spoken
from bench.selfcheck import others
from bench.selfcheck.contract import Asked, Check, Row
from bench.surroundings.host import HostReader
from workloads.contract import Unsupported, Workload

if TYPE_CHECKING:
    import argparse

COLUMNS = ("check", "what", "found [95 %]", "A/A [95 %]", "bound", "verdict", "detail")
FAULTS = ("differs", "failed")


def run(chosen: argparse.Namespace) -> int:
    """Make the checks; exit status 1 if any of them differs. Raises ValueError for what cannot be meant."""
    asked = Asked(chosen.workload, chosen.pairs)
    if asked.pairs < intervals.VALUES_MIN:
        raise ValueError(f"--pairs {asked.pairs}: fewer than {intervals.VALUES_MIN} have no 95 % interval")
    parts.find(Workload, asked.workload)
    checks = _chosen(parts.discover(Check, __name__), chosen.checks)
    answers = [(check.name, row) for check in checks for row in _announced(check, asked)]
    columns = [(name, row.what, row.found, row.noise, row.bound, row.verdict, row.detail) for name, row in answers]
    console.table(f"selfcheck with {asked.workload}, {asked.pairs} pairs", COLUMNS, columns)
    _sum_up([row for _, row in answers])
    return 1 if any(row.verdict in FAULTS for _, row in answers) else 0


def _chosen(found: Sequence[Found[Check]], names: Sequence[str]) -> list[Check]:
    """The checks called `names`, or all; the quickest first."""
    for torn in (one for one in found if one.error):
        raise PartError(f"check {torn.name} cannot be loaded: {torn.error} ({torn.file})")
    there = sorted((one.part for one in found if one.part is not None), key=lambda check: check.takes_s(Asked()))
    for name in names:
        if name not in [check.name for check in there]:
            raise PartError(parts.no_such("check", name, [check.name for check in there]))
    return [check for check in there if not names or check.name in names]


def _announced(check: Check, asked: Asked) -> Iterator[Row]:
    expected = spoken(check.takes_s(asked))
    print(f"accelmark: {check.name}: {check.doing}, about {expected}", file=sys.stderr, flush=True)
    reader, begin_s = HostReader(), time.monotonic()
    before = reader.read().cpu
    rows = [*answers_of(check, asked)]
    yield from others.weighed(rows, others.share(before, reader.read().cpu))
    took = spoken(time.monotonic() - begin_s)
    print(f"accelmark: {check.name}: done in {took}", file=sys.stderr, flush=True)


def answers_of(check: Check, asked: Asked) -> Iterator[Row]:
    """The rows of a check, with one more for what kept it from going on."""
    try:
        yield from check.rows(asked)
    except Unsupported as answer:
        yield Row("the rest of it", "absent", detail=str(answer))
    except Exception as error:  # noqa: BLE001 - one check's fault must not hide the others
        yield Row("the rest of it", "failed", detail=f"{type(error).__name__}: {error}".splitlines()[0])


def _sum_up(rows: Sequence[Row]) -> None:
    """What a verdict other than agreement means, on stderr."""
    meanings = {
        "differs": "the harness or the machine gives other figures than it should",
        "failed": "see the detail",
        "undecided": "this machine is too noisy for so few pairs; make it idle, or raise --pairs",
        "noisy": "something else runs on this machine, or its host is shared",
        "absent": "not compared; the detail says what to install",
    }
    for verdict, meaning in meanings.items():
        if count := sum(row.verdict == verdict for row in rows):
            print(f"accelmark: {count} of {len(rows)} {verdict}: {meaning}", file=sys.stderr)
