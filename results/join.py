"""From records to the table that everything else shows: one row per identity and machine.

A row is the newest run that has the identity, all its repeats together: their geometric mean with an interval from
five of them on, below that their median and range (`stats.interval`), and the worst verdict. Price, datasheet and
measured ceilings are joined to it. Every column without a value has its reason in the row's `missing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from results import published, stats, store
from results.cost import Pricing
from results.names import COMPILE
from results.published import Published
from results.record import Bound, Machine, Record, Summary
from results.roofline import Ceiling, ceilings
from results.rows import COLUMNS, NUMBERS, put_under_roof, row_of
from results.store import Entry, Problem, StoreError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """`rows` has COLUMNS, ordered by workload, machine, scenario and engine. Times are UTC, None for an empty table.

    `published` are others' figures, which no row has: `accelmark import` put them beside the runs. `root` is where all
    of it was read from, for what is read only when it is needed: the grades of examples.
    """

    rows: pd.DataFrame
    problems: tuple[Problem, ...]
    machines: Mapping[str, Machine]
    ceilings: Mapping[tuple[str, str, str, str], Ceiling]
    pricing: Pricing
    oldest_utc: str | None
    newest_utc: str | None
    published: tuple[Published, ...] = ()
    root: Path | None = None


@dataclass
class _Group:
    run_id: str
    folder: Path
    entries: list[Entry] = field(default_factory=list)

    def figured(self, problems: list[Problem]) -> list[Entry]:
        """The entries with summaries that follow today's rules."""
        return [(record, figures_of(self.folder, record, summary, problems)) for record, summary in self.entries]


def table(path: Path, pricing: Pricing | None = None, bounds: Sequence[Bound] = ()) -> Table:
    """Read everything under `path`, a root, a run's folder or a records.log. Raises StoreError where that is none.

    `bounds` replace those that the records' cards promise.
    """
    import pandas as pd

    pricing = pricing or Pricing()
    problems: list[Problem] = []
    rows = [row_of(group.figured(problems), group.folder.name, pricing, bounds) for group in _groups(path, problems)]
    roofs = ceilings(rows)
    for row in rows:
        put_under_roof(row, roofs)
    rows.sort(key=lambda row: tuple(str(row[c]) for c in ("workload", "fingerprint", "scenario", "engine", "key")))
    others = published.read(path, problems) if path.is_dir() else ()
    times = [record.written_utc for row in rows for record, _ in row["entries"]]
    return Table(
        rows=pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(dict.fromkeys(NUMBERS, float)),
        problems=tuple(problems),
        machines={
            record.context.machine.fingerprint: record.context.machine for row in rows for record, _ in row["entries"]
        },
        ceilings=roofs,
        pricing=pricing,
        oldest_utc=min(times, default=None),
        newest_utc=max(times, default=None),
        published=others,
        root=path,
    )


def figures_of(folder: Path, record: Record, summary: Summary | None, problems: list[Problem]) -> Summary | None:
    """The stored summary if it follows today's rules, else one made again from the samples, and kept if possible.

    An older one is better than none: where the samples are gone it stands, and a problem says so.
    """
    if record.status != "ok" or (summary and summary.rules_version == stats.RULES_VERSION):
        return summary
    try:
        made = stats.summarise(record, store.samples_of(folder, record))
    except (StoreError, ValueError) as error:
        what = f"only figures of rules {summary.rules_version}" if summary else "no figures"
        message = f"{what} for {record.record_id}: {error}; measure it again"
        problems.append(Problem(folder / store.RECORDS, 0, message))
        return summary
    store.keep_summary(folder, made)
    return made


def _groups(path: Path, problems: list[Problem]) -> Iterable[_Group]:
    """The newest run's entries of each identity on each machine; what was only compiled for is of no machine.

    An absent backend's rows go when a newer run on the same machine found that backend.
    """
    groups: dict[tuple[str, str], _Group] = {}
    found_in: dict[tuple[str, str], str] = {}
    for record, summary in store.newest(path, problems):
        compiled = record.identity.scenario == COMPILE
        machine, run_id = "" if compiled else record.context.machine.fingerprint, record.context.run_id
        place = (machine, record.identity.backend)
        if record.status != "absent":
            found_in.setdefault(place, run_id)
        elif found_in.get(place, run_id) != run_id:
            continue
        group = groups.setdefault((record.identity.key, machine), _Group(run_id, store.folder_of(path, record)))
        if group.run_id == run_id:
            group.entries.append((record, summary))
    return groups.values()
