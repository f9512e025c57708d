"""The data that ship, and how they are split."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from workloads import data
from workloads.models import bytelm, digits
from workloads.nets import bytelm as net

SPLITS = ("perf", "calibration", "evaluation")


def test_every_digit_serves_one_part_only() -> None:
    parts = [digits.part(name) for name in digits.ROWS]
    images = [image.tobytes() for part in parts for image in part.inputs["x"]]
    assert sum(map(len, parts)) == 1797
    assert len(set(images)) == 1797, "an image stands in two parts, or twice"


def test_digits_are_graded_on_at_least_800_images() -> None:
    evaluation = digits.DigitsSmall().samples("evaluation", 1000, 0)
    assert len(evaluation) == 850
    assert np.bincount(evaluation.labels["label"]).min() >= 70, "a digit is hardly asked for"


def test_digits_are_float32_from_0_to_1_with_their_labels() -> None:
    samples = digits.DigitsSmall().samples("perf", 4, 0)
    images, labels = data.digits()
    assert samples.inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(samples.inputs["x"][:, 0] * 16, images[883:887])
    np.testing.assert_array_equal(samples.labels["label"], labels[883:887])


def test_parts_of_the_text_lie_one_after_another_and_do_not_overlap() -> None:
    parts = [bytelm.part(name) for name in bytelm.WINDOWS]
    windows = [_windows(part) for part in parts]
    rejoined = np.concatenate([bytelm.training_text(), *(part.reshape(-1) for part in windows)])
    np.testing.assert_array_equal(rejoined, data.topics())


def _windows(part: object) -> np.ndarray:
    text, following = part.inputs["text"], part.labels["next"]  # type: ignore[attr-defined]
    return np.concatenate([text, following[:, -1:]], axis=1)


def test_text_is_graded_on_at_least_150_windows_of_256_bytes() -> None:
    evaluation = bytelm.ByteLMSmall().samples("evaluation", 1000, 0)
    assert evaluation.inputs["text"].shape == (240, 256)
    assert evaluation.inputs["text"].dtype == np.int32
    assert evaluation.labels["next"].shape == (240, 32)


def test_the_byte_after_each_scored_position_is_the_next_one_of_the_text() -> None:
    samples = bytelm.ByteLMSmall().samples("evaluation", 3, 0)
    np.testing.assert_array_equal(samples.labels["next"][:, :-1], samples.inputs["text"][:, -net.SCORED + 1 :])


@pytest.mark.parametrize("width", [64, 96])
def test_hardly_any_held_out_text_also_stands_in_the_training_text(width: int) -> None:
    training = bytelm.training_text().tobytes()
    held_out = _windows(bytelm.part("evaluation")).astype(np.uint8).tobytes()
    known = {training[i : i + width] for i in range(len(training) - width)}
    pieces = [held_out[i : i + width] for i in range(len(held_out) - width)]
    assert sum(piece in known for piece in pieces) < 0.01 * len(pieces)


@pytest.mark.parametrize("workload", [digits.DigitsSmall(), bytelm.ByteLMSmall()], ids=lambda w: w.card.name)
@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_same_samples(workload: object, split: str) -> None:
    first, again = (workload.samples(split, 5, 1) for _ in range(2))  # type: ignore[attr-defined]
    other = workload.samples(split, 5, 2)  # type: ignore[attr-defined]
    for name, array in first.inputs.items():
        np.testing.assert_array_equal(array, again.inputs[name])
        assert not np.array_equal(array, other.inputs[name])


def test_perf_goes_round_and_evaluation_ends() -> None:
    workload = digits.DigitsSmall()
    twice = workload.samples("perf", 128, 0).inputs["x"]
    np.testing.assert_array_equal(twice[:64], twice[64:])
    assert len(workload.samples("evaluation", 5000, 0)) == 850
    assert len(workload.samples("calibration", 5000, 0)) == 100


def test_a_damaged_file_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "topics.txt.gz").write_bytes(gzip.compress(b"something else"))
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    data.topics.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"topics.txt.gz is damaged"):
            data.topics()
    finally:
        data.topics.cache_clear()


@pytest.mark.torch
def test_digits_are_scikit_learns() -> None:
    pytest.importorskip("sklearn")
    from workloads.data import prepare

    for shipped, made in zip(data.digits(), prepare.digits(), strict=True):
        np.testing.assert_array_equal(shipped, made)


def test_the_corpus_is_what_this_pythons_topics_give_or_another_python_is_refused() -> None:
    from workloads.data import prepare

    try:
        made = prepare.topics()
    except ValueError as refusal:
        assert "3.11.7" in str(refusal)  # noqa: PT017 - both answers are right, on different Pythons
    else:
        assert made == data.topics().tobytes()
