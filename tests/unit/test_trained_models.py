"""The trained families: their numbers, how answers are graded, and that the weights earn what the cards say."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from bench.audit import correctness
from workloads import weights
from workloads.models import bytelm, digits
from workloads.nets import bytelm as bytelm_net

DIGITS = (digits.DigitsSmall(), digits.DigitsMedium(), digits.DigitsLarge())
BYTELM = (bytelm.ByteLMSmall(), bytelm.ByteLMMedium(), bytelm.ByteLMLarge())
ALL = pytest.mark.parametrize("workload", [*DIGITS, *BYTELM], ids=lambda w: w.card.name)
BIGRAM_PERPLEXITY = 13.0


@cache
def _session(workload):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(workload.model().form("onnx")), options, ["CPUExecutionProvider"])


def _answers(workload, inputs):
    return {"logits": _session(workload).run(["logits"], dict(inputs))[0]}


# -- what the cards say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", DIGITS, ids=lambda w: w.card.name)
def test_digits_cards_count_by_hand(workload) -> None:
    w = workload.width
    per_position = [(64, 9 * 1, w), (64, 9 * w, 2 * w), (16, 9 * 2 * w, 2 * w), (1, 8 * w, 10)]
    assert workload.card.flops == sum(2 * positions * fan_in * out for positions, fan_in, out in per_position)
    assert workload.card.parameters == sum((fan_in + 1) * out for _, fan_in, out in per_position)


@pytest.mark.parametrize("workload", BYTELM, ids=lambda w: w.card.name)
def test_bytelm_cards_count_by_hand(workload) -> None:
    d, layers, n = workload.size.width, workload.size.layers, bytelm_net.CONTEXT
    recent, layer, attention, head = 4 * d * d, 12 * d * d, 2 * n * d, 256 * d
    assert workload.card.flops == 2 * (n * (recent + layers * (layer + attention)) + bytelm_net.SCORED * head)
    vectors = d + layers * (2 * 2 * d + 4 * d + 4 * d + d) + 2 * d + 256
    assert workload.card.parameters == 256 * d + recent + layers * layer + head + vectors


@ALL
def test_weights_are_committed_small_and_unchanged(workload) -> None:
    manifest = workload.manifest
    path = weights.GRAPHS / manifest.file
    assert manifest.source == "trained"
    assert path.stat().st_size == manifest.bytes < 3_000_000
    assert weights.sha256_of(path) == manifest.sha256
    assert sum(t.size for t in manifest.tensors) == workload.card.parameters


@ALL
def test_perf_inputs_fit_the_model_and_all_differ(workload) -> None:
    samples = workload.samples("perf", workload.card.distinct_inputs, 0)
    (spec,) = workload.model().inputs
    array = samples.inputs[spec.name]
    assert (array.dtype.name, array.shape[1:]) == (spec.dtype, spec.shape[1:])
    assert len({row.tobytes() for row in array}) == workload.card.distinct_inputs


# -- how answers are graded -----------------------------------------------------------------------------------------


def test_accuracy_counts_largest_logits_and_a_nan_as_wrong() -> None:
    samples = digits.DigitsSmall().samples("evaluation", 4, 0)
    logits = np.zeros((4, 10), np.float32)
    logits[np.arange(4), samples.labels["label"]] = 1.0
    logits[1] = -logits[1]
    logits[2, 0] = np.nan
    scores = digits.DigitsSmall().score({"logits": logits}, samples)
    assert scores.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert digits.DigitsSmall().quality_value(scores) == 0.5


def test_perplexity_by_hand() -> None:
    """One byte has probability 3/4 of two, or 1/256 of all, or is certain."""
    workload = bytelm.ByteLMSmall()
    samples = workload.samples("evaluation", 3, 0)
    logits = np.zeros((3, 32, 256), np.float32)
    logits[0] = -1e4
    own, other = samples.labels["next"][0], (samples.labels["next"][0] + 1) % 256
    logits[0, np.arange(32), own], logits[0, np.arange(32), other] = math.log(3.0), 0.0
    logits[2, np.arange(32), samples.labels["next"][2]] = 1e4
    scores = workload.score({"logits": logits}, samples)
    np.testing.assert_allclose(scores, [math.log(4 / 3), math.log(256), 0.0], atol=1e-6)
    assert workload.quality_value(scores) == pytest.approx((256 * 4 / 3) ** (1 / 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_counts_as_knowing_nothing(bad: float) -> None:
    workload = bytelm.ByteLMSmall()
    samples = workload.samples("evaluation", 2, 0)
    logits = np.random.default_rng(0).normal(size=(2, 32, 256)).astype(np.float32)
    logits[1, 5, 7] = bad
    scores = workload.score({"logits": logits}, samples)
    assert np.isfinite(scores).all()
    assert scores[1] == pytest.approx(math.log(256))


def test_perplexity_does_not_move_with_a_constant_added_to_the_logits() -> None:
    workload = bytelm.ByteLMSmall()
    samples = workload.samples("evaluation", 2, 0)
    logits = np.random.default_rng(0).normal(size=(2, 32, 256))
    moved = workload.score({"logits": logits + 1000.0}, samples)
    np.testing.assert_allclose(moved, workload.score({"logits": logits}, samples), rtol=1e-9)


# -- what the weights earn ------------------------------------------------------------------------------------------


@cache
def _quality(workload) -> float:
    samples = workload.samples("evaluation", 1000, 0)
    return workload.quality_value(workload.score(_answers(workload, samples.inputs), samples))


@ALL
def test_measured_quality_is_the_cards_and_the_floor_one_percent_below(workload) -> None:
    measured, promised = _quality(workload), workload.card.quality
    assert f"fp32's {measured:.4f}" in workload.card.source.replace("fp32, ", "fp32's ")
    worst = measured * 0.99 if promised.better == "higher" else measured / 0.99
    assert promised.floor == pytest.approx(worst, abs=1e-4)


def test_larger_networks_are_better() -> None:
    small, medium, large = map(_quality, DIGITS)
    assert small < medium < large
    assert large >= 0.98
    small, medium, large = map(_quality, BYTELM)
    assert small > medium > large


def test_the_language_models_know_more_than_pairs_of_bytes() -> None:
    training, held_out = bytelm.training_text(), bytelm.part("evaluation")
    pairs = np.zeros((256, 256))
    np.add.at(pairs, (training[:-1], training[1:]), 1.0)
    chances = (pairs + 0.1) / (pairs.sum(axis=1, keepdims=True) + 25.6)
    text, following = held_out.inputs["text"][:, -bytelm_net.SCORED :], held_out.labels["next"]
    bigram = math.exp(-np.log(chances[text, following]).mean())
    assert bigram == pytest.approx(BIGRAM_PERPLEXITY, abs=1.0)
    assert _quality(BYTELM[0]) < 0.5 * bigram


# -- the output check -----------------------------------------------------------------------------------------------


def _accepted(workload, outputs, precision: str = "fp32") -> bool:
    golden, tolerance = workload.golden().outputs, workload.tolerance(precision)
    count = len(golden["logits"])
    found = correctness.agree({"logits": outputs}, golden, range(count))
    small_enough = tolerance.relative_error_max is None or found.error.max() <= tolerance.relative_error_max
    return bool(found.finite.all() and found.hits.all() and small_enough) and bool(
        found.cosine.min() >= tolerance.centred_cosine_min
    )


@pytest.fixture
def right(request):
    workload = request.getfixturevalue("workload")
    count = len(workload.golden().outputs["logits"])
    return _answers(workload, workload.samples("perf", count, 0).inputs)["logits"]


@ALL
def test_golden_outputs_are_those_of_onnxruntime(workload, right) -> None:
    assert len(right) >= 12
    assert _accepted(workload, right)


@ALL
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_wrong_answer_is_refused_at_every_precision(workload, right, precision: str) -> None:
    constant = np.broadcast_to(right.mean(axis=0), right.shape)
    stale = np.concatenate([right[:1], right[:-1]])
    broken = right.copy()
    broken[3].reshape(-1)[0] = np.nan
    for outputs in (constant, np.broadcast_to(right[0], right.shape), np.zeros_like(right), stale, right[::-1], broken):
        assert not _accepted(workload, outputs, precision)


@ALL
def test_what_was_rounded_to_fp16_passes_for_fp16_only(workload, right) -> None:
    rounded = right.astype(np.float16)
    assert _accepted(workload, rounded, "fp16")
    assert not _accepted(workload, rounded, "fp32")


@ALL
def test_openvino_agrees_in_fp32_and_bf16_and_earns_the_same(workload) -> None:
    openvino = pytest.importorskip("openvino")
    samples = workload.samples("evaluation", 1000, 0)
    inputs = workload.samples("perf", len(workload.golden().outputs["logits"]), 0).inputs
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1}
        compiled = openvino.Core().compile_model(str(workload.model().form("onnx")), "CPU", settings)
        assert _accepted(workload, compiled(dict(inputs))[0], precision)
        if precision == "fp32":
            outputs = {"logits": compiled(dict(samples.inputs))[0]}
            value = workload.quality_value(workload.score(outputs, samples))
            assert value == pytest.approx(_quality(workload), rel=1e-4)
