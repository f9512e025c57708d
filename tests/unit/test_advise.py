"""The cheapest configuration that keeps what was asked for, and an honest reason for every other one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from results.advise import Advice, Quality, Wishes, advise
from results.cost import Pricing
from results.join import Table
from results.record import Reason

FP32 = {
    "workload": "digits", "role": "model", "mode": "infer", "status": "ok", "provenance": "measured",
    "technique": "none", "precision": "fp32", "engine": "onnxruntime", "backend": "cpu", "device": "Xeon", "batch": "1",
    "options": "", "policy": "none", "fingerprint": "f", "verdict": "valid", "reasons": (), "scenario": "server",
    "bounds": "p99 <= 50 ms", "bounds_met": True, "quality": 0.99, "quality_better": "higher",
    "quality_metric": "accuracy", "power_w": 60.0, "power_valid": True, "power_reasons": "", "usd_per_million": 2.0,
    "usd_is_floor": False, "price_kind": "given", "throughput_per_s": 100.0, "throughput_per_s_low": 99.0,
    "throughput_per_s_high": 101.0, "latency_p99_ns": 40e6, "latency_p50_ns": 20e6, "n": 5, "missing": {},
}  # fmt: skip
INT8 = {**FP32, "technique": "int8-static", "precision": "int8", "usd_per_million": 1.0, "quality": 0.98}
NAN = float("nan")


def advice(*rows: dict[str, Any], **wishes: Any) -> Advice:
    table = Table(pd.DataFrame(rows, dtype=object), (), {}, {}, Pricing(), None, None)
    (found,) = advise(table, replace(Wishes(), **wishes))
    return found


def techniques(found: Advice) -> list[str]:
    return [choice.row["technique"] for choice in found.choices]


def test_the_cheapest_comes_first_and_dearer_ones_follow() -> None:
    found = advice(FP32, INT8, bounded=True)
    assert techniques(found) == ["int8-static", "none"]
    assert not any(choice.tied for choice in found.choices)


def test_what_costs_as_much_within_its_interval_is_called_tied() -> None:
    near = {**FP32, "usd_per_million": 1.015}
    assert [choice.tied for choice in advice(INT8, near).choices] == [False, True]


@pytest.mark.parametrize(
    ("change", "wishes", "reason"),
    [
        ({"bounds_met": False}, {"bounded": True}, "misses p99 <= 50 ms: latency p99 is 40.0 ms"),
        ({"bounds_met": None, "missing": {"bounds_met": "9 queries"}}, {"bounded": True}, "not proved: 9 queries"),
        ({"quality": 0.9}, {"quality": Quality(0.97)}, "accuracy 0.9000 is below 0.9700"),
        ({"quality": 0.9}, {"quality": Quality(0.97, relative=True)}, "accuracy 0.9000 is below 0.9603"),
        ({"quality": NAN, "missing": {"quality": "random weights"}}, {"quality": Quality(0.5)}, "random weights"),
        ({"quality": 0.7, "quality_better": "lower"}, {"quality": Quality(0.5)}, "is above 0.5000"),
        ({"power_w": 80.0}, {"max_watts": 70.0}, "takes 80.0 W"),
        ({"power_w": NAN, "missing": {"power_w": "no meter"}}, {"max_watts": 70.0}, "power not known: no meter"),
        ({"power_valid": False, "power_reasons": "gap"}, {"max_watts": 70.0}, "power not to be believed: gap"),
        ({"technique": "fuse-off"}, {}, "a control: measured to compare with"),
        ({"technique": "distill-scratch+int8-static"}, {}, "a control: measured to compare with"),
        ({"usd_per_million": NAN, "missing": {"usd_per_million": "no price"}}, {}, "no cost: no price"),
        ({"provenance": "estimate"}, {}, "estimate: not measured"),
    ],
)
def test_what_does_not_qualify_says_why(change: dict[str, Any], wishes: dict[str, Any], reason: str) -> None:
    found = advice({**INT8, **change}, FP32, **wishes)
    assert techniques(found) == ["none"]
    assert reason in found.rejected[0].reason


def test_noisy_rows_qualify_only_when_they_are_asked_for_and_invalid_ones_never() -> None:
    drift = Reason(code="drift", severity="noisy", detail="")
    noisy = {**INT8, "verdict": "noisy", "reasons": (drift,)}
    assert advice(noisy, FP32).rejected[0].reason == "noisy: drift"
    assert techniques(advice(noisy, FP32, noisy=True)) == ["int8-static", "none"]
    wrong = Reason(code="outputs_wrong", severity="invalid", detail="")
    invalid = {**INT8, "verdict": "invalid", "reasons": (wrong,)}
    assert advice(invalid, FP32, noisy=True).rejected[0].reason == "invalid: outputs_wrong"


def test_a_configuration_is_judged_by_its_cheapest_row_that_qualifies() -> None:
    offline = {**FP32, "scenario": "offline", "usd_per_million": 0.5, "bounds_met": None}
    (with_bound,) = advice(FP32, offline, bounded=True).choices
    (without,) = advice(FP32, offline).choices
    assert (with_bound.row["scenario"], without.row["scenario"]) == ("server", "offline")


def test_an_expensive_row_that_keeps_the_bound_beats_a_cheap_one_that_does_not() -> None:
    assert techniques(advice({**INT8, "bounds_met": False}, FP32, bounded=True)) == ["none"]


def test_training_is_not_what_is_asked_about() -> None:
    found = advice({**INT8, "mode": "train"}, FP32)
    assert (techniques(found), found.rejected) == (["none"], ())


@pytest.mark.parametrize(("text", "quality"), [("0.97", Quality(0.97)), ("97%", Quality(0.97, relative=True))])
def test_quality_is_a_value_or_a_share_of_fp32(text: str, quality: Quality) -> None:
    assert Quality.parse(text) == quality


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "nan", "inf", "97%x", "%"])
def test_what_is_no_quality_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="write a value of the metric"):
        Quality.parse(text)
