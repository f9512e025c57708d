"""CONTRIBUTING.md is followed to the letter, in a copy of the project: its files are written, nothing else changes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAKEN = ("backends", "bench", "results", "workloads", "conftest.py", "pyproject.toml")
RECIPE = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, str]:
    """The code blocks of CONTRIBUTING.md by the file that their first line names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in RECIPE.findall(text)]
    return {block.splitlines()[0].removeprefix("# "): block for block in blocks}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as somebody else's checkout, with every recipe's file in its place."""
    target = tmp_path_factory.mktemp("checkout")
    for name in TAKEN:
        source = ROOT / name
        if source.is_file():
            shutil.copy(source, target)
        else:
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "runs", "report.html"))
    for file, code in recipes().items():
        assert not (target / file).exists(), f"{file} exists already"
        (target / file).write_text(code, encoding="utf-8")
    return target


def run(copy: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def measure(copy: Path, *arguments: str) -> str:
    return run(copy, "pytest", "bench/", "-p", "no:cacheprovider", f"--results={copy / 'runs'}", *arguments)


def test_each_kind_of_part_has_a_recipe_of_one_file() -> None:
    shelves = {str(Path(file).parent) for file in recipes()}
    assert shelves == {
        "workloads/models", "workloads/techniques", "backends/engines", "backends/meters", "backends", "results/exports"
    }  # fmt: skip


def test_recipes_keep_the_house_rules() -> None:
    for file, code in recipes().items():
        checks = (["check", "-q"], ["format", "--check", "-q"])
        for check in checks:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "ruff",
                    *check,
                    "--config",
                    str(ROOT / "pyproject.toml"),
                    "--stdin-filename",
                    file,
                    "-",
                ],
                input=code,
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert done.returncode == 0, f"{file}: {done.stdout}{done.stderr}"


def test_the_engine_computes_and_is_measured(copy: Path) -> None:
    assert "ort_plain" in run(copy, "bench.cli", "list", "engines")
    assert "12 of 12 outputs right" in run(copy, "bench.cli", "doctor", "--engine", "ort_plain")
    out = measure(copy, "--backend=cpu", "--engine=ort_plain", "--workload=kws", "--scenario=single_stream")
    assert "1 ok" in out


def test_the_technique_is_measured_alone_and_joined_with_another(copy: Path) -> None:
    chosen = ("--engine=onnxruntime", "--workload=digits-large", "--scenario=single_stream")
    assert "2 ok" in measure(copy, "--backend=cpu", *chosen, "--technique=coarse,coarse+int8-static")


def test_the_meter_is_listed(copy: Path) -> None:
    assert re.search(r"meter +. battery", run(copy, "bench.cli", "doctor", "--dry"))


@pytest.mark.parametrize("name", ["ort_plain", "host", "battery"])
def test_parts_pass_the_conformance_suite(copy: Path, name: str) -> None:
    """By the command that CONTRIBUTING.md gives; the copy has the suite, but not the parts of the tests' own."""
    shutil.copytree(ROOT / "tests", copy / "tests", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    out = run(copy, "pytest", "tests/conformance", "-p", "no:cacheprovider", "-m", "not torch", "-k", name)
    assert re.search(r"[1-9]\d* passed", out)
    assert f"pytest tests/conformance -k {name}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_backend_is_measured(copy: Path) -> None:
    out = measure(copy, "--backend=host", "--engine=onnxruntime", "--workload=kws", "--scenario=offline")
    assert "1 ok" in out


def test_the_export_writes_what_was_measured(copy: Path) -> None:
    measure(copy, "--backend=cpu", "--engine=onnxruntime", "--workload=kws", "--scenario=offline")
    run(copy, "bench.cli", "report", "--results", "runs", "--format", "tsv", "--out", "table.tsv")
    lines = (copy / "table.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("workload\t")
    assert any(line.startswith("kws\t") for line in lines[1:])


@pytest.mark.torch
def test_the_workload_is_rebuilt_and_measured(copy: Path) -> None:
    run(copy, "workloads.rebuild", "mlp")
    made = {path.name for path in (copy / "workloads/graphs").glob("mlp.*")}
    assert made == {"mlp.onnx", "mlp.json", "mlp.golden.npz"}
    assert "1 ok" in measure(copy, "--backend=cpu", "--engine=onnxruntime", "--workload=mlp", "--scenario=offline")
