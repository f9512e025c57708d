"""The whole page as one string: a joined table goes in, nothing else, and the same table gives the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from results.metrics import BY_KEY
from results.names import COMPILE
from results.report import claimed, cold, details, estimated, market, plots, sheets, tables, techniques, words
from results.report.lines import Line, baselines, lines
from results.report.notes import Notes
from results.report.palette import css

if TYPE_CHECKING:
    from jinja2 import Environment

    from results.join import Table

HERE = Path(__file__).parent
PROBLEMS_MAX = 12
NAMES = {"estimate": "estimated", "simulator": "simulated"}
FACETS = (
    ("workload", "Workload"), ("hardware", "Hardware"), ("engine", "Engine"), ("precision", "Precision"),
    ("scenario", "Scenario"), ("provenance", "Provenance"), ("verdict", "Verdict"),
)  # fmt: skip


@dataclass(frozen=True)
class Facet:
    name: str
    label: str
    options: Sequence[str]


def build(table: Table, baseline: str | None = None) -> str:
    """The page. `baseline` holds words of the configuration that ratios refer to; raises ValueError if it fits none."""
    every = lines(table)
    name, base = baselines([line for line in every if line.row["role"] == "model"], baseline)
    notes = Notes()
    shown = sheets.sheets(every, sheets.Context(base, name, notes))
    predicted = estimated.section(every)
    page = {
        "facts": facts(table, every),
        "problems": [str(problem) for problem in table.problems[:PROBLEMS_MAX]],
        "problems_title": problems_title(len(table.problems)),
        "claims": claimed.claims(table) if every else None,
        "techniques": techniques.techniques(table, every),
        "sheets": shown,
        "estimates": predicted,
        "market": market.market(table.published),
        "notes": notes.texts(),
        "findings": tables.findings(every, table),
        "facets": facets(every),
        "baseline_label": name,
        "baselines": configs(every),
        "charts": charts(every, table, base, name),
        "ceilings": tables.ceilings(every, table),
        "gaps": tables.gaps(every),
        "prices": tables.prices(every),
        "pricing": table.pricing,
        "method": words.METHOD,
        "glossary": words.glossary(),
    }
    page["sections"] = [(id_, title) for id_, title, here in _sections(page) if here]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            css=Markup(css() + (HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            data=embedded(data(every, table, [*shown, *([predicted.sheet] if predicted else [])], name)),
        )
    )


def facts(table: Table, every: Sequence[Line]) -> list[str]:
    """What stands under the title."""
    if not every:
        return ["no results"]
    ok = [line for line in every if line.comparable]
    verdicts = Counter(line.row["verdict"] for line in ok)
    predicted = Counter(line.row["provenance"] for line in every if line.estimated)
    here = [line for line in every if line.row["scenario"] != COMPILE]
    return [
        _period(table.oldest_utc, table.newest_utc),
        *([_few("machine", [_machine(line) for line in here])] if here else []),
        _few("profile", [line.row["profile"] for line in every]),
        _few("commit", [(line.row["commit"] or "not recorded")[:12] for line in every]),
        f"{len(ok)} results: "
        + (", ".join(f"{verdicts[word]} {word}" for word in ("valid", "noisy", "invalid") if verdicts[word]) or "none"),
        *(f"{count} {NAMES[word]}" for word, count in sorted(predicted.items())),
    ]


def facets(every: Sequence[Line]) -> list[Facet]:
    """A choice for each dimension in which lines with figures differ."""
    shown = [line for line in every if line.comparable or line.estimated]
    found = [Facet(name, label, sorted({facet_value(line, name) for line in shown})) for name, label in FACETS]
    return [facet for facet in found if len(facet.options) > 1]


def facet_value(line: Line, name: str) -> str:
    return line.hardware if name == "hardware" else str(line.row[name])


def configs(every: Sequence[Line]) -> list[str]:
    """What can be chosen as baseline."""
    return sorted({line.config for line in _comparable(every) if not line.unranked})


def charts(every: Sequence[Line], table: Table, base: dict[str, Line], base_name: str) -> dict[str, Any] | None:
    ranked = [line for line in every if not line.unranked and line.row["role"] == "model"]
    if not ranked:
        return None
    legend = plots.Legend.of(ranked)
    facets_, caption = plots.paretos(ranked, legend)
    unmeasured = [line for line in every if line.unranked and line.row["role"] == "model" and not line.estimated]
    return {
        "key": legend.html(),
        "facets": facets_,
        "pareto_caption": caption,
        "roofs": plots.rooflines(ranked, table.ceilings, legend),
        "heats": plots.heat_maps(ranked, unmeasured, base, base_name),
        "ramp": plots.ramp(),
        "cold": cold.cold_starts(ranked),
    }


def data(
    every: Sequence[Line],
    table: Table,
    shown: Sequence[sheets.Sheet],
    base_name: str,
) -> dict[str, Any]:
    """What the page's script needs: the facets and figures of each row, and what it unfolds to."""
    by_id = {line.id: line for line in every}
    pool = details.Pool()
    groups: dict[tuple[str, ...], int] = {}
    rows = {}
    for row in (row for sheet in shown for row in sheet.rows):
        line = by_id[row.id]
        rows[line.id] = {
            "f": [pool.add(facet_value(line, name)) for name, _ in FACETS],
            "c": pool.add(line.config),
            "g": groups.setdefault(line.group, len(groups)),
            "b": pool.add(f"batch {line.row['batch']}"),
            **({} if line.unranked or not line.value else {"v": float(f"{line.value:.6g}")}),
            **({"l": 1} if BY_KEY[line.headline].better == "lower" else {}),
            **details.details(line, table.machines, pool),
        }
    return {
        "baseline": base_name,
        "facets": [name for name, _ in FACETS],
        "sections": details.SECTIONS,
        "metrics": [metric.title for metric in details.SHOWN],
        "pool": pool.values,
        "rows": rows,
    }


def embedded(value: Any) -> Markup:
    """JSON that cannot leave its script element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 - no character is left that HTML or JavaScript could read otherwise


def problems_title(count: int) -> str:
    if not count:
        return ""
    more = f" (the first {PROBLEMS_MAX} are named)" if count > PROBLEMS_MAX else ""
    return f"{count} record{'s' if count > 1 else ''} could not be read{more}; everything else is below"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _comparable(every: Sequence[Line]) -> list[Line]:
    return [line for line in every if line.comparable]


def _sections(page: dict[str, Any]) -> Iterable[tuple[str, str, bool]]:
    yield "hardware", "Hardware", bool(page["claims"])
    yield "techniques", "Techniques", bool(page["techniques"])
    yield "comparison", "Comparison", bool(page["sheets"] or page["estimates"])
    yield "estimates", "Estimated", bool(page["estimates"])
    yield "market", "Published", bool(page["market"])
    yield "findings", "To explain", bool(page["findings"])
    yield "charts", "Charts", bool(page["charts"])
    yield "ceilings", "Machine ceilings", bool(page["ceilings"])
    yield "gaps", "Not measured", bool(page["gaps"])
    yield "method", "Method and words", True
    yield "prices", "Prices", bool(page["prices"])


def _period(oldest: str | None, newest: str | None) -> str:
    first, last = ((text or "").replace("T", " ").replace("Z", "")[:16] for text in (oldest, newest))
    return f"{last} UTC" if first == last else f"{first} to {last} UTC"


def _machine(line: Line) -> str:
    return f"{line.row['hostname']} ({line.row['instance_type'] or line.row['cpu']}, {line.row['cores']} cores)"


def _few(noun: str, values: Iterable[str], most: int = 3) -> str:
    found = list(dict.fromkeys(values))
    if len(found) > most:
        return f"{len(found)} {noun}s"
    return f"{noun}{'s' if len(found) > 1 else ''} {', '.join(found)}"
