"""Models of a user's own, from the command line to the page."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.record import Record
from tests.fakes.processes import alive, wait_for
from tests.system.run_helpers import ENVIRONMENT, ROOT, command, measured
from tests.unit import user_models as models


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "ACCELMARK_CACHE": str(folder / "cache")}
    return subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three models: images, tokens of a chosen length, and one whose operations cannot be counted."""
    folder = tmp_path_factory.mktemp("own")
    ellipsis = models.node("Einsum", ["x", "w"], ["y"], equation="...i,ij->...j")
    shapes: list[list[models.Value]] = [[("x", "float32", ["n", 4])], [("y", "float32", ["n", 3])]]
    uncounted = models.model([ellipsis], *shapes, [models.weights("w", 4, 3)])
    protos = {"images": models.cnn(), "words": models.tokens(), "uncounted": uncounted}
    paths = [str(models.saved(proto, folder, f"{name}.onnx")) for name, proto in protos.items()]
    chosen = ("--backend=cpu", "--scenario=offline", f"--model={','.join(paths)}", "--dim=seq=8")
    done = run(folder, *command(folder / "runs", *chosen))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def preparing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose model is being prepared, for ever: onnxruntime is one that hangs."""
    (tmp_path / "onnxruntime.py").write_text("import time\ntime.sleep(600)\n")
    environment = {**ENVIRONMENT, "ACCELMARK_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    chosen = (f"--model={models.saved(models.cnn(), tmp_path)}", "--engine=openvino", "--backend=cpu")
    with subprocess.Popen(
        command(tmp_path / "runs", *chosen),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever the shell of these tests ignores
    ) as started:
        try:
            wait_for(lambda: list(tmp_path.glob("cache/models/*.part/graph/model.onnx")))
            yield started
        finally:
            started.kill()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_while_preparing_is_one_line(preparing: subprocess.Popen[str], tmp_path: Path) -> None:
    (child,) = children(preparing.pid)
    preparing.send_signal(signal.SIGINT)
    said, _ = preparing.communicate(timeout=30)
    assert preparing.returncode == 2
    assert said == "accelmark: interrupted before anything was measured\n"
    wait_for(lambda: not alive(child))
    assert not (tmp_path / "runs").exists()


def test_preparing_ends_with_a_killed_run(preparing: subprocess.Popen[str]) -> None:
    (child,) = children(preparing.pid)
    preparing.kill()
    preparing.wait(timeout=30)
    wait_for(lambda: not alive(child))


def named(folder: Path, workload: str) -> list[Record]:
    return [record for record in measured(folder / "runs") if record.identity.workload == workload]


@pytest.mark.parametrize("name", ["images", "words", "uncounted"])
def test_every_engine_measures_it_and_answers_right(measurement: Path, name: str) -> None:
    records = named(measurement, name)
    assert {record.identity.engine for record in records} >= {"onnxruntime", "openvino"}
    for record in records:
        assert record.status == "ok", record.reason
        assert record.evidence is not None
        assert record.evidence.outputs is not None
        assert record.evidence.outputs.n == record.evidence.outputs.identity_hits == 12
        assert record.evidence.quality is None
        assert f"{name}.onnx, content " in record.card.source


def test_operations_are_empty_with_a_reason_where_they_cannot_be_counted(measurement: Path) -> None:
    assert {record.card.flops for record in named(measurement, "images")} == {110_672}
    cards = [record.card for record in named(measurement, "uncounted")]
    assert {card.flops for card in cards} == {None}
    assert all("operations not counted, operator Einsum(...i,ij->...j) has no count" in card.source for card in cards)


@pytest.mark.parametrize("form", ["html", "md", "csv", "json"])
def test_reports_show_it(measurement: Path, form: str) -> None:
    out = measurement / f"report.{form}"
    report = [sys.executable, "-m", "bench.cli", "report", f"--results={measurement / 'runs'}", f"--format={form}"]
    done = run(measurement, *report, f"--out={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text()
    assert all(name in text for name in ("images", "words", "uncounted"))


def test_a_workload_that_is_named_stands_beside_it(measurement: Path) -> None:
    chosen = (f"--model={measurement / 'images.onnx'}", "--workload=kws", "--engine=onnxruntime", "--backend=cpu")
    done = run(measurement, *command(measurement / "none", "--collect-only", "-q", *chosen, "--scenario=offline"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_hardware[images-cpu-onnxruntime-fp32-offline-b1]" in done.stdout
    assert "test_hardware[kws-cpu-onnxruntime-fp32-offline-b1]" in done.stdout
    assert not (measurement / "none").exists()
