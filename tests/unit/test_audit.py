"""The output checks must see a constant, another sample's answer, the previous answer and NaN, on every workload."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backends.contract import Session
from bench import parts, queries
from bench.audit import correctness
from tests.fakes.fake_workloads import FakeMemory, FakeProject
from workloads.contract import Unsupported, Workload

WORKLOADS = [found.part for found in parts.collect(Workload, ("tests.fakes.fake_workloads",)) if found.part]


class Replay(Session):
    """Knows golden by heart and answers with it; `corrupt` is told the golden rows asked for and returns rows to give.

    It sees what is asked from the inputs' bytes. A workload with feedback is answered in its last step only.
    """

    def __init__(self, workload, corrupt=lambda session, rows: rows):
        golden = workload.golden()
        self.golden, self.feedback, self.steps, self.corrupt = golden.outputs, workload.feedback, golden.steps, corrupt
        self.inputs = workload.samples("perf", len(next(iter(golden.outputs.values()))), 0).inputs
        self.known = {self.key(self.inputs, row): row for row in range(len(next(iter(self.inputs.values()))))}
        self.step, self.last = 0, None

    def key(self, inputs, row):
        fed_back = set(self.feedback.values())
        return b"".join(array[row].tobytes() for name, array in sorted(inputs.items()) if name not in fed_back)

    def run(self, values):
        rows = [self.known[self.key(values, row)] for row in range(len(next(iter(values.values()))))]
        self.step += 1
        fed_back = {source: values[target] for source, target in self.feedback.items()}
        if self.step % self.steps:
            return fed_back
        given_rows = self.corrupt(self, rows)
        self.last = rows
        return {**fed_back, **{name: array[given_rows] for name, array in self.golden.items()}}


def check(workload, session, batch=1, seed=5):
    return correctness.outputs(workload, session, batch, "fp32", seed)


def accepted(evidence):
    """The rule of results/checks.py, in short: what is asked here is whether the evidence tells."""
    allowed = evidence["relative_error_allowed"]
    return (
        evidence["finite"]
        and evidence["identity_hits"] == evidence["n"]
        and evidence["centred_cosine_min"] >= evidence["cosine_required"]
        and (allowed is None or evidence["relative_error_max"] <= allowed)
    )


def constant(session, rows):
    return [0] * len(rows)


def wrong_sample(session, rows):
    return [(row + 1) % len(session.known) for row in rows]


def one_wrong_sample(session, rows):
    return [5 if row == 4 else row for row in rows]


def stale(session, rows):
    return rows if session.last is None else session.last


@pytest.fixture(params=WORKLOADS, ids=lambda workload: workload.card.name, scope="module")
def workload(request):
    """With its samples and golden outputs made once for all the tests."""
    workload = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workload, "samples", functools.cache(workload.samples))
        patch.setattr(workload, "golden", functools.cache(workload.golden))
        yield workload


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_golden_itself_is_accepted(workload, batch):
    evidence = check(workload, Replay(workload), batch)
    assert accepted(evidence)
    assert evidence["n"] >= 12
    assert evidence["centred_cosine_min"] == pytest.approx(1.0)


@pytest.mark.parametrize("corrupt", [constant, wrong_sample, one_wrong_sample, stale])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_wrong_answer_is_seen_by_the_identity_of_samples_alone(workload, corrupt, batch):
    evidence = check(workload, Replay(workload, corrupt), batch)
    assert evidence["identity_hits"] < evidence["n"]
    assert not accepted(evidence)


class Window:
    """A window of `count` queries on a session, with a witness."""

    def __init__(self, workload, session, batch=1, count=200):
        self.witness = queries.Witness(workload, batch, "fp32")
        rotation = queries.rotation(workload, batch)
        feed = queries.feed(rotation, workload.feedback, workload.golden().steps, witness=self.witness)
        self.witness.open()
        query = next(feed)
        for _ in range(count):
            query = feed.send(session.get(session.run(session.put(query))))
        self.witness.close()


class Late(Session):
    """The workload's own function; from run number `after` on the last right answer, or the one before this."""

    def __init__(self, workload, after=10**9, stale=False):
        self.function, self.after, self.stale = type(workload).function, after, stale
        self.runs, self.last = 0, None

    def run(self, values):
        self.runs += 1
        late, last = self.runs > self.after, self.last
        if self.stale or not late:
            self.last = self.function(**values)
        return last if late else self.last


FAKES = [FakeProject(), FakeMemory()]


@pytest.mark.parametrize("workload", FAKES, ids=lambda workload: workload.card.name)
@pytest.mark.parametrize("batch", [1, 5])
def test_the_outputs_of_an_honest_window_are_accepted(workload, batch):
    evidence = correctness.timed_outputs(Window(workload, Late(workload), batch).witness)
    assert accepted(evidence)
    assert 3 <= evidence["n"] <= 12


@pytest.mark.parametrize("workload", FAKES, ids=lambda workload: workload.card.name)
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_an_answer_that_goes_wrong_late_in_the_window_is_seen_though_the_check_before_it_was_right(
    workload, stale, batch
):
    session = Late(workload, after=300, stale=stale)
    assert accepted(check(workload, session, batch))
    evidence = correctness.timed_outputs(Window(workload, session, batch, count=600).witness)
    assert evidence["identity_hits"] < evidence["n"]
    assert not accepted(evidence)


def test_a_window_without_a_known_answer_is_no_evidence_and_says_so():
    with pytest.raises(Unsupported, match="no query whose golden outputs are known began and ended in the window"):
        correctness.timed_outputs(Window(FakeProject(), Late(FakeProject()), count=0).witness)


def test_a_workload_without_golden_outputs_is_no_evidence_and_says_so():
    class Unknown(FakeProject):
        def golden(self):
            raise Unsupported("nobody computed them")

    with pytest.raises(Unsupported, match="the workload has no golden outputs"):
        correctness.timed_outputs(queries.Witness(Unknown(), 1, "fp32"))


@pytest.mark.parametrize("shape", [(1, 4), (0, 5)])
def test_an_output_of_another_shape_in_the_window_is_an_error(shape):
    class Odd(Session):
        def run(self, values):
            return {"y": np.zeros(shape)}

    with pytest.raises(correctness.WrongOutputsError, match="output y has shape"):
        correctness.timed_outputs(Window(FakeProject(), Odd()).witness)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_seen_in_a_single_element(workload, value):
    class Spoilt(Replay):
        def run(self, values):
            outputs = super().run(values)
            for name in self.golden.keys() & outputs.keys():
                outputs[name] = outputs[name].astype(np.float64)
                outputs[name].reshape(-1)[-1] = value
            return outputs

    evidence = check(workload, Spoilt(workload))
    assert not evidence["finite"]
    assert evidence["identity_hits"] == 0
    assert evidence["centred_cosine_min"] == -1.0
    assert np.isfinite(evidence["relative_error_max"])


def test_small_errors_are_measured():
    workload = FakeProject()
    golden = workload.golden().outputs["y"]

    class Off(Replay):
        def run(self, values):
            return {"y": super().run(values)["y"] + 1e-3 * np.abs(golden).max()}

    evidence = check(workload, Off(workload))
    assert evidence["relative_error_max"] == pytest.approx(1e-3)
    assert evidence["identity_hits"] == 12
    assert not accepted(evidence)


def test_a_cheap_session_is_asked_twice_in_another_order():
    """An answer remembered by its position in the first round is wrong in the second."""

    class ByPosition(Replay):
        seen = 0

        def run(self, values):
            self.seen += 1
            outputs = super().run(values)
            self.memory = getattr(self, "memory", [])
            self.memory.append(outputs)
            return self.memory[self.seen - 1 - 12] if self.seen > 12 else outputs

    evidence = check(FakeProject(), ByPosition(FakeProject()))
    assert evidence["identity_hits"] < 12


def test_feedback_is_really_fed_back():
    workload = FakeMemory()

    class Forgetful(Session):
        """Ignores the state that it is given."""

        def run(self, values):
            return type(workload).function(values["x"], values["state"] * 0)

    class Honest(Session):
        def run(self, values):
            return type(workload).function(**values)

    assert accepted(check(workload, Honest()))
    assert not accepted(check(workload, Forgetful()))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [({"z": np.zeros((1, 5))}, "output y is missing; the session gave z"), ({"y": np.zeros((1, 4))}, "has shape")],
)
def test_outputs_of_another_name_or_shape_are_an_error(outputs, message):
    class Odd(Session):
        def run(self, values):
            return outputs

    with pytest.raises(correctness.WrongOutputsError, match=message):
        check(FakeProject(), Odd())


def test_an_output_that_never_varies_is_judged_by_its_error():
    golden = {"y": np.random.default_rng(0).standard_normal((12, 4)), "position": np.full((12, 1), 131.0)}
    right = correctness.agree(golden, golden, range(12))
    assert right.hits.all()
    assert right.cosine.min() == pytest.approx(1.0)
    wrong = correctness.agree({**golden, "position": np.full((12, 1), 65.5)}, golden, range(12))
    assert wrong.cosine.max() == pytest.approx(0.5)


@given(st.integers(0, 2**32), st.floats(0.5, 1000), st.permutations(range(12)))
def test_agreement_does_not_depend_on_scale_or_order(seed, scale, order):
    golden, noise = np.random.default_rng(seed).standard_normal((2, 12, 6))
    one = correctness.agree({"y": golden + noise}, {"y": golden}, range(12))
    other = correctness.agree({"y": scale * (golden + noise)[order]}, {"y": scale * golden}, order)
    np.testing.assert_allclose(one.cosine[order], other.cosine, atol=1e-9)
    np.testing.assert_allclose(one.error[order], other.error, rtol=1e-9)


@given(arrays(np.float64, (12, 6), elements=st.floats(-100, 100)))
def test_agreement_stays_within_its_bounds(golden):
    found = np.random.default_rng(2).standard_normal((12, 6)) * 1e200
    agreement = correctness.agree({"y": found}, {"y": golden}, range(12))
    assert (np.abs(agreement.cosine) <= 1).all()
    assert (agreement.error <= correctness.ERROR_MAX).all()
