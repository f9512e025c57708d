"""For programs: the rows with everything that is known of their columns, machines, ceilings and prices."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from results import exports
from results.metrics import ESTIMATED, METRICS

if TYPE_CHECKING:
    from results.join import Table

FORMAT = "accelmark.table/1"
"""Raised when a reader of the old form would go wrong."""


def render(table: Table) -> str:
    value = {
        "format": FORMAT,
        "oldest_utc": table.oldest_utc,
        "newest_utc": table.newest_utc,
        "pricing": asdict(table.pricing),
        "problems": [str(problem) for problem in table.problems],
        "metrics": [
            {"key": m.key, "label": m.label, "unit": m.unit, "scale": m.scale, "better": m.better, "how": m.how}
            for m in (*METRICS, *ESTIMATED)
        ],
        "machines": {name: exports.plain(machine) for name, machine in table.machines.items()},
        "ceilings": [asdict(ceiling) for ceiling in table.ceilings.values()],
        "rows": exports.rows(table),
        "published": [row.model_dump(mode="json", exclude={"missing"}) for row in table.published],
    }
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
