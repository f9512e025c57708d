"""`accelmark report`, `compare`, `lint` and `import`: from stored records to a page, a table or a verdict."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from bench import ROOT, console
from bench.parts import no_such

if TYPE_CHECKING:
    from results.compare import Compared
    from results.cost import Pricing
    from results.lints import Finding
    from results.metrics import Metric
    from results.published import Published
    from results.record import Bound
    from results.stats import Interval
    from results.store import Problem

PAGE = ROOT / "results" / "report.html"
UNREADABLE = 2
REGRESSED = 1
IMPOSSIBLE = 1


def write_report(chosen: argparse.Namespace) -> int:
    """Write what is whole and print its path last; 2 when something could not be read, each with a line on stderr."""
    from results import exports, files, join, report

    if chosen.format not in (known := ("html", *exports.formats())):
        raise ValueError(no_such("format", chosen.format, known))
    out: Path = chosen.out or PAGE.with_suffix(f".{chosen.format}")
    table = join.table(chosen.results, pricing(chosen), tuple(bound(text) for text in chosen.bound))
    try:
        if chosen.format == "html":
            report.write(table, out, baseline=chosen.baseline)
        else:
            files.write(out, exports.render(chosen.format, table))
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written: {error.strerror}; name a file that can be") from error
    status = tell(table.problems)
    print(out.resolve())
    return status


def print_comparison(chosen: argparse.Namespace) -> int:
    """Print what changed from A to B, what became slower first; 2 for what could not be read.

    Where a regression is to fail: 1 for what became slower, and 2 where nothing could be compared.
    """
    from results import compare
    from results.difference import CONFIDENCE

    problems: list[Problem] = []
    a, b = (compare.select(chosen.results, name) for name in (chosen.a, chosen.b))
    rows = compare.compare(a, b, problems)
    columns = ("workload", "device", "engine", "case", "metric", "A", "B", "B / A", "outcome", "why")
    shown = sorted(rows, key=lambda row: _OUTCOMES.index(row.outcome))
    console.table(f"A {a}\nB {b}", columns, [_compared(row) for row in shown])
    nothing = not any(row.metric for row in rows)
    if nothing:
        print("accelmark: nothing is in both", file=sys.stderr)
    predicted = [row for row in rows if row.metric is not None and row.identity.scenario == "compile"]
    told = sum(row.outcome == "slower" for row in predicted)
    slower = sum(row.outcome == "slower" for row in rows)
    if slower > told:
        compared = sum(row.metric is not None for row in rows) - len(predicted)
        chance = f"chance calls up to {(1 - CONFIDENCE) / 2:.1%} of equals slower"
        print(f"{slower - told} of {compared} became slower; {chance}, so measure again before you believe it")
    if told:
        print(
            f"{told} of {len(predicted)} estimates became slower: what a compiler says, and nothing that was measured"
        )
    status = UNREADABLE if nothing else REGRESSED if slower else 0
    return tell(problems) or (status if chosen.fail_on_regression else 0)


def print_lints(chosen: argparse.Namespace) -> int:
    """Print what cannot be or needs an explanation, a finding a row; 1 for what cannot be, 2 for what is unreadable.

    Others' figures and prices have findings too, which change no exit status: nothing here is wrong with them.
    """
    from results import catalog, join, lints

    table = join.table(chosen.results)
    named = {(row["key"], row["fingerprint"]): row for row in table.rows.to_dict("records")}
    findings = lints.find(table)
    columns = ("level", "what", "workload", "device", "engine", "case", "figures", "why")
    cells = [_finding(named[finding.row_key, finding.fingerprint], finding) for finding in findings]
    console.table(f"{len(named)} results, {len(findings)} findings", columns, cells)
    _print_published(table.published)
    for level, code, detail in lints.market.prices(catalog.prices()):
        print(f"{level}: {code} in the catalog of prices: {detail}")
    if not named and not table.published:
        raise ValueError(f"{chosen.results}: no results to lint; measure first")
    impossible = any(finding.level == "impossible" for finding in findings)
    return tell(table.problems) or (IMPOSSIBLE if impossible else 0)


def import_published(chosen: argparse.Namespace) -> int:
    """Keep others' figures beside the runs; 2 where rows had to be left out, each with a line on stderr."""
    from results import published

    done = published.import_file(chosen.file, chosen.results)
    for row in done.left_out:
        print(f"accelmark: {chosen.file}, {row}; left out", file=sys.stderr)
    print(f"{chosen.file.name}: {done.new} new, {done.known} known already, {len(done.left_out)} left out")
    return UNREADABLE if done.left_out else 0


def pricing(chosen: argparse.Namespace) -> Pricing:
    """Raises ValueError with one line for what is no price."""
    from results import catalog
    from results.cost import Owned, Pricing

    if chosen.region is not None and chosen.region not in (regions := catalog.regions()):
        raise ValueError(no_such("region", chosen.region, regions))
    return Pricing(
        usd_per_hour=number("--price", chosen.price),
        owned=Owned.parse(chosen.owned) if chosen.owned else None,
        usd_per_kwh=number("--kwh", chosen.kwh),
        share=number("--share", chosen.share),
        utilisation=number("--utilisation", chosen.utilisation),
        region=chosen.region,
    )


def bound(text: str) -> Bound:
    """15 or 15@99, as on the command line of a run."""
    from bench.selection import parse_bound
    from results.record import Bound

    return Bound(**asdict(parse_bound(text)))


@overload
def number(option: str, text: str) -> float: ...
@overload
def number(option: str, text: None) -> None: ...
def number(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{option} {text}: a number is needed") from error
    if not 0 <= number < math.inf:
        raise ValueError(f"{option} {text}: a finite number, 0 or more, is needed")
    return number


def _print_published(rows: Sequence[Published]) -> None:
    """What is odd among others' figures; it is no fault of these results."""
    from results.lints import WHY, market

    if not rows:
        return
    by_place = {row.place: row for row in rows}
    columns = ("level", "what", "network", "hardware", "precision", "scenario", "file", "figures", "why")
    findings = market.find(rows)
    cells = [
        (one.level, one.code, row.workload, row.hardware, row.precision, row.scenario, f"{row.file}:{row.line}",
         one.detail, WHY[one.code])
        for one in findings
        for row in (by_place[one.place],)
    ]  # fmt: skip
    console.table(f"{len(rows)} published figures, {len(findings)} findings", columns, cells)


def _finding(row: dict[Hashable, Any], finding: Finding) -> tuple[str, ...]:
    from results.lints import WHY

    who = _named(row, filter(None, row["options"].split(",")))
    return (finding.level, finding.code, *who, finding.detail, WHY[finding.code])


def _named(identity: Mapping[Any, Any], options: Iterable[str]) -> tuple[str, ...]:
    """Workload, device, engine, and what the case is beside them."""
    rules = () if identity["rules"] == "accelmark" else (identity["rules"],)
    technique = () if identity["technique"] == "none" else (identity["technique"],)
    words = (identity["scenario"], f"b{identity['batch']}", identity["precision"], *technique, *rules, *options)
    case = " ".join(words)
    return identity["workload"], identity["device"], identity["engine"], case


def tell(problems: Iterable[Problem]) -> int:
    status = 0
    for problem in problems:
        print(f"accelmark: {problem}", file=sys.stderr)
        status = UNREADABLE
    return status


_OUTCOMES = ("slower", "faster", "undecidable", "no difference")


def _compared(row: Compared) -> tuple[str, ...]:
    identity, metric = row.identity, row.metric
    options = (f"{name}={value}" for name, value in identity.options.items())
    who = _named(dict(identity), options)
    why = "; ".join(_whys(row))
    if metric is None:
        return (*who, "", "", "", "", row.outcome, why)
    figures = (_spread(metric, row.a), _spread(metric, row.b), _ratio(row.ratio))
    return (*who, metric.title, *figures, row.outcome, why)


def _whys(row: Compared) -> Iterator[str]:
    if row.reason:
        yield row.reason
    if row.detectable is not None:
        fall = row.detectable / (1 + row.detectable)
        yield f"a rise of {row.detectable:.1%} or a fall of {fall:.1%} could be seen"
    if row.changed:
        yield f"also changed: {', '.join(row.changed)}"


def _spread(metric: Metric, around: Interval | None) -> str:
    return "" if around is None else f"{metric.shown(around.centre)} (n={around.n})"


def _ratio(ratio: Interval | None) -> str:
    if ratio is None:
        return ""
    if ratio.low == ratio.high:
        return f"{ratio.centre:.3f}"
    kind = "95 % interval" if ratio.kind == "t" else "range"
    return f"{ratio.centre:.3f} ({kind} {ratio.low:.3f} to {ratio.high:.3f})"
