from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import Session, Unsupported
from bench.audit import quality
from tests.fakes.fake_workloads import FakeGraded, FakeProject, project


class Exact(Session):
    def run(self, values):
        return project(**values)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_three_of_four_labels_are_right_in_any_batch(batch, tmp_path):
    graded = quality.evaluate(FakeGraded(), Exact(), batch, 1000, tmp_path / "samples" / "item.scores.f64")
    assert graded == {
        "value": 0.75,
        "n": 400,
        "standard_error": pytest.approx(np.sqrt(0.25 * 0.75 / 399)),
        "scores_file": "item.scores.f64",
        "examples_sha256": graded["examples_sha256"],
        "missing": {},
    }
    assert len(graded["examples_sha256"]) == 64


def test_each_example_s_grade_is_kept_in_the_order_of_the_examples(tmp_path):
    quality.evaluate(FakeGraded(), Exact(), 7, 1000, tmp_path / "scores.f64")
    samples = FakeGraded().samples("evaluation", 1000, 0)
    expected = FakeGraded().score(project(**samples.inputs), samples)
    assert np.array_equal(np.fromfile(tmp_path / "scores.f64", "<f8"), expected)


def test_fewer_examples_may_be_asked_for(tmp_path):
    assert quality.evaluate(FakeGraded(), Exact(), 1, 100, tmp_path / "scores.f64")["n"] == 100


def test_a_workload_without_labels_has_no_quality_and_is_not_run_for_it(tmp_path):
    class Never(Session):
        def run(self, values):
            raise AssertionError

    with pytest.raises(Unsupported, match="fake-project has no labels to grade answers by: quality is not measurable"):
        quality.evaluate(FakeProject(), Never(), 1, 1000, tmp_path / "scores.f64")
    assert not list(tmp_path.iterdir())


class Perplexity(FakeGraded):
    def quality_value(self, scores):
        return float(np.exp(scores.mean()))


@given(st.lists(st.floats(0.1, 4.0), min_size=20, max_size=60))
def test_the_error_of_a_perplexity_is_the_delta_method_s(losses):
    scores = np.array(losses)
    of_mean = scores.std(ddof=1) / np.sqrt(len(scores))
    expected = np.exp(scores.mean()) * np.sinh(of_mean)  # exp(mean) * of_mean, to first order
    assert quality.standard_error(Perplexity(), scores) == pytest.approx(expected, abs=1e-9)


def test_the_error_of_one_example_is_zero_and_not_nan():
    assert quality.standard_error(FakeGraded(), np.array([1.0])) == 0.0
