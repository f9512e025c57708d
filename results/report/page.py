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

from results.report import claimed, details, plots, sheets, words
from results.report.lines import Line, baselines, lines
from results.report.notes import Notes
from results.report.palette import css
from results.report.sheets import Cell, Column

if TYPE_CHECKING:
    from jinja2 import Environment

    from results.join import Table

HERE = Path(__file__).parent
PROBLEMS_MAX = 12
GAP_WORKLOADS_MAX = 12
FACETS = (
    ("workload", "Workload"), ("hardware", "Hardware"), ("engine", "Engine"), ("precision", "Precision"),
    ("scenario", "Scenario"), ("verdict", "Verdict"),
)  # fmt: skip


@dataclass(frozen=True)
class Facet:
    name: str
    label: str
    options: Sequence[str]


@dataclass(frozen=True)
class Gap:
    """Cases that were asked for and not measured, for one reason."""

    hardware: str
    engine: str
    status: str
    reason: str
    remedy: str
    stderr: str
    cases: int
    workloads: str


@dataclass(frozen=True)
class NamedRow:
    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Grid:
    """A small plain table."""

    lede: str
    columns: Sequence[Column]
    rows: Sequence[NamedRow]


def build(table: Table, baseline: str | None = None) -> str:
    """The page. `baseline` holds words of the configuration that ratios refer to; raises ValueError if it fits none."""
    every = lines(table)
    name, base = baselines([line for line in every if line.row["role"] == "model"], baseline)
    notes = Notes()
    shown = sheets.sheets(every, sheets.Context(base, name, notes))
    page = {
        "facts": facts(table, every),
        "problems": [str(problem) for problem in table.problems[:PROBLEMS_MAX]],
        "problems_title": problems_title(len(table.problems)),
        "claims": claimed.claims(table) if every else None,
        "sheets": shown,
        "notes": notes.texts(),
        "facets": facets(every),
        "baseline_label": name,
        "baselines": configs(every),
        "charts": charts(every, table, base, name),
        "ceilings": ceilings(every, table),
        "gaps": gaps(every),
        "prices": prices(every, table),
        "method": words.METHOD,
        "glossary": words.glossary(),
    }
    page["sections"] = [(id_, title) for id_, title, here in _sections(page) if here]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return _environment().get_template("page.html.j2").render(
        page=page,
        css=Markup(css() + (HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        data=embedded(data(every, table, shown, base, name, notes)),
    )


def facts(table: Table, every: Sequence[Line]) -> list[str]:
    """What stands under the title."""
    if not every:
        return ["no results"]
    ok = [line for line in every if line.row["status"] == "ok" and line.row["role"] == "model"]
    verdicts = Counter(line.row["verdict"] for line in ok)
    return [
        _period(table.oldest_utc, table.newest_utc),
        _few("machine", [_machine(line) for line in every]),
        _few("profile", [line.row["profile"] for line in every]),
        _few("commit", [(line.row["commit"] or "not recorded")[:12] for line in every]),
        f"{len(ok)} results: " + (", ".join(f"{verdicts[word]} {word}" for word in ("valid", "noisy", "invalid") if verdicts[word]) or "none"),
    ]


def facets(every: Sequence[Line]) -> list[Facet]:
    """A choice for each dimension in which measured lines differ."""
    shown = _comparable(every)
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
    unmeasured = [line for line in every if line.unranked and line.row["role"] == "model"]
    return {
        "lede": "Points and cells have tooltips, lead to their row, and dim with the filter above. Only measured results that are not invalid are drawn.",
        "key": legend.html(),
        "facets": facets_,
        "pareto_caption": caption,
        "roofs": plots.rooflines(ranked, table.ceilings, legend),
        "heats": plots.heat_maps(ranked, unmeasured, base, base_name),
        "heat_caption": "Each number is the ratio to the baseline, in words and colour. Outlined cells have no ratio and say why.",
        "ramp": plots.ramp(),
    }


def ceilings(every: Sequence[Line], table: Table) -> Grid | None:
    """What the machines themselves can do, beside their datasheets."""
    found: dict[tuple[str, ...], Line] = {}
    for line in every:
        found.setdefault((*line.place, line.row["precision"]), line)
    rows = []
    for key, roof in table.ceilings.items():
        line = found.get(key)
        if line and (roof.flops_per_s or roof.bytes_per_s):
            sheet_flops, sheet_bytes = line.row["datasheet_flops_per_s"], line.row["datasheet_bytes_per_s"]
            cells = [Cell(roof.precision), *_pair(roof.flops_per_s, sheet_flops), *_pair(roof.bytes_per_s, sheet_bytes)]
            rows.append(NamedRow(line.hardware, [*cells, Cell(line.row["datasheet_source"] or "not in the catalog", "dim2")]))
    columns = [
        Column("hardware", "Hardware"), Column("precision", "Precision"),
        Column("", "Arithmetic", "measured, FLOP/s", numeric=True), Column("", "Arithmetic", "datasheet, FLOP/s", numeric=True),
        Column("", "Memory", "measured, B/s", numeric=True), Column("", "Memory", "datasheet, B/s", numeric=True),
        Column("", "Datasheet"),
    ]  # fmt: skip
    lede = "The roofs of the rooflines: the fastest matrix product and the fastest memory copy that an engine reached here. They are never ranked with models."
    return Grid(lede, columns, rows) if rows else None


def gaps(every: Sequence[Line]) -> list[Gap]:
    """Lines without a measurement, grouped by why."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in every:
        if line.row["status"] != "ok":
            row = line.row
            key = (line.hardware, row["engine"], row["status"], row["reason"], row["remedy"], row["stderr_tail"])
            groups.setdefault(key, []).append(line)
    order = ("failed", "unsupported", "absent")
    return [
        Gap(*key, cases=len(found), workloads=_list([line.row["workload"] for line in found]))
        for key, found in sorted(groups.items(), key=lambda item: (order.index(item[0][2]), item[0]))
    ]


def prices(every: Sequence[Line], table: Table) -> Grid | None:
    """What an hour of each machine was taken to cost, and on whose word."""
    by_place = {line.place: line for line in every if line.row["status"] == "ok"}
    if not by_place:
        return None
    rows = []
    for line in by_place.values():
        row = line.row
        if row["usd_per_hour"] is None:
            rows.append(NamedRow(line.hardware, [Cell("none", "num na"), Cell(""), Cell(row["missing"].get("usd_per_hour", "not recorded")), Cell("")]))
        else:
            usd = Cell(f"{row['usd_per_hour']:.4g}", "num")
            rows.append(NamedRow(line.hardware, [usd, Cell(row["price_kind"]), Cell(row["price_source"]), Cell(row["price_date"])]))
    columns = [
        Column("hardware", "Hardware"), Column("", "Price", "$/h, whole machine", numeric=True), Column("", "Kind"),
        Column("", "Source"), Column("", "Valid on"),
    ]  # fmt: skip
    lede = (
        "$ per 1M samples = $/h × charged share ÷ (3600 × throughput × utilisation) × 1,000,000. "
        f"Here the share is {table.pricing.share:g} and the utilisation {table.pricing.utilisation:g}. "
        "Prices are applied when reading: accelmark report --price 0.35, or --owned 2400usd/3y --kwh 0.30."
    )
    return Grid(lede, columns, rows)


def data(
    every: Sequence[Line], table: Table, shown: Sequence[sheets.Sheet], base: dict[str, Line], base_name: str, notes: Notes
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
            "t": pool.add(details.title(line)),
            **({} if line.unranked or not line.value else {"v": float(f"{line.value:.6g}")}),
            **({"l": 1} if line.row["goal"] == "latency" else {}),
            **details.details(line, table.machines, pool),
        }
    return {
        "baseline": base_name,
        "facets": [name for name, _ in FACETS],
        "sections": details.SECTIONS,
        "metrics": [metric.title for metric in details.METRICS],
        "notes": ["", *notes.texts()],
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
    return [line for line in every if line.row["status"] == "ok" and line.row["role"] == "model"]


def _sections(page: dict[str, Any]) -> Iterable[tuple[str, str, bool]]:
    yield "hardware", "Hardware", bool(page["claims"])
    yield "comparison", "Comparison", bool(page["sheets"])
    yield "charts", "Charts", bool(page["charts"])
    yield "ceilings", "Machine ceilings", bool(page["ceilings"])
    yield "gaps", "Not measured", bool(page["gaps"])
    yield "method", "Method and words", True
    yield "prices", "Prices", bool(page["prices"])


def _pair(measured: float | None, sheet: float | None) -> tuple[Cell, Cell]:
    return _si(measured, "not measured"), _si(sheet, "not in the catalog")


def _si(value: float | None, reason: str) -> Cell:
    return Cell(reason, "num na") if value is None else Cell(plots.si(value).strip(), "num")


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


def _list(values: Iterable[str]) -> str:
    found = sorted(set(values))
    more = f" and {len(found) - GAP_WORKLOADS_MAX} more" if len(found) > GAP_WORKLOADS_MAX else ""
    return ", ".join(found[:GAP_WORKLOADS_MAX]) + more
