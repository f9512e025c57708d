"""What every engine owes that compiles for a device which is not here: figures with their source, or why there is none.

Its `numerics`, where it has one, computes on this host what the device would, and owes the same answers as an engine.
A target may be unable to take a network at all: `Unsupported` with a reason is an answer, but for the convolution.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from queue import Queue

import numpy as np
import pydantic
import pytest

from backends.contract import Estimate, Plan, Session, Unsupported
from bench import parts
from bench.audit import correctness
from results import record
from results.strict import Name, Setting
from tests import support
from tests.conformance import tiny
from tests.conformance.conftest import ERROR_MAX, Adapter
from tests.conformance.test_engines import Network, answer, attempt, relative_error
from workloads.contract import Workload

FIGURES = tuple(record.Estimate.model_fields.keys() - {"source", "caveat", "missing"})
NUMERICS = "nothing here computes what the device would"


def computing(compiler: Adapter, network: tiny.Tiny, batch: int = 1) -> Session:
    """The session of an estimate's numerics; skips where there is none, or the target cannot take the network."""
    try:
        numerics = compiler.estimate(network.model, batch=batch).numerics
    except Unsupported as reason:
        if network.model.name == "tiny-convolution" and batch == 1:
            raise
        pytest.skip(f"an answer: {reason}")
    return numerics or pytest.skip(NUMERICS)


def test_estimate_fits_a_record(compiler: Adapter, network: Network) -> None:
    """Every figure is a number or has its reason, and no reason is given for a figure that is there."""
    estimate = compiler.estimate(network("convolution").model)
    figures = {name: getattr(estimate, name) for name in ("source", "caveat", *FIGURES)}
    kept = record.Estimate(**figures, missing=dict(estimate.missing))
    assert set(kept.missing) == {name for name in FIGURES if getattr(kept, name) is None}
    assert all(kept.missing.values())
    assert kept.source


def test_estimate_says_something_and_no_more_than_it_may(compiler: Adapter, network: Network) -> None:
    estimate = compiler.estimate(network("convolution").model)
    if estimate.provenance == "simulator":
        assert estimate.latency_ns is None, "the time of a simulator is its host's"
        assert estimate.cycles is None, "cycles of a simulator are its host's"
        assert estimate.numerics is not None, "a simulator is there for its outputs"
    else:
        assert any(getattr(estimate, name) is not None for name in FIGURES)
    if estimate.fallback_operators:
        assert estimate.latency_ns is None, "no tool counts the time of operators that fall back"


def test_facts_fit_a_record(compiler: Adapter, network: Network) -> None:
    facts = compiler.estimate(network("convolution").model).facts
    settings = pydantic.TypeAdapter(dict[Name, Setting]).validate_python(dict(facts.settings), strict=True)
    assert settings["precision"] == compiler.precision
    spent_ns = [facts.import_ns, facts.compile_ns, 0 if facts.load_ns is None else facts.load_ns]
    assert all(isinstance(ns, int) and ns >= 0 for ns in spent_ns)
    placed = record.Placement(device=facts.placement.device, share=facts.placement.share, proof=facts.placement.proof)
    assert placed.device == compiler.device.name
    assert placed.proof


def test_same_estimate_twice(compiler: Adapter, network: Network) -> None:
    model = network("convolution").model
    first, second = compiler.estimate(model), compiler.estimate_anew(model)
    same = [one.name for one in fields(Estimate) if one.name not in ("facts", "numerics")]
    assert {name: getattr(first, name) for name in same} == {name: getattr(second, name) for name in same}
    assert first.facts.settings == second.facts.settings
    assert first.facts.placement == second.facts.placement


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", tiny.NAMES)
def test_numerics_are_right(compiler: Adapter, network: Network, name: str, batch: int) -> None:
    net = network(name)
    session = computing(compiler, net, batch)
    for seed in range(4):
        arrays = net.inputs(batch, 2 * seed)
        assert relative_error(answer(session, arrays), net.answer(arrays)) < compiler.error_max


def test_numerics_are_deterministic(compiler: Adapter, network: Network) -> None:
    net = network("convolution")
    session, again = computing(compiler, net), compiler.estimate_anew(net.model).numerics
    assert again is not None
    arrays = net.inputs(1, 1)
    first = answer(session, arrays)["scores"].copy()
    assert all(np.array_equal(answer(one, arrays)["scores"], first) for one in (session, session, again))


def test_numerics_take_overlapping_runs(compiler: Adapter, network: Network) -> None:
    net = network("convolution")
    session = computing(compiler, net)
    queries = [net.inputs(1, seed) for seed in range(8)]
    replies: Queue = Queue()
    for number, arrays in enumerate(queries):
        session.submit(session.put(arrays), lambda values, error, number=number: replies.put((number, values, error)))
    for number, values, error in [replies.get(timeout=60) for _ in queries]:
        assert error is None
        together, alone = session.get(values), answer(session, queries[number])
        assert np.allclose(together["scores"], alone["scores"], rtol=1e-5, atol=1e-6)
    assert replies.empty()


def test_numerics_refuse_bad_input(compiler: Adapter, network: Network) -> None:
    """With any error, instead of an answer; the session then still answers."""
    net = network("convolution")
    session = computing(compiler, net)
    good = net.inputs(1, 1)
    image = good["image"]
    bad = (
        {"image": image[:, :2]},
        {"image": image.ravel()},
        {"image": image.astype(np.float64)},
        {"picture": image},
        {"image": image, "nobody": image},
        {},
    )
    for arrays in bad:
        with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
            answer(session, arrays)
    assert relative_error(answer(session, good), net.answer(good)) < compiler.error_max


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp99"])
def test_precision_is_real_or_refused(
    compiler: Adapter, network: Network, precision: str, request: pytest.FixtureRequest
) -> None:
    net = network("convolution")
    estimate = attempt(lambda: compiler.estimate(net.model, precision))
    if isinstance(estimate, str):
        assert precision in estimate
        assert precision != compiler.precision
        return
    assert estimate.facts.settings["precision"] == precision
    if estimate.numerics is not None:
        arrays = net.inputs(1, 5)
        assert relative_error(answer(estimate.numerics, arrays), net.answer(arrays)) < ERROR_MAX[precision]
    request.node.user_properties.append((support.PRECISION, precision))


def test_real_workload(compiler: Adapter) -> None:
    """kws, which every target is made for, by the audit that measurements use."""
    workload = parts.find(Workload, "kws")
    required = workload.tolerance(compiler.precision)
    estimate = compiler.estimate(workload.calibrated())
    if estimate.numerics is None:
        pytest.skip(NUMERICS)
    seen = correctness.outputs(workload, estimate.numerics, 1, compiler.precision, seed=1)
    assert seen["finite"]
    assert seen["identity_hits"] == seen["n"]
    assert seen["centred_cosine_min"] >= required.centred_cosine_min


def test_what_is_not_here_is_never_run(compiler: Adapter, network: Network) -> None:
    with pytest.raises(Unsupported):
        compiler.compile(network("convolution").model)


def test_unknown_option_names_itself(compiler: Adapter, network: Network) -> None:
    with pytest.raises(Unsupported, match="no_such_option"):
        compiler.estimate_anew(network("convolution").model, no_such_option="1")


def test_training_is_refused(compiler: Adapter, network: Network) -> None:
    plan = Plan(compiler.precision, 1, "throughput", mode="train")
    with pytest.raises(Unsupported, match="train"):
        compiler.engine.estimate(network("convolution").model, plan, compiler.device)


def test_missing_form_is_said(compiler: Adapter, network: Network) -> None:
    made = network("convolution").model
    with pytest.raises(Unsupported, match="bare"):
        compiler.estimate(tiny.TinyModel("bare", "bare", made.inputs, made.outputs, "bare"))


def test_unknown_operator_is_unsupported(compiler: Adapter, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        compiler.estimate(tiny.unknown_operator(tmp_path))


def test_nothing_leaks(compiler: Adapter, network: Network) -> None:
    """Files and threads; the first round fills caches."""
    net = network("convolution")

    def opened() -> tuple[int, int]:
        session = compiler.estimate_anew(net.model).numerics
        if session is not None:
            answer(session, net.inputs(1, 1))
            compiler.close(session)
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    opened()
    files, threads = opened()
    for _ in range(2):
        files_after, threads_after = opened()
    assert files_after <= files
    assert threads_after <= threads
