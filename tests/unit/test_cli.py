"""The command line as a user meets it: help, lists, reports and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli, console, inventory, reading
from tests.fakes import market
from tests.fakes.records import write_root

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "doctor",
    "list",
    "report",
    "compare",
    "advise",
    "import",
    "lint",
    "selfcheck",
    "export",
    "verify",
    "support",
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs"
    write_root(path, identities=8, runs=2, repeats=5)
    return path


def test_help_has_every_command_every_word_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for word in (*COMMANDS, "examples:", "pytest bench/ --backend=cpu", *cli.GLOSSARY):
        assert word in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert command in out


def test_help_imports_no_heavy_library() -> None:
    script = "import sys; from bench import cli; cli._parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "matplotlib", "pydantic", "jinja2", "rich", "pytest", "onnxruntime", "openvino"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "required"),
        (("nonsense",), "nonsense"),
        (("list", "nonsense"), "there are: workloads, techniques, backends, engines, meters, scenarios, profiles, ex"),
        (("doctor", "--parts", "no_such_package"), "no_such_package"),
        (("doctor", "--engine", "onnxruntim"), "onnxruntime"),
        (("report", "--format", "docx"), "html"),
        (("report", "--results", "/nowhere/at/all"), "/nowhere/at/all"),
        (("report", "--price", "cheap"), "--price cheap: a number is needed"),
        (("report", "--price", "-1"), "--price -1: a finite number"),
        (("report", "--price", "nan"), "--price nan: a finite number"),
        (("report", "--price", "1", "--owned", "5usd/1y"), "not allowed with"),
        (("report", "--owned", "2400/3y"), "2400usd/3y"),
        (("report", "--utilisation", "0"), "utilisation is 0"),
        (("report", "--share", "1.5"), "share is 1.5"),
        (("report", "--bound", "soon"), "15@99"),
        (("report", "--bound", "nan"), "15@99"),
        (("report", "--bound", "10@101"), "15@99"),
        (("report", "--region", "us-esat-1"), "unknown region us-esat-1 (did you mean us-east-1"),
        (
            ("report", "--out", "/proc/nowhere/report.html"),
            "--out /proc/nowhere/report.html: cannot be written: No such",
        ),
        (("report", "--out", str(Path(__file__).parent)), "cannot be written: Is a directory"),
        (("report", "--out", ""), "cannot be written: Is a directory"),
        (("compare", "yesterday", "latest"), "latest and previous are names too"),
        (("compare", "", "latest"), "latest and previous are names too"),
        (("compare", str(Path(__file__).parent), "latest"), "latest and previous are names too"),
        (
            ("advise", "--quality", "good"),
            "--quality good: write a value of the metric, as in 0.97, or a share of fp32",
        ),
        (("advise", "--bound", "soon"), "15@99"),
        (("advise", "--max-watts", "few"), "--max-watts few: a number is needed"),
        (("advise", "--top", "0"), "--top 0: at least 1"),
        (
            ("advise", "--workload", "resnet5"),
            "unknown workload among these results resnet5 (did you mean resnet50",
        ),
        (("advise", "--results", str(Path(__file__).parent)), "no network's answers were measured there"),
        (("lint", "--results", "/nowhere/at/all"), "/nowhere/at/all"),
        (("import", "/nowhere/at/all.csv"), "/nowhere/at/all.csv: No such file"),
        (("import", str(Path(__file__))), "no table of published results that is known; known are MLPerf"),
        (("selfcheck", "clokc"), "unknown check clokc (did you mean clock?)"),
        (("selfcheck", "--pairs", "5"), "--pairs 5: fewer than 6 have no 95 % interval"),
        (("selfcheck", "--workload", "resnet5"), "unknown workload resnet5 (did you mean resnet50"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(
    arguments: tuple[str, ...], cause: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[:1] in (("report",), ("compare",), ("advise",)) and "--results" not in arguments:
        arguments = (*arguments, "--results", str(root))
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("accelmark")
    assert cause in err


def test_advice_names_the_cheapest_first_and_why_others_are_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("advise", "--results", str(root), "--price", "0.36", "--noisy", "--workload", "mobilenetv2")
    status, out, err = run(capsys, *arguments, "--bound", "50ms")
    assert (status, err) == (0, "")
    assert out.startswith("mobilenetv2: 1 of 1 configurations qualify\n")
    assert "quality not known" in out
    status, out, _ = run(capsys, *arguments, "--quality", "97%")
    assert status == 1
    assert out.startswith("mobilenetv2: 0 of 1 configurations qualify\nmobilenetv2: rejected\n")
    assert "quality not known: random weights" in out


def test_every_kind_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--parts", "tests.fakes")
    assert status == 0
    for expected in (*cli.KINDS, "resnet50", "cuda", "onnxruntime", "single_stream", "official", "csv", "fake-memory"):
        assert expected in out
    assert set(cli.KINDS) == set(inventory.TABLES)


def test_one_kind_is_listed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list", "profiles")
    assert out.splitlines()[0] == "profiles"
    assert "workloads" not in out


def test_a_part_that_cannot_be_imported_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn_parts").mkdir()
    (tmp_path / "torn_parts" / "torn.py").write_text("1 / 0\n")
    (tmp_path / "torn_parts" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    status, out, _ = run(capsys, "list", "engines", "--parts", "torn_parts")
    assert status == 0
    assert "ZeroDivisionError" in out


def test_the_glossary_has_the_words_of_the_records() -> None:
    words = {"workload", "precision", "backend", "engine", "scenario", "policy", "sample", "provenance", "verdict"}
    assert words <= set(cli.GLOSSARY)


@pytest.mark.parametrize("format_", ["html", "csv", "json", "md"])
def test_a_report_is_written_and_its_path_is_the_last_line(
    format_: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file = tmp_path / "deep" / f"report.{format_}"
    status, out, err = run(capsys, "report", "--results", str(root), "--format", format_, "--out", str(out_file))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == str(out_file)
    text = out_file.read_text(encoding="utf-8")
    assert "resnet50" in text
    if format_ == "json":
        assert json.loads(text)


def test_a_report_to_a_pipe_or_a_device_is_written_to_it_and_replaces_nothing(root: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    assert cli.main(["report", "--results", str(root), "--out", str(pipe)]) == 0
    text, _ = reader.communicate(timeout=60)
    assert b"resnet50" in text
    assert pipe.is_fifo()


def test_a_price_is_applied_when_reading(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for price in ("0.5", "1.0"):
        out_file = tmp_path / f"{price}.csv"
        run(capsys, "report", "--results", str(root), "--format", "csv", "--out", str(out_file), "--price", price)
        texts.append(out_file.read_text(encoding="utf-8"))
    assert texts[0] != texts[1]


def test_what_cannot_be_read_is_named_and_the_rest_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    write_root(runs, identities=4, runs=1, repeats=1)
    (log,) = runs.glob("*/records.log")
    whole = log.read_bytes()
    first = whole.index(b"\n")
    log.write_bytes(whole[: first - 1] + b"x" + whole[first:] + b"00000000 12 torn")
    out_file = tmp_path / "page.html"
    status, out, err = run(capsys, "report", "--results", str(runs), "--out", str(out_file))
    assert status == 2
    assert err.count("\n") == 2
    assert all(line.startswith(f"accelmark: {log}, record ") for line in err.splitlines())
    assert out.splitlines()[-1] == str(out_file)
    assert out_file.stat().st_size > 1000


def test_compare_finds_runs_by_their_place(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "compare", "previous", "latest", "--results", str(root))
    assert (status, err) == (0, "")
    assert "latency p50 (ms)" in out
    assert "could be seen" in out


def test_compare_of_a_run_with_itself_finds_no_change(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "compare", "latest", "latest", "--results", str(root))
    assert " no difference " in out
    assert " faster " not in out
    assert " slower " not in out


def test_plain_tables_have_no_trailing_blanks_and_no_colours() -> None:
    text = console.plain("title", ("a", "b"), [("1", ""), ("x" * 200, "y")])
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert "\x1b" not in text
    assert "y" in text.splitlines()[3]


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m bench.cli list | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_without_a_traceback(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "print_comparison", interrupted)
    assert run(capsys, "compare", "a", "b") == (130, "", "")


def test_the_command_runs_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "list", "profiles"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_import_keeps_others_figures_once_and_names_the_bad_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, runs = tmp_path / "table.csv", tmp_path / "runs"
    file.write_text(market.table(*market.OPENVINO, market.row("X", "Y", 0, "ms")))
    status, out, err = run(capsys, "import", str(file), "--results", str(runs))
    assert (status, out) == (2, "table.csv: 3 new, 0 known already, 1 left out\n")
    assert err == f"accelmark: {file}, line 5: value is 0: no result; left out\n"
    file.write_text(market.table(*market.OPENVINO))
    assert run(capsys, "import", str(file), "--results", str(runs))[:2] == (
        0, "table.csv: 0 new, 3 known already, 0 left out\n",
    )  # fmt: skip


def test_lint_tells_what_cannot_be_in_others_tables_and_does_not_fail_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text(market.table(*market.OPENVINO))
    run(capsys, "import", str(tmp_path / "table.csv"), "--results", str(tmp_path / "runs"))
    status, out, _ = run(capsys, "lint", "--results", str(tmp_path / "runs"))
    assert status == 0
    assert "3 published figures, 4 findings" in out
    assert "over_peak" in out
    assert "table.csv:3" in out
