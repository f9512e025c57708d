"""`pytest bench/ --mode=train` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.run_helpers import ENVIRONMENT, ROOT, bench, measured

CHOSEN = ("--parts=tests.fakes.trainers", "--backend=fake", "--workload=fake-lesson", "--batch=4")
HEAVY = ("numpy", "pandas", "pydantic", "torch", "onnxruntime")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--technique=int8-static",), "--mode train times steps, and --technique is about answers: leave it out"),
        (("--rules=mlperf",), "--mode train times steps, and --rules is about answers: leave it out"),
        (("--scenario=offline",), "--mode train times steps, and --scenario is about answers: leave it out"),
        (("--artifact=bundle.zip",), "--mode train times steps, and --artifact is about answers: leave it out"),
        (("--model=own.onnx",), "--mode train times steps, and --model is about answers: leave it out"),
    ],
)
def test_what_is_about_answers_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = bench(tmp_path / "runs", "--mode=train", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr == f"accelmark: {message}\n"
    assert done.stdout == ""


def test_steps_are_measured_and_whoever_only_looks_like_it_fails_the_run(tmp_path: Path) -> None:
    engines = "--engine=fake-trainer,fake-only-forward,fake-answers"
    done = bench(tmp_path / "runs", "--mode=train", *CHOSEN, engines)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 1 skipped" in done.stdout
    assert "does_not_train: the loss on one batch went from 8 to 8" in done.stdout
    by_engine = {record.identity.engine: record for record in measured(tmp_path / "runs")}
    assert {record.identity.mode for record in by_engine.values()} == {"train"}
    assert by_engine["fake-answers"].reason == "fake-answers does not train"
    assert by_engine["fake-trainer"].evidence.training.changed == 30


def test_collecting_imports_nothing_heavy() -> None:
    arguments = ["bench/", "--mode=train", "--workload=digits-large,resnet50", "--backend=cpu", "--collect-only", "-q"]
    script = f"import pytest, sys; pytest.main({[*arguments, '-p', 'no:cacheprovider']}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "digits-large-cpu-onnxruntime-fp32-train_steps-b32" in done.stdout
    assert not set(HEAVY) & set(done.stdout.splitlines()[-1].split())
