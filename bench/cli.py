"""The command `accelmark`: what can be measured here, what there is to measure, and what was measured.

Measuring itself is pytest's: `pytest bench/ --backend=cpu`. Every import beyond the standard library is made by the
command that needs it, so that `--help` answers at once and a broken part is a row, not a traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from bench import RUNS

DESCRIPTION = "Which hardware, engine, precision and policy an AI workload should run on, and what it will cost."
EXAMPLES = """\
examples:
  pytest bench/ --backend=cpu                              measure every workload on every engine of the processor
  pytest bench/ --workload=resnet50 --profile=standard     one workload, five repeats, with an interval
  pytest bench/ --backend=cuda                             absent hardware is skipped, and says why
  accelmark doctor                                         what works here, having computed with each engine
  accelmark report --price 0.35                            the page, for a machine at 0.35 USD per hour
  accelmark report --owned 2400usd/3y --kwh 0.30           the page, for a machine you own
  accelmark report --format csv --out results.csv          the table for a spreadsheet
  accelmark compare previous latest                        did it change, and by how much
  accelmark advise --bound 50ms --quality 97%              the cheapest configuration that keeps both, and what does not
  accelmark import summary_results.json                    what others published, beside what you measured
  accelmark lint                                           results that cannot be, or need an explanation
  accelmark export kws --target tflite_int8                one file to carry to a board, for accelmark verify there
  accelmark support                                        how far each kind of hardware was proved
  accelmark selfcheck                                      is this machine fit to measure on, and are we
"""
GLOSSARY = {
    "workload": "what is computed: a network, its inputs, its quality metric and its latency bounds (resnet50, kws)",
    "technique": "what turns a model into a cheaper one (int8-static, distill); joined by a plus",
    "precision": "the arithmetic really used; fp32 means fp32, whatever an engine would do by default",
    "backend": "a kind of hardware (cpu, cuda, tpu); several may share a family (asic)",
    "engine": "software that compiles and runs a model on a device (onnxruntime, openvino)",
    "scenario": "the load, with MLPerf's names: single_stream, multi_stream, server, offline; and cold_start",
    "goal": "what the engine is tuned for, latency or throughput; the scenario implies it",
    "policy": "what turns a serving system into another (a cache); none is measured yet",
    "profile": "how much effort: quick (one repeat), standard (five), official (ten, MLPerf's durations)",
    "sample": "one raw measured value; all of them are kept",
    "summary": "what is derived from samples: percentiles, rates, a verdict; can be made again",
    "provenance": "where a value is from: measured, simulator, estimate, published or modelled; never ranked together",
    "verdict": "of a result: valid, noisy, invalid, with reasons; of a claim: holds, exceeds, falls short, undecided",
}
KINDS = ("workloads", "techniques", "backends", "engines", "meters", "scenarios", "profiles", "exports")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 (something is broken), 2 (bad input, one line on stderr), 130 (Ctrl-C)."""
    chosen = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has seen enough; python would complain about that at exit
        return 0
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError) as error:
        print(f"accelmark: {_line(error)}", file=sys.stderr)
        return 2


def doctor(chosen: argparse.Namespace) -> int:
    from bench import console
    from bench.doctor import examine

    findings = list(examine(tuple(chosen.parts), not chosen.dry, chosen.engine or None))
    console.table(
        "what can be measured here",
        ("kind", "name", "state", "detail", "what to do"),
        [(one.kind, one.name, one.state, one.detail, one.remedy) for one in findings],
    )
    faults = [one for one in findings if one.is_fault]
    if faults:
        print(
            f"accelmark: {len(faults)} of {len(findings)} are broken: {', '.join(f.name for f in faults)}",
            file=sys.stderr,
        )
    return 1 if faults else 0


def list_parts(chosen: argparse.Namespace) -> int:
    from bench import console
    from bench.inventory import TABLES

    for kind in chosen.kinds or KINDS:
        columns, rows = TABLES[kind](tuple(chosen.parts))
        console.table(kind, columns, rows)
    return 0


def report(chosen: argparse.Namespace) -> int:
    from bench.reading import write_report

    return write_report(chosen)


def compare(chosen: argparse.Namespace) -> int:
    from bench.reading import print_comparison

    return print_comparison(chosen)


def import_published(chosen: argparse.Namespace) -> int:
    from bench.reading import import_published

    return import_published(chosen)


def advise(chosen: argparse.Namespace) -> int:
    from bench.advising import print_advice

    return print_advice(chosen)


def lint(chosen: argparse.Namespace) -> int:
    from bench.reading import print_lints

    return print_lints(chosen)


def selfcheck(chosen: argparse.Namespace) -> int:
    from bench.selfcheck import run

    return run(chosen)


def export(chosen: argparse.Namespace) -> int:
    from bench.bundle.command import run_export

    return run_export(chosen)


def verify(chosen: argparse.Namespace) -> int:
    from bench.bundle.command import run_verify

    return run_verify(chosen)


def support(chosen: argparse.Namespace) -> int:
    from bench import console
    from bench import support as table

    if chosen.take:
        table.take(chosen.take)
    rows = table.read()
    if chosen.write:
        table.rewrite(chosen.write, rows)
    else:
        console.table("how far it was proved, and on what", table.COLUMNS, table.cells(rows))
    return 0


def _parser() -> Parser:
    words = "\n".join(f"  {word:<11} {meaning}" for word, meaning in GLOSSARY.items())
    parser = Parser(
        prog="accelmark",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\nwords:\n{words}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    _add_doctor(commands)
    _add_list(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_advise(commands)
    _add_import(commands)
    _add_lint(commands)
    _add_selfcheck(commands)
    _add_export(commands)
    _add_verify(commands)
    _add_support(commands)
    return parser


def _add_doctor(commands: Commands) -> None:
    text = "what can be measured here: each backend probed, each engine made to compute, in a process of its own"
    parser = commands.add_parser("doctor", help=text, description=text)
    parser.add_argument("--dry", action="store_true", help="only look, compute nothing")
    parser.add_argument("--engine", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    _add_parts(parser)
    parser.set_defaults(command=doctor)


def _add_list(commands: Commands) -> None:
    text = f"what there is to choose from: {', '.join(KINDS)}"
    parser = commands.add_parser("list", help=text, description=text)
    parser.add_argument("kinds", nargs="*", metavar="KIND", type=_kind, help="only these; all of them by default")
    _add_parts(parser)
    parser.set_defaults(command=list_parts)


def _kind(text: str) -> str:
    if text not in KINDS:
        raise argparse.ArgumentTypeError(f"no such kind: {text}; there are: {', '.join(KINDS)}")
    return text


def _add_parts(parser: argparse.ArgumentParser) -> None:
    text = "a further Python package with parts of any kind; may be repeated"
    parser.add_argument("--parts", action="append", default=[], metavar="PACKAGE", help=text)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=RUNS, metavar="DIR", help="where runs are (results/runs)")


def _add_report(commands: Commands) -> None:
    text = "the newest results as one page or table, priced as you say"
    parser = commands.add_parser("report", help=text, description=text)
    _add_results(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="what to write (results/report.FORMAT)")
    text = "html, or an export: accelmark list exports (html)"
    parser.add_argument("--format", default="html", metavar="NAME", help=text)
    _add_pricing(parser)
    parser.add_argument("--baseline", metavar="TEXT", help="what ratios are counted from, as the page names it")
    text = "latency bounds in place of the workloads' own, in ms: 15, or 15@95 for a percentile; may be repeated"
    parser.add_argument("--bound", action="append", default=[], metavar="BOUND", help=text)
    parser.set_defaults(command=report)


def _add_pricing(parser: argparse.ArgumentParser) -> None:
    price = parser.add_mutually_exclusive_group()
    price.add_argument("--price", metavar="USD", help="price of every machine, in USD per hour")
    price.add_argument("--owned", metavar="SPEC", help="an owned machine: its price and its life, as in 2400usd/3y")
    parser.add_argument("--kwh", metavar="USD", help="price of electricity, in USD per kilowatt-hour")
    parser.add_argument(
        "--share", default="1", metavar="SHARE", help="share of the machine that is charged, above 0 and up to 1 (1)"
    )
    parser.add_argument(
        "--utilisation", default="1", metavar="SHARE", help="share of the paid time that is used, likewise (1)"
    )
    parser.add_argument("--region", metavar="NAME", help="region of the catalog's prices, as in us-east-1")


def _add_advise(commands: Commands) -> None:
    text = "the cheapest configuration that keeps what you ask for, the runners-up, and why the others do not"
    parser = commands.add_parser("advise", help=text, description=text)
    _add_results(parser)
    _add_pricing(parser)
    text = "the latency to keep, in ms, by 99 %% of queries or by another percentile: 50ms, 50@95"
    parser.add_argument("--bound", metavar="BOUND", help=text)
    text = "the worst quality to accept: a value of the workload's metric (0.97), or a share of fp32's (97%%)"
    parser.add_argument("--quality", metavar="VALUE", help=text)
    parser.add_argument("--max-watts", metavar="W", help="the most power to take while it works")
    parser.add_argument("--workload", action="append", default=[], metavar="NAME", help="only these; may be repeated")
    parser.add_argument("--noisy", action="store_true", help="noisy results too, marked; by default valid ones alone")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many to show of each workload (5)")
    parser.set_defaults(command=advise)


def _add_compare(commands: Commands) -> None:
    text = "whether results changed from A to B, with the smallest change that could have been seen"
    parser = commands.add_parser("compare", help=text, description=text)
    parser.add_argument("a", metavar="A", help="a run's name, latest, previous, or a folder of runs")
    parser.add_argument("b", metavar="B", help="likewise")
    _add_results(parser)
    text = "exit with 1 if anything became slower, with 2 if nothing is in both; undecidable is no regression"
    parser.add_argument("--fail-on-regression", action="store_true", help=text)
    parser.set_defaults(command=compare)


def _add_import(commands: Commands) -> None:
    text = "keep what others published beside the runs: MLPerf's summary_results.json or summary.csv, or a table as CSV"
    columns = "hardware,n_accel,software,workload,dtype,batch,scenario,metric,value,unit,source,date,note"
    parser = commands.add_parser("import", help=text, description=f"{text} with the columns {columns}")
    parser.add_argument("file", type=Path, metavar="FILE", help="what was published; importing it twice adds nothing")
    _add_results(parser)
    parser.set_defaults(command=import_published)


def _add_lint(commands: Commands) -> None:
    text = "what cannot be, or needs an explanation, in a set of results: roofs, Little's law, links"
    parser = commands.add_parser("lint", help=text, description=text)
    _add_results(parser)
    parser.set_defaults(command=lint)


def _add_selfcheck(commands: Commands) -> None:
    text = "whether this machine and this harness can be trusted: clock, overhead, agreement with other tools"
    parser = commands.add_parser("selfcheck", help=text, description=text)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="only these; all of them by default")
    parser.add_argument("--workload", default="mobilenetv2", metavar="NAME", help="what they run (mobilenetv2)")
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="alternated pairs of each, at least 6 (10)")
    parser.set_defaults(command=selfcheck)


def _add_export(commands: Commands) -> None:
    text = "one verified file to carry to a device: the compiled model, samples with right answers, hashes, licence"
    parser = commands.add_parser("export", help=text, description=text)
    parser.add_argument("workload", metavar="WORKLOAD", help="accelmark list workloads")
    text = "a form (onnx, tflite, tflite_int8, edgetpu), or the backend or engine that it is for"
    parser.add_argument("--target", required=True, metavar="NAME", help=text)
    parser.add_argument("--precision", default="", metavar="NAME", help="in which it computes (the form's own)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write it (here)")
    _add_parts(parser)
    parser.set_defaults(command=export)


def _add_verify(commands: Commands) -> None:
    text = "whether a bundle is whole, and answers rightly on what is here; exits 1 if not, 2 if it is no bundle"
    parser = commands.add_parser("verify", help=text, description=text)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="what accelmark export wrote")
    parser.add_argument("--engine", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    _add_parts(parser)
    parser.set_defaults(command=verify)


def _add_support(commands: Commands) -> None:
    text = "how far each backend and engine was proved, on what and when: real device, real compiler, simulator, fake"
    parser = commands.add_parser("support", help=text, description=text)
    text = "first take over the rows of a table that was written on another machine"
    parser.add_argument("--take", type=Path, metavar="FILE.toml", help=text)
    parser.add_argument("--write", type=Path, metavar="README.md", help="put the table between its marks in this page")
    parser.set_defaults(command=support)


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
