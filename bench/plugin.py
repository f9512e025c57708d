"""The pytest plugin: command line options, one parametrised item per measurement, and what is said at the end.

A run measures only when an argument names `bench/`. Names are checked before pytest starts a session, so that a mistake
is one line and exit status 2. It knows no part: what is vendor-specific is for the parts themselves to understand.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

from bench import RUNS

if TYPE_CHECKING:
    from bench.bundle.chosen import Chosen
    from bench.profiles import Profile
    from bench.recorder import Kept
    from bench.runner import Request, Runner
    from bench.selection import Selection

HERE = Path(__file__).resolve().parent
RUNNER = pytest.StashKey["Runner"]()
BAD_INPUT = 2

LISTS = {
    "--backend": "kinds of hardware, by name or family (default: every present one)",
    "--engine": "engines (default: every one that is there and is measured by default)",
    "--workload": "workloads (default: all but the large ones, which are measured when they are named)",
    "--model": "models of your own: FILE.onnx, a folder with a config.json, or hf:ID of one in the local Hugging Face "
    "cache; measured in place of all workloads, or beside those that --workload names",
    "--precision": "fp32, tf32, bf16, fp16, fp8, int8, int4 (default: fp32)",
    "--technique": "techniques (default: none)",
    "--scenario": "single_stream, multi_stream, offline, server, server(rate=40) for queries a second, cold_start, "
    "cold_start(page_cache=cold) (default: single_stream and offline)",
    "--batch": "batch sizes, or auto (default: 1, or the one batch that a model of your own was written for)",
    "--target": "BACKEND:SPECIFICATION, understood by the backend",
    "--dim": "NAME=NUMBER for a free dimension of --model, as in seq=128; axis 0 stays free for the batch",
    "--bound": "latency bounds in place of the workload's, in ms: 15 or 15@99 for the percentile",
    "--option": "KEY=VALUE overrides of an engine's settings",
    "--parts": "packages with further workloads, backends or engines",
    "--python": "ENGINE=PATH or BACKEND=PATH: another Python for its workers",
}
SINGLES = (
    "--goal",
    "--mode",
    "--results",
    "--rules",
    "--inputs",
    "--reference",
    "--calibration",
    "--eval",
    "--artifact",
)
PAIRS = {"--dim": "NAME=NUMBER, as in seq=128", "--option": "KEY=VALUE", "--python": "ENGINE=PATH"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(
        "accelmark", "accelmark: what to measure (pytest bench/ ...); lists are separated by commas"
    )
    for option, text in LISTS.items():
        group.addoption(option, action="append", default=[], metavar="LIST", help=text)
    mode = "infer, or train: whole steps of training, in batches of 32 if --batch says nothing else (default: infer)"
    group.addoption("--mode", metavar="MODE", help=mode)
    rules = "whose load generator drives: accelmark, or mlperf for MLPerf's LoadGen (default: accelmark)"
    group.addoption("--rules", metavar="NAME", help=rules)
    inputs = "samples for --model: arrays by input name, axis 0 being the sample axis (default: made up)"
    group.addoption("--inputs", metavar="FILE.npz", help=inputs)
    reference = "right outputs for --inputs, by output name (default: onnxruntime computes them in fp32)"
    group.addoption("--reference", metavar="FILE.npz", help=reference)
    calibration = "samples that quantise --model, none of which may be graded (default: --inputs, else made up)"
    group.addoption("--calibration", metavar="FILE.npz", help=calibration)
    metric = "a metric for --model: a function that gives a workloads.contract.Evaluation (default: no quality)"
    group.addoption("--eval", metavar="MODULE:FUNCTION", help=metric)
    artifact = "a bundle of accelmark export, or a compiled *_edgetpu.tflite: measured in place of what is made here"
    group.addoption("--artifact", metavar="FILE", help=artifact)
    meter = "what reads energy: rapl,nvml, csv:FILE,column=NAME, none (default: all that can read the device)"
    group.addoption("--meter", action="append", default=[], metavar="NAME", help=meter)
    group.addoption("--goal", metavar="GOAL", help="latency or throughput: tune engines for it whatever the scenario")
    group.addoption("--profile", default="quick", metavar="NAME", help="quick, standard or official (default: quick)")
    repeats = "processes per case in place of the profile's; from five on a figure has an interval"
    group.addoption("--repeats", metavar="N", help=repeats)
    group.addoption("--seed", default="0", metavar="N", help="seed of the order of the items (default: 0)")
    group.addoption("--results", metavar="DIR", help="where records are kept (default: results/runs)")
    group.addoption(
        "--timeout-s", metavar="S", help="give up on a phase of an item after S seconds (default: by phase)"
    )
    group.addoption(
        "--require",
        action="store_true",
        help="fail when hardware is absent or nothing was measured (an estimate is no measurement)",
    )
    group.addoption("--in-process", action="store_true", help="no worker processes, for debuggers: not for results")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Check everything that can be checked before a session starts."""
    if config.option.help or config.option.version:
        return None
    from bench.selection import SelectionError

    try:
        if _names_bench(config):
            config.stash[RUNNER] = _runner(config)
        elif asked := _asked_for(config):
            raise SelectionError(f"{asked} is for measuring: name the folder too, pytest bench/ {asked} ...")
    except (SelectionError, OSError) as error:
        print(f"accelmark: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("accelmark: interrupted before anything was measured", file=sys.stderr)
        return pytest.ExitCode.INTERRUPTED
    return None


def pytest_configure(config: pytest.Config) -> None:
    if RUNNER in config.stash:
        # An item that has no figures, or is interrupted, has nothing to replay.
        config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run that does not name bench/ never wanders into it, and a suite without items is none of the run."""
    if collection_path != HERE and HERE not in collection_path.parents:
        return None
    if RUNNER not in config.stash:
        return True
    suites = {item.case.suite for item in config.stash[RUNNER].items.values()}
    return True if collection_path.suffix == ".py" and _suite(collection_path.stem) not in suites else None


def pytest_report_header(config: pytest.Config) -> list[str]:
    if RUNNER not in config.stash:
        return []
    from bench.cases import broken
    from bench.runner import estimate

    runner = config.stash[RUNNER]
    request = runner.request
    about = estimate(list(runner.items.values()), request.profile)
    head = f"accelmark: {len(runner.items)} items, profile {request.profile.name}, seed {request.seed}, about {about}"
    return [head, *(f"accelmark: not loaded: {part.file}: {part.error}" for part in broken(request.selection))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "item_id" in metafunc.fixturenames and RUNNER in metafunc.config.stash:
        suite = _suite(metafunc.module.__name__.rpartition(".")[2])
        ids = [name for name, item in metafunc.config.stash[RUNNER].items.items() if item.case.suite == suite]
        metafunc.parametrize("item_id", ids, ids=ids)


@pytest.fixture
def measure(pytestconfig: pytest.Config) -> Callable[[str], Kept]:
    """Measures the item of that id and stores what comes of it; what has no figures skips or fails the test."""
    runner = pytestconfig.stash[RUNNER]

    def measured(item_id: str) -> Kept:
        from results.store import StoreError

        try:
            kept = runner.measure(item_id)
        except StoreError as error:
            pytest.exit(f"accelmark: {error}", BAD_INPUT)
        verdict, why = runner.verdict(kept)
        if verdict == "failed":
            pytest.fail(why, pytrace=False)
        if verdict == "skipped":
            pytest.skip(why)
        return kept

    return measured


def pytest_collection_finish(session: pytest.Session) -> None:
    """Now it is known what `-k` has left."""
    config = session.config
    if RUNNER not in config.stash or config.option.collectonly:
        return
    from bench.progress import Progress, terminal

    runner = config.stash[RUNNER]
    stream = terminal()
    if stream is not None:
        guess_s = mean(runner.request.profile.item_s(item.case.scenario) for item in runner.items.values())
        runner.progress = Progress(len(session.items), guess_s, stream)
    runner.prepare(item.callspec.params["item_id"] for item in session.items if hasattr(item, "callspec"))


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Where the progress line is drawn, it stands in for pytest's dots."""
    watched = RUNNER in config.stash and config.stash[RUNNER].progress is not None
    return (report.outcome, "", report.outcome.upper()) if watched and report.when == "call" else None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if RUNNER not in session.config.stash:
        return
    runner = session.config.stash[RUNNER]
    runner.close()
    nothing = not runner.counts["ok"] and not session.config.option.collectonly
    if runner.request.require and nothing and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if RUNNER not in config.stash or not config.stash[RUNNER].counts:
        return
    runner = config.stash[RUNNER]
    counted = ", ".join(f"{count} {status}" for status, count in sorted(runner.counts.items()))
    terminalreporter.section("accelmark")
    terminalreporter.write_line(f"records: {counted}, in {runner.recorder.run.folder}")
    if runner.request.require and not runner.counts["ok"]:
        terminalreporter.write_line("--require: nothing was measured", red=True)
    for why, count in runner.unmetered.items():
        terminalreporter.write_line(f"--meter: no energy of {count} records: {why}", yellow=True)
    terminalreporter.write_line("next: accelmark report")


def _suite(module: str) -> str:
    """`Case.suite` of the items that bench/test_SUITE.py measures."""
    return module.removeprefix("test_")


def _names_bench(config: pytest.Config) -> bool:
    """Whether an argument is this folder or lies in it; where the command was typed does not count."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return False
    paths = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return any(path == HERE or HERE in path.parents for path in (path.resolve() for path in paths))


def _asked_for(config: pytest.Config) -> str:
    """An option of ours that was given, or nothing; tests too take further parts."""
    ours = (*SINGLES, "--meter", *LISTS)
    return next((option for option in ours if option != "--parts" and config.getoption(option)), "")


def _runner(config: pytest.Config) -> Runner:
    from bench import cases
    from bench.runner import Runner
    from bench.selection import SelectionError
    from bench.surroundings import power

    if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
        raise SelectionError("workers of pytest-xdist would measure each other: leave out -n")
    request = _request(config)
    power.chosen(request.meters, request.selection.parts)
    chosen = cases.expand(request.selection)
    if not chosen:
        raise SelectionError("nothing to measure: no backend is present; accelmark doctor says why")
    if models := _models(config, request):  # after all that is cheap to check, as it may take minutes once
        request = replace(request, selection=replace(request.selection, models=models))
        chosen = cases.expand(request.selection)
    if not config.option.collectonly:
        from results.store import check_writable

        check_writable(request.results)
    return Runner(request, {item.id: item for item in cases.items(chosen, request.profile, request.seed)})


def _models(config: pytest.Config, request: Request) -> tuple[str, ...]:
    """Folders of the user's own models, prepared."""
    from bench import parts, usermodel
    from workloads.contract import Workload

    sources = _list(config, "--model")
    options = ("--inputs", "--reference", "--calibration", "--eval")
    brought = usermodel.Brought(*(config.getoption(option) or "" for option in options))
    here = config.invocation_params.dir
    taken = [found.name for found in parts.collect(Workload, request.selection.parts)] if sources else []
    asked = usermodel.asked(sources, _pairs(config, "--dim"), brought, taken=taken, here=here)
    return usermodel.prepare(asked, request.timeout_s or usermodel.TIMEOUT_S)


def _request(config: pytest.Config) -> Request:
    from bench import parts
    from bench.profiles import PROFILES
    from bench.runner import Request
    from bench.selection import SelectionError

    profile = config.getoption("profile")
    if profile not in PROFILES:
        raise SelectionError(parts.no_such("profile", profile, list(PROFILES)))
    given = config.getoption("results")
    for option in SINGLES:
        if config.getoption(option) == "":
            raise SelectionError(f"{option} is empty: give a value, or leave the option out")
    return Request(
        selection=_selection(config),
        profile=_profile(config, PROFILES[profile]),
        results=config.invocation_params.dir / given if given else RUNS,
        command=shlex.join(["pytest", *config.invocation_params.args]),
        seed=int(_number(config, "--seed", 0)),
        timeout_s=_number(config, "--timeout-s", 0.001) if config.getoption("timeout_s") else None,
        require=config.getoption("require"),
        in_process=config.getoption("in_process"),
        meters=tuple(config.getoption("--meter")),
    )


def _profile(config: pytest.Config, chosen: Profile) -> Profile:
    """The profile, with as many repeats as were asked for."""
    if config.getoption("repeats") is None:
        return chosen
    return replace(chosen, repeats=int(_number(config, "--repeats", 1)))


def _selection(config: pytest.Config) -> Selection:
    from bench.parts import installed
    from bench.scenarios import TRAIN_STEPS
    from bench.selection import Selection, SelectionError, parse_bound

    training = config.getoption("mode") == "train"
    for option in ("--artifact", "--model"):
        if training and config.getoption(option):  # before their files are looked at
            raise SelectionError(f"--mode train times steps, and {option} is about answers: leave it out")
    given = {option: _list(config, option) for option in LISTS if option not in PAIRS}
    brought = _artifact(config, given)
    return Selection(
        backends=given["--backend"],
        engines=given["--engine"],
        workloads=brought.workloads if brought else given["--workload"],
        precisions=(brought.precisions if brought else given["--precision"]) or Selection.precisions,
        artifact=brought.artifact if brought else "",
        form=brought.form if brought else "",
        techniques=given["--technique"] or Selection.techniques,
        scenarios=given["--scenario"] or ((TRAIN_STEPS,) if training else Selection.scenarios),
        batches=given["--batch"] or Selection.batches,
        mode=config.getoption("mode") or Selection.mode,
        goal=config.getoption("goal"),
        rules=config.getoption("rules") or Selection.rules,
        targets=given["--target"],
        options=_pairs(config, "--option"),
        bounds=tuple(parse_bound(text) for text in given["--bound"]),
        parts=tuple(dict.fromkeys((*given["--parts"], *installed()))),
        pythons=_pairs(config, "--python"),
    )


def _artifact(config: pytest.Config, given: Mapping[str, tuple[str, ...]]) -> Chosen | None:
    """What was brought to be measured."""
    if not (file := config.getoption("--artifact")):
        return None
    from bench.bundle.chosen import choose
    from bench.selection import SelectionError

    if given["--model"]:
        raise SelectionError("--artifact is one workload as it was made elsewhere: leave --model to another run")
    return choose(config.invocation_params.dir / file, given["--workload"], given["--precision"])


def _list(config: pytest.Config, option: str) -> tuple[str, ...]:
    """The distinct words of a list option, which may be given several times."""
    from bench.selection import SelectionError

    given = config.getoption(option)
    words = [word.strip() for text in given for word in text.split(",")]
    named = tuple(dict.fromkeys(word for word in words if word))
    if given and not named:  # a shell variable without a value must not select everything
        raise SelectionError(f"{option} is empty: name something, or leave the option out")
    return named


def _pairs(config: pytest.Config, option: str) -> dict[str, str]:
    from bench.selection import SelectionError

    pairs = [word.partition("=") for word in _list(config, option)]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise SelectionError(f"{option} {key}{equals}{value}: write {PAIRS[option]}")
    return {key: value for key, _, value in pairs}


def _number(config: pytest.Config, option: str, least: float) -> float:
    from bench.selection import SelectionError

    text = config.getoption(option)
    try:
        number = float(text) if option == "--timeout-s" else int(text)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise SelectionError(f"{option} {text}: a number of at least {least:g} is needed")
    return number
