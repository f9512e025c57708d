"""`accelmark advise`: what was asked for, and the answer as tables."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import console
from bench.parts import no_such
from bench.reading import bound, number, pricing, tell

if TYPE_CHECKING:
    from results.advise import Advice, Choice, Row

NOTHING = 1
COLUMNS = ("", "configuration", "cost, $/1M", "rate, /s", "p99, ms", "quality", "power, W", "by", "remark")


def print_advice(chosen: argparse.Namespace) -> int:
    """Print advice for each workload; 1 where none of a workload's configurations qualifies, 2 for bad input."""
    from results import join
    from results.advise import Quality, Wishes, advise

    wishes = Wishes(
        bounded=chosen.bound is not None,
        quality=Quality.parse(chosen.quality) if chosen.quality else None,
        max_watts=number("--max-watts", chosen.max_watts),
        noisy=chosen.noisy,
    )
    if chosen.top < 1:
        raise ValueError(f"--top {chosen.top}: at least 1")
    table = join.table(chosen.results, pricing(chosen), (bound(chosen.bound),) if chosen.bound else ())
    found = advise(table, wishes)
    if not found:
        raise ValueError(f"{chosen.results}: no network's answers were measured there; pytest bench/ measures")
    names = [one.workload for one in found]
    for name in chosen.workload:
        if name not in names:
            raise ValueError(no_such("workload among these results", name, names))
    shown = [one for one in found if one.workload in (chosen.workload or names)]
    for one in shown:
        _print(replace(one, choices=one.choices[: chosen.top]), len(one.choices))
    return tell(table.problems) or (0 if all(one.choices for one in shown) else NOTHING)


def _print(advice: Advice, qualified: int) -> None:
    total = qualified + len(advice.rejected)
    title = f"{advice.workload}: {qualified} of {total} configurations qualify"
    cells = [_cells(place, one) for place, one in enumerate(advice.choices, 1)]
    if cells:
        console.table(title, COLUMNS, cells)
    else:
        print(title)
    if advice.rejected:
        kinds = Counter(_kind(one.reason) for one in advice.rejected)
        examples = {_kind(one.reason): one for one in reversed(advice.rejected)}
        rows = [(str(count), _named(examples[kind].row), examples[kind].reason) for kind, count in kinds.most_common()]
        console.table(f"{advice.workload}: rejected", ("how many", "as in", "why"), rows)


def _kind(reason: str) -> str:
    """Reasons that differ in a figure only are of one kind."""
    return re.sub(r"\d[\d,.]*", "#", reason)


def _cells(place: int, choice: Choice) -> tuple[str, ...]:
    row = choice.row
    figures = (_shown(row, name) for name in ("throughput_per_s", "latency_p99_ns", "quality", "power_w"))
    return (str(place), _named(row), _price(row), *figures, row["scenario"], ", ".join(_remarks(choice)))


def _price(row: Row) -> str:
    floor = "\u2265" if row["usd_is_floor"] else ""
    reference = "\u2248" if row["price_kind"] == "reference" else ""
    return f"{floor}{reference}{_shown(row, 'usd_per_million')}"


def _remarks(choice: Choice) -> Iterator[str]:
    if choice.tied:
        yield "cannot be told from the first"
    if choice.row["verdict"] == "noisy":
        yield f"noisy ({', '.join(reason.code for reason in choice.row['reasons'] if reason.severity == 'noisy')})"
    if choice.row["missing"].get("quality"):
        yield "quality not known"
    if choice.row["n"] < 2:
        yield "measured once"


def _shown(row: Row, key: str) -> str:
    from results.metrics import BY_KEY

    return BY_KEY[key].shown(row[key]) or "n/a"


def _named(row: Row) -> str:
    technique = () if row["technique"] == "none" else (row["technique"],)
    options = () if not row["options"] else (row["options"],)
    return " ".join((row["engine"], row["precision"], *technique, f"b{row['batch']}", *options, "on", row["device"]))
