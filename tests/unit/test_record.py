from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from results import log, store, upgrade
from results.checks import Figures, judge
from results.record import Conditions, Identity, Phases, Record
from results.store import Problem
from results.strict import Explained, Strict
from tests.fakes import records

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def version_1(tmp_path: Path) -> list[store.Entry]:
    """Files written once, by the last accelmark with schema 1, and never written again."""
    shutil.copyfile(GOLDEN / "record-v1.log", tmp_path / store.RECORDS)
    shutil.copyfile(GOLDEN / "summary-v1.log", tmp_path / store.SUMMARIES)
    problems: list[Problem] = []
    found = list(store.read(tmp_path, problems))
    assert problems == []
    return found


def test_records_written_by_version_1_still_load(version_1: list[store.Entry]) -> None:
    found = [record for record, _ in version_1]
    assert [record.status for record in found] == ["ok", "ok", "absent", "unsupported", "failed"]
    assert [record.identity for record in found[:2]] == [
        records.identities(1)[0],
        next(i for i in records.identities(24) if (i.workload, i.scenario) == ("digits-small", "offline")),
    ]
    first = found[0]
    assert first.window is not None
    assert first.phases is not None
    assert (first.window.queries, first.window.query_samples) == (1000, 1)
    assert (first.card.flops, first.identity.rules) == (8_178_000_000, "accelmark")
    assert first.phases.missing == {
        "import_ns": "recorded before schema 2: load_ns holds the import too",
        "steady_ns": upgrade.BEFORE_2,
        "page_cache_share": upgrade.BEFORE_2,
    }


def test_records_written_by_version_2_still_load_and_gain_nothing(tmp_path: Path) -> None:
    """What schema 3 brought is what no earlier record has: estimates, and the time of handing a run over."""
    shutil.copyfile(GOLDEN / "record-v2.log", tmp_path / store.RECORDS)
    problems: list[Problem] = []
    found = [record for record, _ in store.read(tmp_path, problems)]
    assert problems == []
    assert [record.status for record in found] == ["ok", "ok", "ok", "ok", "absent", "failed"]
    assert [record.identity.scenario for record in found][:3] == [
        "server", "single_stream", "cold_start(page_cache=cold)",
    ]  # fmt: skip
    stored = [json.loads(payload) for _, payload in log.payloads(tmp_path / store.RECORDS, problems)]
    for record, old in zip(found, stored, strict=True):
        assert old["schema_version"] == 2
        expected = {**old, "schema_version": 4, "estimate": None, "evidence": since_4(old["evidence"])}
        if stages := (old["evidence"] or {}).get("stages"):
            stages |= {"enqueue_ns": None, "missing": {**stages["missing"], "enqueue_ns": upgrade.BEFORE_3}}
        assert json.loads(record.model_dump_json()) == expected


def since_4(evidence: dict[str, Any] | None) -> dict[str, Any] | None:
    """What schema 4 makes of evidence of schema 3: three sections and a file more, each null with its reason."""
    if evidence is None:
        return None
    gained = ("artefact", "kernels", "training")
    graded = evidence["quality"] and {
        **evidence["quality"],
        **dict.fromkeys(("scores_file", "examples_sha256")),
        "missing": dict.fromkeys(("scores_file", "examples_sha256"), upgrade.BEFORE_4),
    }
    missing = {**evidence["missing"], **dict.fromkeys(gained, upgrade.BEFORE_4)}
    return {**evidence, **dict.fromkeys(gained), "quality": graded, "missing": missing}


def test_records_written_by_version_3_still_load_and_gain_nothing(tmp_path: Path) -> None:
    """What schema 4 brought is what no earlier record has: the artefact, what was executed, grades by example."""
    shutil.copyfile(GOLDEN / "record-v3.log", tmp_path / store.RECORDS)
    problems: list[Problem] = []
    found = [record for record, _ in store.read(tmp_path, problems)]
    assert problems == []
    assert [record.status for record in found] == ["ok", "ok", "ok", "unsupported"]
    assert [bool(record.evidence and record.evidence.quality) for record in found] == [True, False, False, False]
    stored = [json.loads(payload) for _, payload in log.payloads(tmp_path / store.RECORDS, problems)]
    for record, old in zip(found, stored, strict=True):
        assert old["schema_version"] == 3
        expected = {**old, "schema_version": 4, "evidence": since_4(old["evidence"])}
        assert json.loads(record.model_dump_json()) == expected


def test_what_no_older_record_could_prove_makes_none_invalid(tmp_path: Path) -> None:
    shutil.copyfile(GOLDEN / "record-v3.log", tmp_path / store.RECORDS)
    timed = [record for record, _ in store.read(tmp_path) if record.window]
    for record in timed:
        verdict, reasons = judge(record, Figures(1000, 0.0, 1e6, 1e6))
        assert verdict == "valid", reasons
    assert len(timed) == 2


def test_an_estimate_survives_the_way_to_disk_and_back(tmp_path: Path) -> None:
    made = records.estimated()
    with store.Run.open(tmp_path, made.context.run_id) as run:
        run.append(made)
    assert [record for record, _ in store.read(tmp_path)] == [made]
    assert store.samples_of(tmp_path / made.context.run_id, made).size == 0


def test_every_gap_of_an_estimate_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="cycles is null without a reason"):
        records.estimate(records.compiled(), cycles=None)


def test_summaries_written_by_version_1_still_load(version_1: list[store.Entry]) -> None:
    (single, offline) = (summary for _, summary in version_1 if summary)
    assert (single.latency_p50_ns, single.latency_p99_ns, single.verdict) == (136_195_732, 203_145_143, "valid")
    assert offline.throughput_per_s == pytest.approx(63_851.7, abs=0.1)
    assert single.missing["early_p99_ns"] == "not derived under the rules of version 1"


def test_an_upgrade_guesses_no_number(version_1: list[store.Entry]) -> None:
    """Whatever schema 2 added is None with its reason."""
    for record, _ in version_1[:2]:
        for section in (record.context.machine, *record.context.conditions, record.evidence, record.energy):
            assert isinstance(section, Explained)
            assert upgrade.BEFORE_2 in section.missing.values()
            for name, reason in section.missing.items():
                assert getattr(section, name) is None, name
                assert reason


@given(cut=st.sampled_from(("context", "window", "phases", "evidence", "energy")), value=st.sampled_from((1, "x", [1])))
def test_what_is_no_whole_record_of_schema_1_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, cut: str, value: object
) -> None:
    folder = tmp_path_factory.mktemp("root")
    payload = json.loads((GOLDEN / "record-v1.log").read_bytes().split(b" ", 2)[2].split(b"\n")[0])
    (folder / store.RECORDS).write_bytes(log.frame(json.dumps({**payload, cut: value}).encode()))
    problems: list[Problem] = []
    assert list(store.read(folder, problems)) == []
    assert len(problems) == 1


def test_a_record_survives_the_way_to_disk_and_back() -> None:
    for status in ("ok", "absent", "unsupported", "failed"):
        made = records.record(status=status)
        assert Record.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window": None}, "status ok needs a timed window or an estimate"),
        ({"estimate": records.estimate(records.compiled())}, "a timed window or an estimate, and not both"),
        ({"window": None, "estimate": records.estimate(records.compiled())}, "provenance measured does not go with"),
        ({"status": "failed"}, "status failed without a reason"),
        ({"schema_version": 1}, "schema_version"),
        ({"surplus": 1}, "surplus"),
        ({"record_id": "<b>"}, "record_id"),
    ],
)
def test_what_is_no_record(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Record.model_validate({**dict(records.record()), **values})


def test_every_gap_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match=r"build_ns, import_ns, load_ns, .* is null without a reason"):
        Phases(start_ns=1)
    with pytest.raises(ValidationError, match="frequency_mhz"):
        Conditions.model_validate({"moment": "before", "load_1m": 0.1})


def test_identity_keys_are_stable_and_do_not_depend_on_the_order_of_options() -> None:
    base = records.identities(1)[0].model_dump()
    one = Identity.model_validate({**base, "options": {"a": "1", "b": "2"}})
    other = Identity.model_validate({**base, "options": {"b": "2", "a": "1"}})
    assert one.key == other.key
    assert len({identity.key for identity in records.identities(500)}) == 500


def _models_of(kind: type[Strict]) -> list[type[Strict]]:
    return [kind, *(sub for child in kind.__subclasses__() for sub in _models_of(child))]


def test_every_stored_number_has_its_unit_in_its_name() -> None:
    units = ("_ns", "_s", "_ms", "_bytes", "_per_s", "_usd", "_j", "_w", "_mhz", "_c", "_percent", "_1m")
    plain = {
        "flops", "parameters", "distinct_inputs", "percentile", "floor", "cores", "schema_version", "rules_version",
        "seed", "repeat", "order", "batch_chosen", "queries", "query_samples", "warmup_queries", "n", "identity_hits",
        "value", "standard_error", "share", "page_cache_share", "drift", "outliers_mild", "outliers_severe",
        "centred_cosine_min", "cosine_required", "relative_error_max", "relative_error_allowed", "over", "attempts",
        "ratio", "low", "high", "pairs", "readings", "device_other_users", "throttle_events", "cpu_limit_cores",
        "zero_share", "samples", "loss_before", "loss_after", "steps", "reached", "changed",
        "cycles", "fallback_operators", "line", "accelerators", "systems", "batch",
    }  # fmt: skip
    for model in _models_of(Strict):
        for name, field in model.model_fields.items():
            kind = str(field.annotation)
            if re.search(r"\b(int|float)\b", kind) and "dict" not in kind and "tuple" not in kind:
                assert name in plain or name.endswith(units), f"{model.__name__}.{name}"
