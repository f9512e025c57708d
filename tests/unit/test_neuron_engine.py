"""The engine neuron against a stand-in for torch_neuronx as strict as its documentation (tests/fakes/neuron)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import neuron as fake
from tests.unit.test_neuron import FITTING, install

ROOT = Path(__file__).parents[2]
SITE = Path(fake.__file__).parent / "site"
pytestmark = [
    pytest.mark.torch,
    pytest.mark.support("inferentia", "neuron", level="fake", on="torch_neuronx 2.9 as it is documented"),
]


def suite(tmp_path: Path, cores: int, *arguments: str) -> str:
    """Run the conformance suite in a process whose environment holds the stand-in; its summary."""
    install(tmp_path / "site", FITTING)
    for package in ("torch_neuronx", "neuronxcc"):
        (tmp_path / "site" / package).symlink_to(SITE / package)
    (tmp_path / "opt/aws/neuron/lib").mkdir(parents=True)
    (tmp_path / "opt/aws/neuron/lib/libnrt.so.1").touch()
    environ = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "ACCELMARK_FAKE_NEURON": str(tmp_path),
        "ACCELMARK_FAKE_NEURON_CORES": str(cores),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--parts", fake.__name__, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("cores", [1, 2])
def test_the_engine_conforms(tmp_path: Path, cores: int) -> None:
    summary = suite(tmp_path, cores, "tests/conformance/test_engines.py", "-k", "neuron_fake")
    assert " passed" in summary
    assert "5 xfailed" in summary, "a free size, and the network that has one"
    assert "skipped" not in summary


def test_real_workloads_agree_with_golden(tmp_path: Path) -> None:
    """Feedback and every precision included."""
    chosen = "neuron_fake and (kws or bytelm-small or llama-decode)"
    summary = suite(tmp_path, 2, "tests/conformance/test_workloads_on_engines.py", "-k", chosen)
    assert " passed" in summary
