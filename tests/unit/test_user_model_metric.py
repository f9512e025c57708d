"""A metric that a user brings with a model: graded on the artefact that is timed, and never on what calibrated it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from backends.contract import Backend, Engine, Plan
from bench import parts, recipes, usermodel
from bench.audit import quality
from bench.selection import SelectionError
from bench.usermodel import Brought
from tests.unit import user_models as models
from workloads.contract import Unsupported
from workloads.user import UserModel
from workloads.usermetric import Metric, digest

GOOD = """
    import numpy as np
    from workloads.contract import Evaluation, Quality

    images = np.random.default_rng(0).standard_normal((40, 3, 16, 16)).astype(np.float32)
    labels = {"class": np.arange(40) % 5}

    def right(outputs, labels):
        return (outputs["logits"].argmax(axis=1) == labels["class"]).astype(float)

    def accuracy():
        return Evaluation({"image": images}, labels, right, Quality("accuracy", "fraction", "higher", floor=0.1))
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., UserModel]:
    """The cnn with a metric whose source is given, prepared in a process of its own."""

    def prepared(source: str, function: str = "accuracy", **brought: Any) -> UserModel:
        sys.modules.pop("metric", None)  # of another test; a worker is a new process
        (tmp_path / "metric.py").write_text(dedent(source))
        model = models.saved(models.cnn(), tmp_path)
        told = Brought(metric=f"metric.py:{function}", **brought)
        (folder,) = usermodel.prepare(usermodel.asked([str(model)], {}, told, taken=(), here=tmp_path))
        return UserModel(folder)

    return prepared


def graded(workload: Any, precision: str, to: Path) -> dict[str, Any]:
    (device,) = parts.find(Backend, "cpu").probe().devices
    engine = parts.find(Engine, "onnxruntime")
    with closing(engine.compile(workload.calibrated(), Plan(precision, 8, "latency"), device)) as session:
        return quality.evaluate(workload, session, 8, 1000, to)


def test_answers_are_graded_and_each_grade_is_kept(prepare: Callable[..., UserModel], tmp_path: Path) -> None:
    workload = prepare(GOOD)
    assert workload.card.quality is not None
    assert (workload.card.quality.metric, workload.card.quality.floor) == ("accuracy", 0.1)
    found = graded(workload, "fp32", tmp_path / "grades.f64")
    grades = np.fromfile(tmp_path / "grades.f64", "<f8")
    assert (found["n"], len(grades)) == (40, 40)
    assert set(grades) <= {0.0, 1.0}
    assert found["value"] == grades.mean()


def test_the_quantised_model_is_graded_by_the_same_samples(prepare: Callable[..., UserModel], tmp_path: Path) -> None:
    workload = recipes.parse("int8-static").of(prepare(GOOD))
    assert graded(workload, "int8", tmp_path / "grades.f64")["n"] == 40


def test_samples_that_calibrate_are_never_graded(prepare: Callable[..., UserModel], tmp_path: Path) -> None:
    same = np.random.default_rng(0).standard_normal((40, 3, 16, 16)).astype(np.float32)[:2]
    other = np.zeros((3, 3, 16, 16), np.float32)
    path = models.given(tmp_path, image=np.concatenate([same, other]))
    with pytest.raises(SelectionError, match=r"2 of its samples calibrate too .*: take them out of one"):
        prepare(GOOD, calibration=path)
    assert len(prepare(GOOD, calibration=models.given(tmp_path, image=other)).samples("calibration", 9, 0)) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def accuracy(): return 0.9", "metric:accuracy gives a float: return a workloads.contract.Evaluation"),
        ("def other(): ...", "AttributeError: module 'metric' has no attribute 'accuracy'"),
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        (GOOD.replace("(40, 3, 16", "(41, 3, 16"), "inputs and labels need the same number of samples"),
        (GOOD.replace("{\"image\"", "{\"picture\""), "has picture, and the model takes image"),
        (GOOD.replace("(40, 3, 16, 16)", "(40, 3, 8, 8)"), "image is float32(40, 3, 8, 8), and the model takes"),
        (GOOD.replace("images = np", "images = np.nan * np"), "its inputs have NaN or infinity in them"),
        (GOOD.replace("astype(float)", "mean()"), "its score gave () for 4 samples: one finite grade for each"),
        (GOOD.replace('outputs["logits"]', 'outputs["y"]'), "its score raised KeyError: 'y'"),
        (GOOD.replace('"higher"', '"up"'), 'plain names for metric and unit, and better "higher" or "lower"'),
        (GOOD.replace('"fraction"', '""'), 'plain names for metric and unit, and better "higher" or "lower"'),
        (GOOD.replace('"accuracy"', '"perplexity"'), "a perplexity is no mean of grades: give its logarithm"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_be_used_is_one_line(prepare: Callable[..., UserModel], source: str, message: str) -> None:
    with pytest.raises(SelectionError) as caught:
        prepare(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_do_for_labels_and_grades(prepare: Callable[..., UserModel], tmp_path: Path) -> None:
    lists = GOOD.replace("np.arange(40) % 5", "[0, 1, 2, 3, 4] * 8").replace(".astype(float)", ".tolist()")
    assert graded(prepare(lists), "fp32", tmp_path / "grades.f64")["n"] == 40


def test_a_grade_that_is_no_number_among_later_samples_is_a_reason_too(
    prepare: Callable[..., UserModel], tmp_path: Path
) -> None:
    late = prepare(GOOD.replace(".astype(float)", " + np.where(np.arange(len(labels['class'])) == 30, np.nan, 0.0)"))
    with pytest.raises(Unsupported, match=r"metric:accuracy: its score .* for 40 samples: one finite grade for each"):
        graded(late, "fp32", tmp_path / "grades.f64")


def test_another_name_or_floor_of_the_metric_prepares_the_model_anew(prepare: Callable[..., UserModel]) -> None:
    floors = [prepare(source).card.quality for source in (GOOD, GOOD.replace("floor=0.1", "floor=0.2"))]
    assert [found.floor for found in floors if found] == [0.1, 0.2]


def test_samples_that_change_from_call_to_call_are_refused(tmp_path: Path) -> None:
    each_time = "default_rng().standard_normal((40, 3, 16, 16)).astype(np.float32)"
    restless = GOOD.replace('{"image": images}', f'{{"image": np.random.{each_time}}}')
    for name, source in (("steady", GOOD), ("restless", restless)):
        (tmp_path / f"{name}.py").write_text(dedent(source))
    steady, moving = (
        replace(one, sha256=digest(one.load()))
        for one in (Metric.parse(f"{name}.py:accuracy", tmp_path) for name in ("steady", "restless"))
    )
    assert len(steady.again().inputs["image"]) == 40
    with pytest.raises(Unsupported, match="restless:accuracy gives other samples every time: fix its seed"):
        moving.again()
