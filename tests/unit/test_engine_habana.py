"""The habana engine: what it makes of half an installation, and (marked torch) its calls, into a fake plug-in."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends._host import Host
from backends.contract import Device
from backends.engines import habana
from backends.engines.habana import HabanaEngine

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests/fakes/habana"
FAKED = pytest.mark.support("gaudi", "habana", level="fake", on="the plug-in's calls as docs.habana.ai has them")
CARD = Device("gaudi", "Intel Gaudi 2", {"habana": "hpu"})
NOWHERE = Host(Path("/nowhere"))


def test_a_device_of_another_kind_is_not_driven() -> None:
    assert "cannot drive" in HabanaEngine(NOWHERE).available(Device("gaudi", "Intel Goya", {})).reason


def test_without_the_plug_in_it_is_absent_and_no_index_is_named() -> None:
    presence = HabanaEngine(NOWHERE).available(CARD)
    assert presence.state == "absent"
    assert "habana-torch-plugin" in presence.reason
    assert "docs.habana.ai" in presence.remedy


def test_a_namesake_of_the_plug_in_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "habana_frameworks").mkdir()
    (tmp_path / "habana_frameworks/__init__.py").write_text("raise SystemError('a placeholder was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    presence = HabanaEngine(NOWHERE).available(CARD)
    assert presence.state == "broken"
    assert "not the vendor's" in presence.reason


@pytest.mark.parametrize(
    ("driver", "plugin", "state"),
    [
        ("1.22.0-8be82b3", "1.22.0.740", "present"),
        ("1.21.4-3a7f9c1", "1.22.0.740", "broken"),
        (None, "1.22.0.740", "present"),
        ("1.22.0-8be82b3", None, "present"),
    ],
)
def test_driver_and_plug_in_are_of_one_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str | None, plugin: str | None, state: str
) -> None:
    if driver:
        (tmp_path / "sys/module/habanalabs").mkdir(parents=True)
        (tmp_path / "sys/module/habanalabs/version").write_text(driver + "\n")
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setattr(habana, "installed", lambda name: plugin)
    presence = HabanaEngine(Host(tmp_path)).available(CARD)
    assert presence.state == state
    if state == "broken":
        assert "1.21" in presence.reason
        assert "habanalabs-dkms 1.22" in presence.remedy


def test_large_weights_are_drawn_by_the_host() -> None:
    class Recipe:
        def place(self, device: str, dtype: str) -> tuple[str, str]:
            return device, dtype

    assert habana._on_host(Recipe(), "bfloat16") == ("cpu", "bfloat16")


SCRIPT = """
import json, sys
import numpy as np
from backends.contract import Device, Plan, Unsupported
from backends.engines.habana import HabanaEngine
from bench import parts
from workloads.contract import Workload
mode, precision, name = sys.argv[1:]
workload = parts.find(Workload, "kws", ())
plan = Plan(precision, 3, "latency", options={"mode": mode})
try:
    session = HabanaEngine().compile(workload.model(), plan, Device("gaudi", name, {"habana": "cpu"}))
except Unsupported as error:
    print(json.dumps({"unsupported": str(error)}))
    sys.exit()
import habana_frameworks.torch as plugin
compiled_first = dict(plugin.calls)
inputs = workload.samples("perf", 3, 0).inputs
outputs = session.get(session.run(session.put(inputs)))
golden = workload.golden().outputs
print(json.dumps({
    "error": max(float(np.abs(outputs[key] - golden[key][:3]).max()) for key in outputs),
    "lazy": plugin.LAZY_MODE, "first": compiled_first, "calls": plugin.calls,
    "settings": dict(session.facts.settings), "proof": session.facts.placement.proof,
    "share": session.facts.placement.share,
}))
session.close()
"""


def said(mode: str, precision: str = "fp32", name: str = "Intel Gaudi 2", **environment: str) -> dict[str, Any]:
    """What the engine did in a process of its own, as importing the plug-in chooses its mode once."""
    path = os.pathsep.join([str(FAKE), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode, precision, name],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.torch
@FAKED
@pytest.mark.parametrize(("mode", "lazy"), [("compile", "0"), ("eager", "0"), ("lazy", "1")])
def test_the_mode_is_chosen_before_the_import_and_kept(mode: str, lazy: str) -> None:
    answer = said(mode, PT_HPU_LAZY_MODE="2")
    assert answer["error"] < 1e-4
    assert (answer["lazy"], answer["settings"]["PT_HPU_LAZY_MODE"], answer["settings"]["mode"]) == (lazy, lazy, mode)
    assert answer["share"] == 1.0
    assert "GAUDI2 (fake)" in answer["proof"]
    assert (answer["calls"]["compiled"] > 0) == (mode == "compile")
    assert answer["calls"]["compiled"] == answer["first"]["compiled"], "a graph was compiled in a timed run"
    assert answer["calls"]["mark_step"] == (2 if mode == "lazy" else 0)
    assert answer["calls"]["synchronize"] == answer["first"]["synchronize"] + 2, "one after put and one after run"


@pytest.mark.torch
@FAKED
def test_reduced_precision_comes_back_as_fp32() -> None:
    assert 1e-4 < said("eager", "bf16")["error"] < 1.0


@pytest.mark.torch
@FAKED
def test_what_cannot_be_is_said() -> None:
    assert "aten::digamma on the host" in said("eager", FAKE_HPU_FALLBACK="aten::digamma")["unsupported"]
    assert "lists no card" in said("eager", FAKE_HPU_COUNT="0")["unsupported"]
    assert "only in fp32 or bf16" in said("eager", "fp16", "Intel Gaudi")["unsupported"]
    assert "mode=fast" in said("fast")["unsupported"]
