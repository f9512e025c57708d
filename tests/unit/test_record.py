from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from results import store
from results.log import payloads
from results.record import Conditions, Identity, Phases, Record, Strict
from results.store import Problem
from tests.fakes import records

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "record-v1.log"


def test_records_written_by_version_1_still_load() -> None:
    """The file was written once, with schema 1, and is never written again."""
    problems: list[Problem] = []
    found = [record for _, record in store._models(GOLDEN, Record, payloads(GOLDEN, problems), problems)]
    assert problems == []
    assert [record.status for record in found] == ["ok", "ok", "absent", "unsupported", "failed"]
    assert [record.identity.key for record in found] == [
        "50ebc973bbbc5151", "4e626e6b81a58bc3", "22ab40a2982bad86", "41fc428418cf4c91", "442f56c63cb88150",
    ]  # fmt: skip
    first = found[0]
    assert first.window is not None
    assert (first.identity.workload, first.window.queries, first.card.flops) == ("resnet50", 1000, 8_178_000_000)


def test_a_record_survives_the_way_to_disk_and_back() -> None:
    for status in ("ok", "absent", "unsupported", "failed"):
        made = records.record(status=status)
        assert Record.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window": None}, "status ok without a timed window"),
        ({"status": "failed"}, "status failed without a reason"),
        ({"schema_version": 2}, "schema_version"),
        ({"surplus": 1}, "surplus"),
        ({"record_id": "<b>"}, "record_id"),
    ],
)
def test_what_is_no_record(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Record.model_validate({**dict(records.record()), **values})


def test_every_gap_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="build_ns, load_ns, compile_ns, first_run_ns is null without a reason"):
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
        "seed", "repeat", "order", "batch", "batch_chosen", "queries", "warmup_queries", "n", "identity_hits", "value",
        "standard_error", "share", "drift", "outliers_mild", "outliers_severe", "centred_cosine_min", "cosine_required",
        "relative_error_max", "relative_error_allowed",
    }  # fmt: skip
    for model in _models_of(Strict):
        for name, field in model.model_fields.items():
            kind = str(field.annotation)
            if re.search(r"\b(int|float)\b", kind) and "dict" not in kind and "tuple" not in kind:
                assert name in plain or name.endswith(units), f"{model.__name__}.{name}"
