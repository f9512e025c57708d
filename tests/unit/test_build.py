from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import ROOT
from bench.build import Built, Wanted, prebuild


def test_each_distinct_artefact_is_made_once_and_what_cannot_be_made_has_its_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    wanted = [("kws", "onnx"), ("kws", "onnx"), ("kws", ""), ("kws", "papyrus"), ("nothing", "onnx")]
    made = {(one.workload, one.form): artefact for one, artefact in prebuild(Wanted(*pair) for pair in wanted)}
    assert list(made) == [("kws", "onnx"), ("kws", "papyrus"), ("nothing", "onnx")]
    assert not made["kws", "onnx"].problem
    assert made["kws", "onnx"].build_ns > 0
    assert list(tmp_path.rglob("kws.onnx"))
    assert made["kws", "papyrus"].problem == "no lowering to papyrus: add workloads/forms/papyrus.py"
    assert made["nothing", "onnx"].problem.startswith("PartError: unknown workload nothing")


def test_what_a_technique_makes_is_asked_of_the_engine_that_starts_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    treated = Wanted("digits-small", technique="int8-static", engine="onnxruntime", precision="int8")
    ((_, artefact),) = prebuild([treated])
    assert not artefact.problem
    assert {path.parent.parent.name for path in tmp_path.rglob("digits-small.onnx")} > {"onnx_qdq"}


def test_a_technique_that_nobody_has_is_a_reason_and_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    wanted = [Wanted("kws", "onnx", "magic"), Wanted("kws", "onnx")]
    problems = [artefact.problem for _, artefact in prebuild(wanted)]
    assert "unknown technique magic" in problems[0]
    assert problems[1] == ""


def test_a_building_process_that_dies_leaves_no_artefact_without_an_answer():
    wanted = Wanted("kws", "onnx")
    assert list(prebuild([wanted], python="/bin/false")) == [
        (wanted, Built(0, 0, "the building process ended with status 1 and did not make it"))
    ]


def test_nothing_is_started_for_nothing():
    assert list(prebuild([Wanted("kws")], python="/nowhere/python")) == []


def test_a_building_process_that_says_nothing_is_killed(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 3600\n")
    silent.chmod(0o755)
    ((_, artefact),) = prebuild([Wanted("kws", "onnx")], python=str(silent), timeout_s=0.2)
    assert artefact.problem == "the building process ended with status -9 and did not make it"


def test_a_building_process_ends_with_its_parent() -> None:
    reading, writing = os.pipe()
    waiting = (
        f"import time; from bench.protocol import *; end_with_reader({writing}); print(flush=True); time.sleep(3600)"
    )
    process = subprocess.Popen([sys.executable, "-c", waiting], cwd=ROOT, pass_fds=[writing], stdout=subprocess.PIPE)
    os.close(writing)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        os.close(reading)
        assert process.wait(timeout=30) == 1
