"""The rules of thumb on techniques, over records whose sizes, speeds and grades are known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results import join, store
from results.claims import techniques
from results.claims.answer import Answer
from results.claims.techniques import Device
from results.claims.trials import Trial
from results.claims.verdicts import (
    CLAIMS,
    DISTILLATION,
    FUSION,
    INT8,
    PRUNING,
    WEIGHTS,
    ZEROS,
    Claimed,
    answers,
    combined,
    judge_quality,
    judge_size,
    judge_speed,
)
from results.paired import Change, Shift
from results.stats import Interval
from results.store import Run, StoreError
from tests.fakes import techniques as fake
from tests.fakes.techniques import PLAIN, RUN, USUAL, Try

TRAINED = ("digits-small",)


def judged(root: Path, *tries: Try, repeats: int = 5, n: int = 800) -> Device:
    """The only device, over these tries."""
    with Run.open(root, RUN) as run:
        fake.write(run, tries or USUAL, repeats, n)
    (device,) = techniques.claims(join.table(root))
    return device


def told(device: Device, name: str) -> dict[str, Answer]:
    return dict(next(claim for claim in device.claims if claim.claimed.name == name).answers)


def verdicts(device: Device, name: str) -> list[str]:
    return [told(device, name)[question].verdict for question in techniques.QUESTIONS]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Device:
    return judged(tmp_path_factory.mktemp("usual"))


def trial(device: Device, technique: str, workload: str = "digits-small", engine: str = "onnxruntime") -> Trial:
    (found,) = (
        one
        for one in device.trials
        if (one.technique, one.workload, one.row["engine"]) == (technique, workload, engine)
    )
    return found


def test_the_claim_is_whole() -> None:
    assert [claimed.name for claimed in CLAIMS] == [
        "INT8", "pruning 50 %, structured", "pruning 50 %, zeros", "distillation", "weight compression",
        "operator fusion", "mixed precision",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("technique", "claimed"),
    [
        ("int8-static", INT8), ("int8-dynamic", INT8), ("int8", INT8), ("int8-weights-nncf", WEIGHTS),
        ("int4-weights", WEIGHTS), ("int3-rounded", WEIGHTS), ("lossless", WEIGHTS), ("prune-structured-50", PRUNING),
        ("prune-unstructured-50", ZEROS), ("prune-2to4", ZEROS),
        ("prune-unstructured-90", None), ("distill-scratch", DISTILLATION),
        ("default fusion", FUSION), ("fuse-compile", FUSION), ("prune-structured-50+int8-static", None),
        ("seed-guide", None), ("fp32", None),
    ],
)  # fmt: skip
def test_a_technique_answers_the_claim_that_its_name_says(technique: str, claimed: Claimed | None) -> None:
    assert answers(technique) is claimed


def test_nothing_is_claimed_where_no_technique_was_tried(tmp_path: Path) -> None:
    with Run.open(tmp_path, RUN) as run:
        fake.write(run, PLAIN)
    assert techniques.claims(join.table(tmp_path)) == []


def test_size_speed_quality_and_effort_are_judged_by_the_trained_networks(usual: Device) -> None:
    assert verdicts(usual, "INT8") == ["holds"] * 4
    found = told(usual, "INT8")
    assert found["size"].found == "\u221273 %, geometric mean of 2 workloads"
    assert found["speed"].found.startswith("2.6")
    assert "accuracy of digits-small" in found["quality"].found
    assert found["complexity"].found == "low, 2 steps, 2.5 s to make, 64 samples"
    assert verdicts(usual, PRUNING.name) == ["holds", "falls short", "falls short", "holds"]
    assert verdicts(usual, "distillation") == ["holds", "holds", "holds", "holds"]
    assert verdicts(usual, "operator fusion") == ["holds", "holds", "holds", "holds"]


def test_what_was_not_tried_is_undecided_and_says_so(usual: Device) -> None:
    answer = told(usual, "mixed precision")["speed"]
    assert (answer.claimed, answer.found, answer.verdict) == ("1.5 to 2x", "", "undecided")
    assert answer.reason == "not measured: no technique of its kind is among these results"


def test_speed_is_against_the_best_fp32_engine_and_the_losers_are_shown(usual: Device) -> None:
    """OpenVINO's int8 is 1.3 times as fast as another engine's fp32, and 1.6 times as fast as its own."""
    loser = trial(usual, "int8-static", engine="openvino")
    assert loser.base is not None
    assert loser.base["engine"] == "onnxruntime"
    assert loser.speed is not None
    assert loser.speed.centre == pytest.approx(1.3, rel=0.02)
    beaten = trial(usual, "fp32", engine="openvino")
    assert beaten.speed is not None
    assert beaten.speed.centre == pytest.approx(0.8, rel=0.02)


def test_fusion_is_held_against_the_same_engine_without_it(usual: Device) -> None:
    fused = trial(usual, "default fusion")
    assert fused.base is not None
    assert fused.base["technique"] == "fuse-off"
    assert fused.speed is not None
    assert fused.speed.centre == pytest.approx(1 / 0.55, rel=0.02)


def test_a_control_is_shown_and_speaks_for_nothing(usual: Device) -> None:
    for name in ("fuse-off", "int3-rounded", "distill-scratch"):
        assert trial(usual, name).control
        assert id(trial(usual, name)) not in usual.speaking


def test_below_its_quality_floor_a_technique_is_shown_and_not_ranked(tmp_path: Path) -> None:
    ruined = Try("int8-static", 3.0, 0.27, 0.4, precision="int8", workloads=("bytelm-small",))
    device = judged(tmp_path, replace(PLAIN[0], workloads=("bytelm-small",)), ruined)
    one = trial(device, "int8-static", "bytelm-small")
    assert one.below_floor
    assert "perplexity 14 nats-exp is above its floor 12" in one.invalid
    found = told(device, "INT8")
    assert found["speed"].found.startswith("3.0")
    assert found["speed"].verdict == "undecided"
    assert found["speed"].reason == "invalid on bytelm-small: below its quality floor; shown, not ranked"
    assert (found["quality"].verdict, found["size"].verdict) == ("falls short", "holds")


def test_random_weights_give_size_and_speed_and_no_quality(tmp_path: Path) -> None:
    only = ("resnet50",)
    device = judged(tmp_path, replace(PLAIN[0], workloads=only), replace(USUAL[2], workloads=only))
    found = told(device, "INT8")
    assert found["size"].found == "\u221273 %, resnet50 of random weights"
    assert (found["speed"].verdict, found["quality"].verdict) == ("holds", "undecided")
    assert found["quality"].reason == "not measurable: random weights"


def test_below_five_repeats_the_figure_is_shown_and_nothing_decided(tmp_path: Path) -> None:
    answer = told(judged(tmp_path, *USUAL[:3], repeats=3), "INT8")["speed"]
    assert answer.found.startswith("2.6")
    assert "range" in answer.found
    assert (answer.verdict, answer.reason) == ("undecided", "needs 5 repeats (has 3); as claimed")


def test_grades_of_other_examples_are_refused_with_why(tmp_path: Path) -> None:
    later = RUN.replace("7ec41c", "7ec41d")
    for run_id, tries, n in ((RUN, PLAIN[:1], 700), (later, [replace(USUAL[2], workloads=TRAINED)], 800)):
        with Run.open(tmp_path, run_id) as run:
            fake.write(run, tries, n=n, run_id=run_id)
    (device,) = techniques.claims(join.table(tmp_path))
    answer = told(device, "INT8")["quality"]
    assert (answer.verdict, answer.reason) == ("undecided", "graded on 800 examples, the baseline on 700: no pairs")


def test_grades_that_do_not_give_the_recorded_figure_are_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path, RUN) as run:
        fake.write(run, [replace(one, workloads=TRAINED) for one in USUAL[:3]])
    path = sorted((tmp_path / RUN / "samples").glob("*.f64"))[0]
    path.write_bytes(path.read_bytes()[8:] + path.read_bytes()[:8])
    assert trial(techniques.claims(join.table(tmp_path))[0], "int8-static").change is not None
    path.write_bytes(bytes(8 * 800))
    one = trial(techniques.claims(join.table(tmp_path))[0], "int8-static")
    assert one.change is None
    assert one.missing["change"] == "its grades give 0, not the recorded accuracy 0.97"


def test_a_scores_file_that_is_gone_or_cut_says_so(tmp_path: Path) -> None:
    with Run.open(tmp_path, RUN) as run:
        fake.write(run, [replace(PLAIN[0], workloads=TRAINED)], repeats=1)
    ((record, _),) = store.read(tmp_path)
    folder = tmp_path / RUN
    assert store.scores_of(folder, record).mean() == pytest.approx(0.97)
    path = next((folder / "samples").glob("*.f64"))
    path.write_bytes(bytes(16))
    with pytest.raises(StoreError, match="16 bytes where 800 scores of 8 were written"):
        store.scores_of(folder, record)
    path.unlink()
    with pytest.raises(StoreError, match="the scores file is gone"):
        store.scores_of(folder, record)


@pytest.mark.parametrize(
    ("claimed", "change", "verdict"),
    [
        (INT8, -0.75, "holds"), (INT8, -0.71, "holds"), (INT8, -0.69, "falls short"), (INT8, -0.82, "exceeds"),
        (INT8, 0.1, "reversed"), (INT8, 0.0, "falls short"), (DISTILLATION, -0.6, "holds"),
        (DISTILLATION, -0.85, "exceeds"), (FUSION, 0.0, "holds"), (FUSION, 0.2, "falls short"),
    ],
)  # fmt: skip
def test_a_size_is_judged_by_its_change(claimed: Claimed, change: float, verdict: str) -> None:
    assert judge_size(claimed, change) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (2.1, 3.9, "holds"), (1.1, 1.9, "falls short"), (0.9, 1.2, "falls short"), (0.5, 0.9, "reversed"),
        (4.1, 5.0, "exceeds"), (1.9, 2.1, "undecided"), (3.9, 4.2, "undecided"),
    ],
)  # fmt: skip
def test_a_speed_up_is_judged_by_where_its_whole_interval_lies(low: float, high: float, verdict: str) -> None:
    assert judge_speed(INT8, Interval((low * high) ** 0.5, low, high, "t", 5))[0] == verdict


def change(loss: float, low: float, high: float, **changes: Any) -> Change:
    made = Change("accuracy", 0.97, 0.97, loss, low, high, 0.01, "undecided", Shift(0, 0, 0, 800, 3), 4000)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("word", "found", "verdict"),
    [
        ("none", change(0, -0.003, 0.003), "holds"),
        ("none", change(0.0005, 0.0004, 0.0006), "falls short"),
        ("none", change(0.00001, 0.000009, 0.000011), "holds"),
        ("none", change(0, -0.02, 0.02), "undecided"),
        ("minimal", change(0.002, 0.001, 0.009), "holds"),
        ("minimal", change(-0.02, -0.03, -0.01), "exceeds"),
        ("minimal", change(0.02, 0.015, 0.025), "falls short"),
        ("minimal", change(0.009, 0.001, 0.02, outcome="worse"), "undecided"),
        ("low", change(0.002, 0.001, 0.009), "exceeds"),
        ("low", change(0.03, 0.02, 0.04), "holds"),
        ("low", change(0.07, 0.06, 0.08), "falls short"),
    ],
)
def test_a_loss_is_judged_by_where_its_whole_interval_lies(word: str, found: Change, verdict: str) -> None:
    assert judge_quality(word, found)[0] == verdict


def test_an_undecided_quality_says_how_many_examples_would_decide() -> None:
    assert judge_quality("minimal", change(0, -0.02, 0.02))[1] == "needs about 4,000 examples (has 800)"


def test_independent_ratios_combine_to_a_narrower_interval() -> None:
    one = Interval(2.0, 1.8, 2.0**2 / 1.8, "t", 5)
    both = combined([one, one])
    assert both.centre == pytest.approx(2.0)
    assert one.low < both.low < 2.0
    assert combined([one]) is one
    assert combined([one, replace(one, kind="range")]).kind == "range"
