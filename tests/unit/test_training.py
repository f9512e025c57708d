"""Steps of training: how they are asked for, proved to train, timed and kept apart from answers."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import Plan
from bench import cases, training, worker
from bench.profiles import PROFILES
from bench.protocol import Effort, Job
from bench.runner import Request, Runner
from bench.selection import Selection, SelectionError
from results import checks, join, store
from results.checks import Figures, judge
from results.claims.hardware import claims
from results.evidence import Evidence, Placement, Training
from results.record import Identity, Record, Window
from results.report.lines import lines
from results.report.sheets import Context, sheets
from tests.fakes import records
from tests.fakes.jobs import fake_job
from tests.fakes.trainers.fake_trainers import FIRST_LOSS, PARAMETERS, FakeLesson, Trainer
from workloads.contract import Unsupported
from workloads.models import bytelm, digits, llama, resnet8

EFFORT = Effort(warmup_max_s=0.05, min_duration_s=0.05, min_queries=20, max_duration_s=0.3)
PARTS = ("tests.fakes", "tests.fakes.trainers")
ASKED = Selection(
    mode="train",
    scenarios=("train_steps",),
    backends=("fake",),
    engines=("fake-trainer", "fake-answers"),
    workloads=("fake-lesson",),
    batches=("4",),
    parts=PARTS,
)
TRAINED = Training(loss_before=2.3, loss_after=1.1, steps=16, parameters=30, reached=30, changed=30)


@pytest.fixture(autouse=True)
def brief_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PROOF_S", 0.0)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    asked = {"workload": "fake-lesson", "engine": "fake-trainer", "mode": "train", "scenario": "train_steps"}
    return fake_job(EFFORT, tmp_path / "samples.i64", batch="4", parts=PARTS, **asked)


def last(job: Job) -> dict[str, Any]:
    return list(worker.events(job))[-1]


class TestSteps:
    def test_the_loss_that_halves_is_told_to_the_bit(self, job: Job) -> None:
        result = last(job)
        evidence = Evidence.model_validate_json(json.dumps(result["evidence"]), strict=True)
        assert evidence.training is not None
        steps = evidence.training.steps
        assert steps == training.STEPS_MIN
        assert evidence.training.loss_before == FIRST_LOSS / 2, "the first step is for what is allocated lazily"
        assert evidence.training.loss_after == FIRST_LOSS / 2**steps
        assert (evidence.training.parameters, evidence.training.changed) == (PARAMETERS, PARAMETERS)

    def test_a_query_is_one_batch_and_its_latency_a_step(self, job: Job) -> None:
        result = last(job)
        window = Window.model_validate_json(json.dumps(result["window"]), strict=True)
        samples = np.fromfile(job.samples_path, "<i8")
        assert (window.samples_kind, window.query_samples) == ("latency_ns", 4)
        assert len(samples) == window.queries >= EFFORT.min_queries
        assert 0 < samples.sum() <= window.duration_ns
        assert result["settings"]["device_peak_bytes"] == 4096

    def test_what_only_answers_have_is_missing_with_that_reason(self, job: Job) -> None:
        evidence = Evidence.model_validate_json(json.dumps(last(job)["evidence"]), strict=True)
        for name in training.NOT_ASKED:
            assert getattr(evidence, name) is None
            assert evidence.missing[name] == training.NOT_ANSWERED

    def test_batches_rotate_and_begin_again_where_there_are_no_more_lessons(self) -> None:
        batches = training.batches_of(FakeLesson(), 6)
        assert [int(batch["x"][0, 0]) for batch in batches] == [0, 6, 12, 18, 24, 30, 36]
        assert [int(x) for x in batches[-1]["x"][:, 0]] == [36, 37, 38, 39, 0, 1]

    def test_the_window_goes_through_all_batches_in_turn(self) -> None:
        session = Trainer(Plan("fp32", 10, "throughput", "train"))
        batches = training.batches_of(FakeLesson(), 10)
        list(training.drive(session, batches, EFFORT))
        assert session.seen[:6] == [0, 10, 20, 30, 0, 10]
        pairs = itertools.pairwise(session.seen)
        assert all((after - before) % 40 == 10 for before, after in pairs), "no batch was left out or made twice"

    @pytest.mark.parametrize(
        ("engine", "why"),
        [
            ("fake-only-forward", "the loss on one batch went from 8 to 8 in 8 steps; no gradient reaches 30 of 30"),
            ("fake-frozen", "30 of 30 parameters never change"),
            ("fake-head-only", "5 parameters are trained, and the network has 30"),
            ("fake-diverging", "nothing shows that a step trains: the loss was no finite number at step 1"),
            ("fake-silent", "nothing shows that a step trains: the engine does not tell what its steps reach"),
        ],
    )
    def test_who_only_looks_like_training_is_caught(self, job: Job, tmp_path: Path, engine: str, why: str) -> None:
        asked = replace(ASKED, engines=(engine,))
        (kept,) = run(asked, tmp_path)
        assert kept.summary is not None
        assert kept.summary.verdict == "invalid"
        faults = [reason for reason in kept.summary.reasons if reason.severity == "invalid"]
        assert [reason.code for reason in faults] == ["does_not_train"]
        assert why in faults[0].detail


def run(asked: Selection, folder: Path) -> list[Any]:
    """Every item of a selection, measured in this process."""
    profile = replace(PROFILES["quick"], warmup_max_s=0.05, min_duration_s=0.05, max_duration_s=0.3)
    found = {item.id: item for item in cases.items(cases.expand(asked), profile, 0)}
    runner = Runner(Request(asked, profile, folder / "runs", "pytest bench/ --mode=train", in_process=True), found)
    try:
        runner.prepare(found)
        return [runner.measure(name) for name in found]
    finally:
        runner.close()


class TestRun:
    def test_who_does_not_train_says_so_and_who_does_is_measured(self, tmp_path: Path) -> None:
        kept = {one.record.identity.engine: one for one in run(ASKED, tmp_path)}
        assert kept["fake-trainer"].record.status == "ok"
        assert kept["fake-trainer"].record.identity.mode == "train"
        assert kept["fake-trainer"].record.card.bounds == ()
        assert kept["fake-answers"].record.status == "unsupported"
        assert kept["fake-answers"].record.reason == "fake-answers does not train"

    def test_a_workload_without_lessons_is_refused_in_one_line(self, tmp_path: Path) -> None:
        (kept,) = run(replace(ASKED, workloads=("fake-project",), engines=("fake-trainer",)), tmp_path)
        assert kept.record.status == "unsupported"
        assert kept.record.reason == "fake-project brings nothing to train on: it is only asked for answers"

    def test_cases_have_a_suite_of_their_own_and_batches_of_32(self) -> None:
        found = cases.expand(replace(ASKED, batches=()))
        assert {(case.suite, case.batch, case.scenario) for case in found} == {("training", "32", "train_steps")}


class TestAsking:
    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("--scenario", {"scenarios": ("offline",)}),
            ("--technique", {"techniques": ("int8-static",)}),
            ("--rules", {"rules": "mlperf"}),
            ("--artifact", {"artifact": "bundle"}),
        ],
    )
    def test_what_is_about_answers_is_refused(self, option: str, changes: dict[str, Any]) -> None:
        with pytest.raises(SelectionError, match=f"--mode train times steps, and {option} is about answers: leave it"):
            replace(ASKED, **changes)

    def test_the_scenario_is_never_asked_for_by_name(self) -> None:
        with pytest.raises(SelectionError, match="train_steps is what --mode=train measures"):
            Selection(scenarios=("train_steps",))

    def test_an_unknown_mode_names_those_that_there_are(self) -> None:
        with pytest.raises(SelectionError, match="unknown mode learn; there are: infer, train"):
            Selection(mode="learn")

    def test_nothing_is_trained_on_a_device_that_is_only_compiled_for(self) -> None:
        asked = replace(ASKED, backends=(), engines=("fake-compiler",), targets=("else:Fake 9",))
        with pytest.raises(SelectionError, match="--mode train runs steps, and Fake 9 is only compiled for"):
            cases.expand(asked)


def trained(told: Training | None = TRAINED, **changes: Any) -> Record:
    """A record of training as a worker leaves it."""
    base = next(one for one in records.identities(40) if one.scenario == "single_stream")
    identity = Identity(**{**base.model_dump(), "mode": "train", "scenario": "train_steps", "goal": "throughput"})
    missing = dict.fromkeys(training.NOT_ASKED, training.NOT_ANSWERED)
    missing |= {"kernels": "the engine does not tell what it executed"}
    missing |= {} if told else {"training": "the engine does not tell"}
    placed = Placement(device=identity.device, share=1.0, proof="30 of 30 weights are there")
    evidence = Evidence(training=told, placement=placed, peak_memory_bytes=1 << 20, missing=missing)
    made = records.record(identity, evidence=evidence, **changes)
    return made.model_copy(update={"card": made.card.model_copy(update={"parameters": 30, "bounds": ()})})


GOOD = Figures(queries=1000, drift=0.01, latency_mean_ns=1.02e6, latency_p50_ns=1e6)


class TestVerdict:
    def test_steps_that_train_need_no_answers_to_be_valid(self) -> None:
        assert judge(trained(), GOOD) == ("valid", ())

    @pytest.mark.parametrize("after", [2.3, 2.2999, 2.4, math.inf])
    def test_a_loss_that_does_not_fall_is_no_training(self, after: float) -> None:
        faults = checks.training.training_faults(TRAINED.model_copy(update={"loss_after": after}), 30)
        assert "the loss on one batch went from 2.3 to" in "; ".join(faults)

    def test_a_reduced_precision_that_nobody_saw_is_noted(self) -> None:
        record = trained()
        identity = Identity(**{**record.identity.model_dump(), "precision": "bf16"})
        verdict, (reason,) = judge(record.model_copy(update={"identity": identity}), GOOD)
        assert (verdict, reason.code) == ("valid", "precision_unproved")

    def test_a_parameter_without_a_gradient_is_told(self) -> None:
        verdict, (reason,) = judge(trained(TRAINED.model_copy(update={"reached": 20})), GOOD)
        assert (verdict, reason.code) == ("invalid", "does_not_train")
        assert reason.detail == "no gradient reaches 10 of 30 parameters"

    def test_few_steps_are_too_few(self) -> None:
        _, reasons = judge(trained(), Figures(queries=9))
        assert [reason.code for reason in reasons] == ["too_few_samples"]

    def test_evidence_of_training_does_not_stand_in_for_outputs(self) -> None:
        record = trained()
        infer = record.model_copy(update={"identity": record.identity.model_copy(update={"mode": "infer"})})
        assert "outputs_unchecked" in [reason.code for reason in judge(infer, GOOD)[1]]


def stored(root: Path, *made: Record) -> join.Table:
    with store.Run.open(root, made[0].context.run_id) as run:
        for record in made:
            assert record.window is not None
            samples = records.samples(record.identity, record.window.queries, 0)
            samples.astype("<i8").tofile(run.samples_path(record.record_id))
            run.append(record)
    return join.table(root)


class TestRows:
    def test_training_is_ranked_among_itself_and_has_a_sheet_of_its_own(self, tmp_path: Path) -> None:
        steps = trained()
        answers = records.record(
            Identity(**{**steps.identity.model_dump(), "mode": "infer", "scenario": "offline"}), order=1
        )
        every = lines(stored(tmp_path, steps, answers))
        assert len({line.group for line in every}) == 2
        assert {line.headline for line in every} == {"throughput_per_s"}
        found = {sheet.slug: sheet for sheet in sheets(every, Context({}, "none"))}
        assert len(found["train_steps"].rows) == len(found["offline"].rows) == 1
        assert "mode" in [column.key for column in found["train_steps"].columns]

    def test_no_work_is_told_of_a_step_whose_operations_nobody_counted(self, tmp_path: Path) -> None:
        row = stored(tmp_path, trained()).rows.iloc[0]
        for name in ("achieved_flops_per_s", "intensity_flops_per_byte", "ceiling_share"):
            assert math.isnan(row[name])
            assert row["missing"][name].startswith("training: ")
        assert row["missing"]["quality"] == training.NOT_ANSWERED
        assert row["throughput_per_s"] > 0

    def test_no_claim_about_hardware_takes_a_step_for_an_answer(self, tmp_path: Path) -> None:
        claim = next(one for one in claims(stored(tmp_path, trained())) if one.kind == "CPU")
        assert claim.absence == "not measured: no run with --backend=cpu is among these results"
        assert claim.answers["throughput"].found == ""

    def test_another_mode_is_another_identity(self) -> None:
        steps: Identity = trained().identity
        assert steps.key != Identity(**{**steps.model_dump(), "mode": "infer"}).key


class TestLessons:
    def test_digits_are_of_the_training_split_alone(self) -> None:
        workload = digits.DigitsSmall()
        lessons = workload.lessons(10_000, 0)
        assert len(lessons) == 783
        rest = {
            image.tobytes()
            for split in ("calibration", "perf", "evaluation")
            for image in workload.samples(split, 1000, 0).inputs["x"]  # type: ignore[arg-type]
        }
        assert not rest & {image.tobytes() for image in lessons.inputs["x"]}

    def test_text_is_of_the_training_text_and_its_targets_are_the_next_bytes(self) -> None:
        workload = bytelm.ByteLMSmall()
        lessons, text = workload.lessons(3, 0), bytelm.training_text()
        np.testing.assert_array_equal(lessons.inputs["text"].reshape(-1)[:256], text[:256])
        np.testing.assert_array_equal(lessons.inputs["text"][:, 1:], lessons.labels["next"][:, :-1])
        assert len(workload.lessons(10**6, 0)) == len(text) // bytelm.WINDOW
        assert workload.objective().arguments == (256,)

    def test_random_weights_are_regressed_to_targets_of_the_outputs_shapes(self) -> None:
        workload = resnet8.ResNet8()
        lessons = workload.lessons(3, 0)
        (target,) = workload.objective().targets
        assert lessons.labels[target.name].shape == (3, 10)
        np.testing.assert_array_equal(lessons.labels[target.name], workload.lessons(3, 0).labels[target.name])
        assert lessons.inputs["image"].tobytes() != workload.samples("perf", 3, 0).inputs["image"].tobytes()

    def test_a_network_that_is_too_large_is_refused_before_it_is_made(self) -> None:
        with pytest.raises(Unsupported, match="too large to be trained"):
            llama.Llama7BDecode().objective()
