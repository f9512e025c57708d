"""What every engine owes on every device here: right answers, honest settings, clear refusals, nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from typing import TypeVar

import numpy as np
import pydantic
import pytest

from backends.contract import Engine, Plan, Session, Unsupported
from results.record import Placement
from results.strict import Name, Setting
from tests import support
from tests.conformance import tiny
from tests.conformance.conftest import ERROR_MAX, Adapter

Network = Callable[[str], tiny.Tiny]
Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")
REDUCED_ERROR_MIN = 1e-6
"""What computes in fewer bits than fp32 cannot come nearer than this."""


def answer(session: Session, arrays: Arrays) -> Arrays:
    return session.get(session.run(session.put(arrays)))


def attempt(compile_it: Callable[[], T]) -> T | str:
    """A session or an estimate, or the reason why it is unsupported."""
    try:
        return compile_it()
    except Unsupported as reason:
        return str(reason)


def relative_error(outputs: Arrays, golden: Arrays) -> float:
    assert list(outputs) == list(golden), "outputs have other names or another order"
    for name, right in golden.items():
        assert outputs[name].shape == right.shape, name
        assert np.isfinite(outputs[name]).all(), name
    return max(float(abs(outputs[name] - right).max() / abs(right).max()) for name, right in golden.items())


@pytest.mark.parametrize("goal", ["latency", "throughput"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", tiny.NAMES)
def test_outputs_are_right(adapter: Adapter, network: Network, name: str, batch: int, goal: str) -> None:
    net = network(name)
    session = adapter.compile(net.model, batch=batch, goal=goal)
    for seed in range(4):
        arrays = net.inputs(batch, 2 * seed)
        assert relative_error(answer(session, arrays), net.answer(arrays)) < adapter.error_max


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp99"])
def test_precision_is_real_or_refused(
    adapter: Adapter, network: Network, precision: str, request: pytest.FixtureRequest
) -> None:
    net = network("convolution")
    session = attempt(lambda: adapter.compile(net.model, precision, batch=3))
    if isinstance(session, str):
        assert precision in session
        assert precision != adapter.precision, "refused in a batch of 3 only, and that is not said"
        return
    arrays = net.inputs(3, 5)
    error = relative_error(answer(session, arrays), net.answer(arrays))
    assert error < ERROR_MAX[precision]
    assert precision == "fp32" or error > REDUCED_ERROR_MIN, f"this is fp32 under the name of {precision}"
    assert session.facts.settings["precision"] == precision
    request.node.user_properties.append((support.PRECISION, precision))


def test_free_sizes_stay_free(adapter: Adapter, network: Network) -> None:
    net = network("sequence")
    session = adapter.compile(net.model, batch=2)
    for seed in (0, 1, 2):
        arrays = net.inputs(2, seed)
        assert relative_error(answer(session, arrays), net.answer(arrays)) < adapter.error_max
    assert len({net.inputs(2, seed)["x"].shape for seed in (0, 1)}) == 2


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_overlapped_runs_answer_their_own_inputs(adapter: Adapter, network: Network, goal: str) -> None:
    net = network("convolution")
    session = adapter.compile(net.model, goal=goal)
    queries = [net.inputs(1, seed) for seed in range(64)]
    alone = [answer(session, arrays) for arrays in queries]
    replies: Queue = Queue()
    for number, arrays in enumerate(queries):
        session.submit(session.put(arrays), lambda values, error, number=number: replies.put((number, values, error)))
    together = [replies.get(timeout=30) for _ in queries]
    assert sorted(number for number, _, _ in together) == list(range(64))
    for number, values, error in together:
        assert error is None
        outputs = session.get(values)
        assert all(np.allclose(outputs[name], alone[number][name], rtol=1e-5, atol=1e-6) for name in outputs)
    assert replies.empty()


def test_done_may_submit_the_next_run(adapter: Adapter, network: Network) -> None:
    net = network("pair")
    session = adapter.compile(net.model, goal="throughput")
    left, lock, ended = [32], threading.Lock(), threading.Event()

    def done(values: object, error: BaseException | None) -> None:
        with lock:
            left[0] -= 1
            again = error is None and left[0] >= session.inflight
        if again:
            session.submit(session.put(net.inputs(1, left[0])), done)
        elif left[0] == 0 or error:
            ended.set()

    for seed in range(session.inflight):
        session.submit(session.put(net.inputs(1, seed)), done)
    assert ended.wait(30)
    assert left == [0]


def test_feedback(adapter: Adapter, network: Network) -> None:
    """Outputs become the next inputs without a copy of the caller's, as a KV cache does."""
    net = network("walk")
    session = adapter.compile(net.model, batch=3)
    ours = theirs = net.inputs(3, 7)
    for _ in range(6):
        outputs, golden = answer(session, theirs), net.answer(ours)
        assert relative_error(outputs, golden) < 6 * adapter.error_max
        theirs = {target: outputs[source] for source, target in net.feedback.items()}
        ours = {target: golden[source] for source, target in net.feedback.items()}
    assert outputs["next_position"].dtype == np.int64


def test_outputs_outlive_the_next_runs(adapter: Adapter, network: Network) -> None:
    net = network("pair")
    session = adapter.compile(net.model, batch=2)
    first, second = net.inputs(2, 1), net.inputs(2, 2)
    values = session.run(session.put(first))
    session.run(session.put(second))
    outputs = session.get(values)
    for _ in range(8):
        answer(session, second)
    assert relative_error(outputs, net.answer(first)) < adapter.error_max


def test_deterministic(adapter: Adapter, network: Network) -> None:
    net = network("convolution")
    session = adapter.compile(net.model, batch=3)
    arrays = net.inputs(3, 1)
    first = answer(session, arrays)["scores"].copy()
    assert all(np.array_equal(answer(session, arrays)["scores"], first) for _ in range(8))


def test_read_only_and_strided_inputs_are_taken(adapter: Adapter, network: Network) -> None:
    net = network("convolution")
    session = adapter.compile(net.model, batch=3)
    arrays = net.inputs(3, 1)
    awkward = np.repeat(arrays["image"], 2, axis=3)[..., ::2]
    awkward.flags.writeable = False
    assert relative_error(answer(session, {"image": awkward}), net.answer(arrays)) < adapter.error_max


def wrong_shape(arrays: Arrays) -> Arrays:
    return {**arrays, "scale": arrays["scale"][:, :5]}


def wrong_rank(arrays: Arrays) -> Arrays:
    return {**arrays, "scale": arrays["scale"].ravel()}


def wrong_dtype(arrays: Arrays) -> Arrays:
    return {**arrays, "scale": arrays["scale"].astype(np.float64)}


def wrong_integers(arrays: Arrays) -> Arrays:
    return {**arrays, "index": arrays["index"].astype(np.int32)}


def missing(arrays: Arrays) -> Arrays:
    return {"scale": arrays["scale"]}


def unknown(arrays: Arrays) -> Arrays:
    return {**arrays, "nobody": arrays["scale"]}


def misnamed(arrays: Arrays) -> Arrays:
    return {"scale": arrays["scale"], "indices": arrays["index"]}


@pytest.mark.parametrize("spoil", [wrong_shape, wrong_rank, wrong_dtype, wrong_integers, missing, unknown, misnamed])
def test_bad_input_is_refused(adapter: Adapter, network: Network, spoil: Callable[[Arrays], Arrays]) -> None:
    """With any error, instead of an answer; the session then still answers."""
    net = network("pair")
    session = adapter.compile(net.model, batch=2)
    good = net.inputs(2, 1)
    answer(session, good)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
        answer(session, spoil(good))
    assert relative_error(answer(session, good), net.answer(good)) < adapter.error_max


def test_unknown_option_names_the_known_ones(adapter: Adapter, network: Network) -> None:
    with pytest.raises(Unsupported, match="no_such_option"):
        adapter.compile(network("pair").model, no_such_option="1")


def test_training_is_refused_or_real(adapter: Adapter, network: Network) -> None:
    """No engine here trains yet; one that will, answers for it with tests of its own."""
    with pytest.raises(Unsupported, match="train"):
        adapter.engine.compile(
            network("pair").model, Plan(adapter.precision, 1, "throughput", mode="train"), adapter.device
        )


def test_missing_form_is_said(adapter: Adapter, network: Network) -> None:
    bare = tiny.TinyModel("bare", "bare", network("pair").model.inputs, network("pair").model.outputs, "bare")
    with pytest.raises(Unsupported, match="bare"):
        adapter.compile(bare)


def test_unknown_operator_is_unsupported(adapter: Adapter, tmp_path: Path) -> None:
    """Not a failure: the engine is fine and has no such operator."""
    with pytest.raises(Unsupported):
        adapter.compile(tiny.unknown_operator(tmp_path))


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_facts_fit_a_record(adapter: Adapter, network: Network, goal: str) -> None:
    session = adapter.compile(network("convolution").model, goal=goal)
    facts = session.facts
    settings = pydantic.TypeAdapter(dict[Name, Setting]).validate_python(dict(facts.settings), strict=True)
    assert settings["precision"] == adapter.precision
    assert session.inflight >= 1
    spent_ns = [facts.import_ns, facts.compile_ns, 0 if facts.load_ns is None else facts.load_ns]
    assert all(isinstance(ns, int) and ns >= 0 for ns in spent_ns)


def test_placement_is_proved(adapter: Adapter, network: Network) -> None:
    session = adapter.compile(network("convolution").model)
    proof = session.facts.placement
    assert Placement(device=proof.device, share=proof.share, proof=proof.proof).share == 1.0
    assert proof.proof


def test_nothing_leaks(adapter: Adapter, network: Network) -> None:
    """Files, threads and memory of compiling, running and closing again and again; the first rounds fill caches."""
    net = network("convolution")

    def once() -> None:
        session = adapter.compile(net.model, goal="throughput")
        finished = threading.Barrier(session.inflight + 1)
        for _ in range(session.inflight):
            session.submit(session.put(net.inputs(1, 1)), lambda values, error: finished.wait())
        finished.wait(30)
        adapter.close(session)

    def rounds(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            once()
        gc.collect()
        return _entries("/proc/self/fd"), _entries("/proc/self/task"), _resident_bytes()

    rounds(4)
    files, threads, memory = rounds(1)
    files_after, threads_after, memory_after = rounds(12)
    assert files_after <= files
    assert threads_after <= threads
    assert memory_after - memory < 2_000_000


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_two_sessions_live_side_by_side(adapter: Adapter, network: Network) -> None:
    nets = [network("convolution"), network("pair")]
    sessions = [adapter.compile(net.model) for net in nets]
    for seed in range(4):
        for net, session in zip(nets, sessions, strict=True):
            arrays = net.inputs(1, seed)
            assert relative_error(answer(session, arrays), net.answer(arrays)) < adapter.error_max


def test_available_does_not_depend_on_having_compiled(adapter: Adapter, network: Network) -> None:
    before = adapter.engine.available(adapter.device)
    adapter.compile(network("pair").model)
    assert adapter.engine.available(adapter.device) == before
    assert isinstance(adapter.engine, Engine)
