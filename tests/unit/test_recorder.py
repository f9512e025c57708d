from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import DeviceState, Presence
from bench import parts
from bench import recorder as recorder_module
from bench.cases import Case, Item
from bench.recorder import Recorder
from bench.supervisor import Outcome
from bench.surroundings import Surroundings, conditions
from bench.surroundings.host import HostReader
from results.energy import Series, account
from results.store import StoreError, read
from workloads.contract import Workload

HOST = HostReader()
BEFORE = conditions.at("before", HOST.read(), None, HOST.lasting(), DeviceState.unknown("no device"))
AROUND = Surroundings((BEFORE,), ({"moment": "before", "integer_ns": 1, "sgemm_ns": 1, "memcpy_ns": 1},))
SAMPLES = [2_000_000, 3_000_000, 5_000_000]


def result(**window: Any) -> dict[str, Any]:
    outputs = {
        "n": 12,
        "finite": True,
        "identity_hits": 12,
        "centred_cosine_min": 1.0,
        "cosine_required": 0.99,
        "relative_error_max": 0.0,
        "relative_error_allowed": None,
    }
    return {
        "window": {
            "started_utc": "2026-11-22T07:00:00.000+00:00",
            "duration_ns": 10_000_000,
            "queries": 3,
            "query_samples": 1,
            "samples_kind": "latency_ns",
            "samples_file": "whatever the worker said",
            "warmup_queries": 1,
            "warmup_ns": 1,
            "warmup_stable": True,
            **window,
        },
        "phases": {
            **dict.fromkeys(("start_ns", "build_ns", "import_ns", "load_ns", "compile_ns", "first_run_ns"), 1),
            "missing": dict.fromkeys(("steady_ns", "page_cache_share"), "only cold_start measures it"),
        },
        "evidence": {
            "outputs": outputs,
            "quality": None,
            "placement": {"device": "d", "share": 1.0, "proof": "it says so"},
            "peak_memory_bytes": 1,
            "missing": dict.fromkeys(
                ("quality", "timed_outputs", "same_input", "stages", "artefact", "kernels", "training"),
                "not in this test",
            ),
        },
        "settings": {"threads": 1},
        "versions": {"e": "1.0"},
        "batch_chosen": 1,
        "marks": {"opened_ns": 1, "closed_ns": 2},
    }


@pytest.fixture
def item() -> Item:
    workload = parts.find(Workload, "fake-project", ("tests.fakes",))  # type: ignore[type-abstract]
    names = ("none", "fp32", "1", "single_stream", "latency")
    return Item(Case(workload, *names, {}, (), "fake", "fake", "Fake 1", "fake-exact", Presence("present")), 0, 7)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, "quick", "pytest bench/", seed=0)


Write = Callable[[list[int]], None]


@pytest.fixture
def write(recorder: Recorder, item: Item) -> Write:
    return lambda values: np.array(values, "<i8").tofile(recorder.samples_path(item))


def stored(tmp_path: Path) -> list[Any]:
    return list(read(tmp_path))


def test_a_result_becomes_a_record_a_summary_and_samples(
    recorder: Recorder, item: Item, write: Write, tmp_path: Path
) -> None:
    write(SAMPLES)
    kept = recorder.keep(item, Outcome("ok", "finish", result=result()), AROUND)
    ((record, summary),) = stored(tmp_path)
    assert record == kept.record
    assert summary == kept.summary
    assert record.context.order == 7
    assert record.context.settings == {"threads": 1}
    assert record.window.samples_file == f"samples/{record.record_id}.i64"
    assert summary.queries == 3


def test_grades_lie_beside_the_samples_of_their_record(
    recorder: Recorder, item: Item, write: Write, tmp_path: Path
) -> None:
    write(SAMPLES)
    told = result()
    told["evidence"] |= {
        "quality": {
            "value": 0.5,
            "n": 4,
            "standard_error": 0.25,
            "scores_file": "the worker's own",
            "examples_sha256": "0f",
            "missing": {},
        },
        "missing": {name: why for name, why in told["evidence"]["missing"].items() if name != "quality"},
    }
    record = recorder.keep(item, Outcome("ok", "finish", result=told), AROUND).record
    assert record.evidence is not None
    assert record.evidence.quality is not None
    assert record.evidence.quality.scores_file == f"samples/{record.record_id}.scores.f64"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"window": {}},
        result(queries=4),
        result(queries="three"),
        result(duration_ns=-1),
        result(extra=1),
        {**result(), "settings": {"<script>": 1}},
        {**result(), "evidence": {"outputs": None}},
    ],
)
def test_a_result_that_is_no_record_is_stored_as_a_failure(
    recorder: Recorder, item: Item, write: Write, tmp_path: Path, broken: dict[str, Any]
) -> None:
    write(SAMPLES)
    kept = recorder.keep(item, Outcome("ok", "finish", result=broken), AROUND)
    assert kept.record.status == "failed"
    assert kept.record.reason.startswith("the worker's result is no record: ")
    assert "\n" not in kept.record.reason
    assert stored(tmp_path) == [(kept.record, None)]
    assert not recorder.samples_path(item).exists()


@pytest.mark.parametrize("values", [None, [], [1, 2], [-5, 1, 2]])
def test_samples_that_do_not_fit_are_a_failure(
    recorder: Recorder, item: Item, write: Write, values: list[int] | None
) -> None:
    if values is not None:
        write(values)
    assert recorder.keep(item, Outcome("ok", "finish", result=result()), AROUND).record.status == "failed"


def test_not_a_number_is_a_failure(recorder: Recorder, item: Item, write: Write) -> None:
    write(SAMPLES)
    broken = result()
    broken["evidence"]["outputs"]["centred_cosine_min"] = float("nan")
    assert recorder.keep(item, Outcome("ok", "finish", result=broken), AROUND).record.status == "failed"


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, TypeError])
def test_a_fault_of_the_statistics_costs_no_measurement(
    recorder: Recorder,
    item: Item,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
) -> None:
    def fault(*_: object) -> None:
        raise kind("a bug")

    monkeypatch.setattr(recorder_module, "summarise", fault)
    write(SAMPLES)
    with pytest.raises(kind, match="a bug"):
        recorder.keep(item, Outcome("ok", "finish", result=result()), AROUND)
    ((record, summary),) = stored(tmp_path)
    assert (record.status, summary) == ("ok", None)
    assert recorder.samples_path(item).exists()


def test_failures_and_refusals_keep_their_reasons(recorder: Recorder, item: Item, tmp_path: Path) -> None:
    recorder.keep(item, Outcome("unsupported", "compile", "no int4 here"), AROUND)
    other = dataclasses.replace(item, order=8)
    recorder.keep(other, Outcome("failed", "check", "boom " * 5000, "do not", stderr_tail="last words"), AROUND)
    (first, _), (second, _) = stored(tmp_path)
    assert (first.status, first.reason) == ("unsupported", "no int4 here")
    assert (second.status, second.remedy, second.stderr_tail) == ("failed", "do not", "last words")
    assert len(second.reason) == 4000


@pytest.mark.parametrize(("state", "status"), [("absent", "absent"), ("broken", "failed"), ("no_permission", "failed")])
def test_what_cannot_be_measured_is_a_record_too(
    recorder: Recorder, item: Item, tmp_path: Path, state: Any, status: str
) -> None:
    case = dataclasses.replace(item.case, device="none", engine="none", presence=Presence(state, "", "plug it in"))
    record = recorder.keep_absent(dataclasses.replace(item, case=case)).record
    assert (record.status, record.remedy) == (status, "plug it in")
    assert record.reason == f"fake is {state} and does not say why"


def test_what_cannot_be_kept_is_not_passed_over(
    recorder: Recorder, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(recorder.run, "append", full)
    with pytest.raises(StoreError):
        recorder.keep(item, Outcome("failed", "check", "boom"), AROUND)


LOAD = {
    "bound_ms": 5.0, "percentile": 99.0, "offered_per_s": 100.0, "issued_per_s": 99.9, "lag_p99_ns": 1, "lag_max_ns": 2,
    "over": 0, "searched": True, "attempts": 1, "probes": [{"rate_per_s": 50.0, "queries": 9, "over": 0, "met": True}],
}  # fmt: skip
LOADGEN = {"version": "6.0", "valid": True, "official": False, "logs": "wherever", "results": {"result_qps": 1.5}}


def test_how_queries_were_offered_is_stored_where_the_worker_says_it(
    recorder: Recorder, item: Item, write: Write
) -> None:
    write(SAMPLES)
    told = {**result(), "load": LOAD, "loadgen": LOADGEN}
    record = recorder.keep(item, Outcome("ok", "finish", result=told), AROUND).record
    assert record.load is not None
    assert record.load.probes[0].rate_per_s == 50
    assert record.loadgen is not None
    assert record.loadgen.logs == f"samples/{record.record_id}.loadgen"


def test_what_the_scenario_does_not_have_is_not_stored(recorder: Recorder, item: Item, write: Write) -> None:
    write(SAMPLES)
    told = {**result(), "load": None, "loadgen": None}
    record = recorder.keep(item, Outcome("ok", "finish", result=told), AROUND).record
    assert (record.status, record.load, record.loadgen) == ("ok", None, None)


READINGS = "meter,quantity,scope,t_ns,value\np,power_w,board,0,50.0\n"
ENERGY = account(
    [Series("p", "power_w", "board", [(t, 50.0) for t in range(0, 10**10, 10**8)])], {}, {}, 10**8, 9 * 10**9
)
METERED = dataclasses.replace(AROUND, energy=ENERGY.model_dump(mode="json"), power_readings=READINGS)


def test_energy_is_stored_with_its_readings_beside_the_samples(
    recorder: Recorder, item: Item, write: Write, tmp_path: Path
) -> None:
    write(SAMPLES)
    record = recorder.keep(item, Outcome("ok", "finish", result=result()), METERED).record
    energy = record.energy
    assert energy is not None
    assert (energy.energy_j, energy.readings_file) == (ENERGY.energy_j, f"samples/{record.record_id}.power.csv")
    assert "readings_file" not in energy.missing
    assert (tmp_path / recorder.run_id / energy.readings_file).read_text() == READINGS


def test_without_readings_there_is_no_file_and_a_reason(recorder: Recorder, item: Item, write: Write) -> None:
    write(SAMPLES)
    none = account([], {}, {"rapl": "not here"}, 0, 1).model_dump(mode="json")
    around = dataclasses.replace(AROUND, energy=none)
    energy = recorder.keep(item, Outcome("ok", "finish", result=result()), around).record.energy
    assert energy is not None
    assert (energy.readings_file, energy.missing["energy_j"]) == (None, "rapl: not here")


def test_an_item_without_figures_leaves_no_files(recorder: Recorder, item: Item, write: Write) -> None:
    write(SAMPLES)
    logs = recorder.samples_path(item).with_suffix(".loadgen")
    logs.mkdir()
    (logs / "mlperf_log_detail.txt").write_text("...")
    other = recorder.samples_path(dataclasses.replace(item, order=70))
    other.write_bytes(b"")
    recorder.keep(item, Outcome("ok", "finish", result=result(queries=4)), METERED)
    assert list(logs.parent.iterdir()) == [other]
