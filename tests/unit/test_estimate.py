"""A device that is not here, from the worker's answer to the record and its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cases import Item, expand
from bench.profiles import PROFILES
from bench.recorder import Kept
from bench.runner import Request, Runner, counted, headline
from bench.selection import Selection


def measured(folder: Path, in_process: bool = True, **options: str) -> Kept:
    """What becomes of the fake projection, compiled for the device that is not here."""
    selection = Selection(
        backends=("fake-elsewhere",),
        engines=("fake-compiler",),
        workloads=("fake-project",),
        targets=("else:Fake 9",),
        options=options,
        parts=("tests.fakes",),
    )
    (case,) = expand(selection)
    request = Request(selection, PROFILES["quick"], folder, "pytest bench/", in_process=in_process)
    runner = Runner(request, {case.id: Item(case, 0, 0)})
    try:
        runner.prepare([case.id])
        return runner.measure(case.id)
    finally:
        runner.close()


def codes(kept: Kept) -> list[str]:
    assert kept.summary is not None
    return [reason.code for reason in kept.summary.reasons]


@pytest.mark.parametrize("in_process", [True, False])
def test_what_a_compiler_says_becomes_a_record(tmp_path: Path, in_process: bool) -> None:
    kept = measured(tmp_path, in_process)
    record, summary = kept.record, kept.summary
    assert (record.status, record.provenance, record.window, record.energy) == ("ok", "estimate", None, None)
    assert record.identity.scenario == "compile"
    assert record.identity.device == "Fake 9"
    assert record.estimate is not None
    assert (record.estimate.latency_ns, record.estimate.cycles, record.estimate.source) == (
        1e6,
        5e5,
        "fake-compiler 9.1",
    )
    assert record.estimate.missing["fallback_operators"] == "a fake has none"
    assert record.evidence is not None
    assert record.evidence.outputs is not None
    assert record.evidence.outputs.n >= 12
    assert record.phases is not None
    assert record.phases.first_run_ns is None
    assert record.context.settings["accelerator"] == "Fake 9"
    assert record.context.conditions == ()
    assert summary is not None
    assert (summary.verdict, summary.reasons, summary.queries) == ("valid", (), 0)
    assert summary.throughput_per_s is None
    assert "nothing was timed" in summary.missing["throughput_per_s"]
    assert "estimate by fake-compiler 9.1: 1 ms" in headline(kept)
    assert counted(kept) == "estimate"
    assert not list(tmp_path.glob("*/samples/*"))


def test_a_simulator_is_none_of_the_compilers(tmp_path: Path) -> None:
    assert measured(tmp_path, fault="simulator").record.provenance == "simulator"


def test_wrong_numbers_of_what_was_compiled_are_invalid(tmp_path: Path) -> None:
    kept = measured(tmp_path, fault="constant")
    assert codes(kept) == ["outputs_wrong"]


def test_a_graph_that_falls_back_in_part_is_not_on_the_device(tmp_path: Path) -> None:
    assert codes(measured(tmp_path, fault="fallback")) == ["placement_not_proved"]


def test_without_numerics_a_prediction_is_unchecked_and_stands(tmp_path: Path) -> None:
    kept = measured(tmp_path, fault="no-numerics")
    assert codes(kept) == ["outputs_unchecked"]
    assert kept.summary is not None
    assert kept.summary.verdict == "noisy"


def test_what_does_not_fit_is_unsupported_with_its_figures(tmp_path: Path) -> None:
    record = measured(tmp_path, fault="too-large").record
    assert (record.status, record.reason) == ("unsupported", "needs 24 GB of memory, and it has 16")
