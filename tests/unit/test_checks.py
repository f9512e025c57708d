from __future__ import annotations

from typing import Any

import pytest

from results import checks
from results.checks import Figures, judge
from results.record import Calibration, Quality, QualityResult, Record
from tests.fakes import records

GOOD = Figures(queries=1000, drift=0.01)
DIGITS = next(i for i in records.identities(40) if i.workload == "digits-small")
BYTELM = next(i for i in records.identities(40) if i.workload == "bytelm-small")


def codes(record: Record, figures: Figures = GOOD) -> list[str]:
    return [reason.code for reason in judge(record, figures)[1]]


def with_outputs(**changes: Any) -> Record:
    record = records.record()
    assert record.evidence is not None
    assert record.evidence.outputs is not None
    outputs = record.evidence.outputs.model_copy(update=changes)
    return record.model_copy(update={"evidence": record.evidence.model_copy(update={"outputs": outputs})})


def with_window(**changes: Any) -> Record:
    record = records.record()
    assert record.window is not None
    return record.model_copy(update={"window": record.window.model_copy(update=changes)})


def with_calibration(*triples: tuple[str, int, int, int]) -> Record:
    record = records.record()
    entries = tuple(
        Calibration.model_validate({"moment": moment, "integer_ns": i, "sgemm_ns": s, "memcpy_ns": m})
        for moment, i, s, m in triples
    )
    return record.model_copy(update={"context": record.context.model_copy(update={"calibration": entries})})


def test_a_good_record_is_valid() -> None:
    assert judge(records.record(), GOOD) == ("valid", ())


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"finite": False}, "not_finite", "NaN or infinity"),
        ({"identity_hits": 11}, "outputs_wrong", "1 of 12 outputs are nearer"),
        ({"centred_cosine_min": 0.9}, "outputs_wrong", "0.9 is below the required 0.9999"),
        ({"relative_error_max": 0.02}, "outputs_wrong", "0.02 is over the allowed 0.001"),
    ],
)
def test_wrong_outputs_are_invalid(changes: dict[str, Any], code: str, words: str) -> None:
    verdict, (reason,) = judge(with_outputs(**changes), GOOD)
    assert (verdict, reason.code, reason.severity) == ("invalid", code, "invalid")
    assert words in reason.detail


def test_every_fault_of_the_outputs_is_named() -> None:
    _, (reason,) = judge(with_outputs(identity_hits=0, centred_cosine_min=-1.0, relative_error_max=9.0), GOOD)
    assert reason.detail.count(";") == 2


def test_an_error_that_no_tolerance_bounds_is_none() -> None:
    assert codes(with_outputs(relative_error_max=9.0, relative_error_allowed=None)) == []


def test_few_outputs_prove_little() -> None:
    verdict, (reason,) = judge(with_outputs(n=11, identity_hits=11), GOOD)
    assert (verdict, reason.code, reason.severity) == ("noisy", "outputs_unchecked", "noisy")


def test_unchecked_outputs_are_invalid_and_say_why() -> None:
    evidence = records.evidence(DIGITS, outputs=None, missing={"outputs": "the workload has no golden outputs"})
    verdict, (reason,) = judge(records.record(DIGITS, evidence=evidence), GOOD)
    assert (verdict, reason.code) == ("invalid", "outputs_unchecked")
    assert "no golden outputs" in reason.detail
    assert codes(records.record(evidence=None)) == ["outputs_unchecked", "placement_not_proved"]


@pytest.mark.parametrize(
    ("identity", "value", "bad"),
    [(DIGITS, 0.9, False), (DIGITS, 0.899, True), (BYTELM, 12.0, False), (BYTELM, 12.1, True)],
)
def test_quality_floor_in_both_directions(identity: Any, value: float, bad: bool) -> None:
    quality = QualityResult(value=value, n=899, standard_error=0.01)
    record = records.record(identity, evidence=records.evidence(identity, quality=quality))
    assert codes(record) == (["quality_below_floor"] if bad else [])


def test_no_floor_no_judgement() -> None:
    record = records.record(DIGITS)
    card = record.card.model_copy(update={"quality": Quality(metric="accuracy", unit="fraction", better="higher")})
    assert codes(record.model_copy(update={"card": card})) == []


def test_placement_must_be_proved_whole() -> None:
    record = records.record()
    assert record.evidence is not None
    assert record.evidence.placement is not None
    partly = record.evidence.placement.model_copy(update={"share": 0.995})
    record = record.model_copy(update={"evidence": record.evidence.model_copy(update={"placement": partly})})
    verdict, (reason,) = judge(record, GOOD)
    assert (verdict, reason.code) == ("invalid", "placement_not_proved")
    assert reason.detail.startswith("99.5% of the graph ran on cpu: ")


def test_a_warm_up_that_never_settled_is_noisy() -> None:
    verdict, (reason,) = judge(with_window(warmup_stable=False), GOOD)
    assert (verdict, reason.code) == ("noisy", "never_stabilised")


@pytest.mark.parametrize(("drift", "bad"), [(0.05, False), (0.051, True), (None, False)])
def test_drift(drift: float | None, bad: bool) -> None:
    assert codes(records.record(), Figures(1000, drift)) == (["drift"] if bad else [])


@pytest.mark.parametrize(
    ("kind", "queries", "bad"),
    [("latency_ns", 63, True), ("latency_ns", 64, False), ("done_ns", 49, True), ("done_ns", 50, False)],
)
def test_too_few(kind: str, queries: int, bad: bool) -> None:
    assert codes(with_window(samples_kind=kind), Figures(queries, None)) == (["too_few_samples"] if bad else [])


class TestMachineDrift:
    def test_one_disturbed_kernel_proves_nothing(self) -> None:
        assert codes(with_calibration(("before", 100, 100, 100), ("after", 200, 101, 99))) == []

    @pytest.mark.parametrize(("after", "way"), [(104, "slower"), (96, "faster")])
    def test_two_that_moved_together_do(self, after: int, way: str) -> None:
        verdict, (reason,) = judge(with_calibration(("before", 100, 100, 100), ("after", after, after, 100)), GOOD)
        assert (verdict, reason.code) == ("noisy", "machine_drift")
        assert f"4.0% {way}" in reason.detail

    def test_three_percent_are_allowed(self) -> None:
        assert codes(with_calibration(("before", 1000, 1000, 1000), ("after", 1029, 1029, 1029))) == []

    def test_several_rounds_are_taken_by_their_median(self) -> None:
        rounds = [("before", 100, 100, 100)] * 3 + [("after", 100, 100, 100)] * 2 + [("after", 900, 900, 900)]
        assert codes(with_calibration(*rounds)) == []

    @pytest.mark.parametrize("moments", [(), ("before",), ("after",)])
    def test_one_moment_alone_says_nothing(self, moments: tuple[str, ...]) -> None:
        record = with_calibration(*((moment, 1, 1, 1) for moment in moments))
        assert checks.machine_shift(record.context.calibration) is None
        assert codes(record) == []


@pytest.mark.parametrize(
    ("moment", "percent", "bad"), [("during", 5.1, True), ("during", 5.0, False), ("before", 50.0, False)]
)
def test_stolen_time(moment: str, percent: float, bad: bool) -> None:
    record = records.record()
    entries = tuple(
        each.model_copy(update={"steal_percent": percent}) if each.moment == moment else each
        for each in record.context.conditions
    )
    record = record.model_copy(update={"context": record.context.model_copy(update={"conditions": entries})})
    assert codes(record) == (["stolen_time"] if bad else [])


class TestRepeats:
    def test_codes(self) -> None:
        found = checks.judge_repeats(0.06, failed=1, unread=2, repeats=5)
        assert [(reason.code, reason.severity) for reason in found] == [
            ("wide_interval", "noisy"), ("repeats_failed", "noisy"), ("no_figures", "invalid"),
        ]  # fmt: skip
        assert checks.judge_repeats(0.05, 0, 0, 5) == ()
        assert checks.judge_repeats(None, 0, 0, 1) == ()


def test_the_worst_severity_decides() -> None:
    record = with_window(warmup_stable=False).model_copy(update={"evidence": None})
    assert judge(record, GOOD)[0] == "invalid"
    assert checks.verdict_of(()) == "valid"


def test_the_table_of_codes_in_the_docstring_is_complete() -> None:
    import re
    from pathlib import Path

    source = Path(checks.__file__).read_text()
    assert set(re.findall(r'code="(\w+)"', source)) == set(re.findall(r"^\| (\w+) \| (?:noisy|invalid)", source, re.M))
