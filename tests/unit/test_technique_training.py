"""Distilling and pruning themselves, a few steps of them. Needs torch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import distill, pruning, rebuild, retrain, train, weights
from workloads.contract import Unsupported
from workloads.models.bytelm import ByteLMLarge, ByteLMSmall
from workloads.models.digits import DigitsLarge, DigitsSmall
from workloads.nets import bytelm, digits
from workloads.outcomes import shipped
from workloads.techniques import _one_shot

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # torch's exporter calls its own deprecated functions
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
torch = pytest.importorskip("torch")
OUTCOMES = [one for base in (DigitsLarge(), ByteLMLarge()) for one in shipped(base)]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lesson has two steps of two samples."""

    def short(recipe: train.Recipe) -> train.Recipe:
        return replace(recipe, steps=2, batch=2)

    for name, family in retrain.FAMILIES.items():
        student = replace(family.student, recipe=short(family.student.recipe))
        monkeypatch.setitem(retrain.FAMILIES, name, replace(family, student=student, tuning=short(family.tuning)))


# -- distillation ---------------------------------------------------------------------------------------------------


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _pair(*shape: int) -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    return random.normal(size=shape), 2.0 * random.normal(size=shape)


@pytest.mark.parametrize("shape", [(5, 10), (4, 7, 11)], ids=["samples", "samples and positions"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_divergence_is_a_mean_over_answers_by_hand(shape: tuple[int, ...], temperature: float) -> None:
    student, teacher = _pair(*shape)
    p, q = _softmax(teacher / temperature), _softmax(student / temperature)
    by_hand = temperature**2 * (p * np.log(p / q)).sum(-1).mean()
    found = distill.divergence(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert found.item() == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.filterwarnings("ignore:reduction")  # torch warns of one of the two, and of the wrong one here
@pytest.mark.parametrize(("reduction", "times"), [("batchmean", 7.0), ("mean", 1 / 11)])
def test_torchs_own_reductions_are_wrong_by_the_positions_or_the_classes(reduction: str, times: float) -> None:
    """The trap of the published guide: what it calls a mean is neither."""
    student, teacher = (torch.from_numpy(one) for one in _pair(4, 7, 11))
    theirs = torch.nn.KLDivLoss(reduction=reduction)((student / 3).log_softmax(-1), (teacher / 3).softmax(-1)) * 9
    assert theirs.item() == pytest.approx(times * distill.divergence(student, teacher, 3.0).item())


def test_the_loss_is_seven_parts_teacher_and_three_parts_labels() -> None:
    student, teacher = (torch.from_numpy(one) for one in _pair(5, 10))
    labels = torch.tensor([1, 2, 3, 4, 5])
    answers = {"student": student, "teacher": teacher}
    found = distill.loss("teacher", lambda net, _inputs: answers[net])("student", None, labels)
    soft, hard = distill.divergence(student, teacher, 3.0), train.cross_entropy(student, labels)
    assert found.item() == pytest.approx(0.7 * soft.item() + 0.3 * hard.item())


def test_the_teacher_gets_no_gradient_and_the_student_does() -> None:
    scales = [torch.full((2, 10), one, requires_grad=True) for one in (1.0, 2.0)]
    loss = distill.loss(1, lambda which, inputs: inputs * scales[which])
    loss(0, torch.arange(10.0), torch.tensor([1, 2])).backward()
    assert scales[0].grad.abs().sum() > 0
    assert scales[1].grad is None


# -- pruning --------------------------------------------------------------------------------------------------------


def test_zeros_become_more_until_they_are_as_many_as_asked_for(hasty: None) -> None:
    net = retrain.FAMILIES["digits-large"].trained()
    zero, shares = pruning.Gradually(net, 0.9, steps=100), []
    for _ in range(100):
        zero()
        shares.append(float((net[5].weight == 0).double().mean()))
    assert shares[:9] == [0.0] * 9
    assert shares == sorted(shares)
    assert shares[29] == pytest.approx(0.9 * (1 - 0.5**3), abs=1e-3)
    assert shares[59] == shares[-1] == pytest.approx(0.9, abs=1e-3)


def test_what_is_masked_stays_zero_and_the_others_learn(hasty: None) -> None:
    family = retrain.FAMILIES["digits-large"]
    before = family.trained().state_dict()
    after = retrain.unstructured(family, 0, lambda _line: None, share=0.5).net.state_dict()
    for name in ("0.weight", "2.weight", "5.weight", "9.weight"):
        zero = after[name] == 0
        assert zero.sum() == round(0.5 * zero.numel())
        assert before[name][zero].abs().mean() < before[name][~zero].abs().mean() / 2
        assert not torch.equal(before[name][~zero], after[name][~zero])


def test_removing_dead_channels_changes_no_answer() -> None:
    net, inputs = digits.build(digits.Size.of(8)), torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        for layer, dead in ((0, [1, 5]), (2, [0, 2, 9]), (5, [3, 15])):
            net[layer].weight[dead] = 0
            net[layer].bias[dead] = 0
        smaller = pruning.smaller_digits(net, digits.Size(6, 13, 14))
        torch.testing.assert_close(smaller(inputs), net(inputs))


def test_removing_dead_heads_and_units_changes_no_answer() -> None:
    net = bytelm.build(bytelm.SMALL).eval()
    text = torch.randint(256, (2, bytelm.CONTEXT))
    with torch.no_grad():
        for block, head in zip(net.blocks, (0, 1), strict=True):
            numbers = slice(16 * head, 16 * head + 16)
            for layer in (block.query, block.key, block.value):
                layer.weight[numbers], layer.bias[numbers] = 0, 0
            block.out.weight[:, numbers] = 0
            block.up.weight[7 + head], block.up.bias[7 + head], block.down.weight[:, 7 + head] = 0, 0, 0
        smaller = pruning.smaller_bytelm(net, replace(bytelm.SMALL, heads=1, hidden=127)).eval()
        torch.testing.assert_close(smaller(text), net(text))


@pytest.mark.parametrize("workload", [DigitsSmall(), ByteLMSmall()], ids=lambda one: one.card.name)
def test_pruning_in_one_shot_does_the_same_in_torch_as_in_onnx(workload: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pruned = _one_shot.treated(workload.model(), "half", 0.5)
    inputs = workload.samples("perf", 2, 0).inputs
    (right,) = onnxruntime.InferenceSession(str(pruned.form("onnx"))).run(None, dict(inputs))
    found = pruned.form("torch")(*(torch.from_numpy(one) for one in inputs.values()))
    np.testing.assert_allclose(found.numpy(), right, rtol=0, atol=1e-4 * np.abs(right).max())
    untouched = workload.model().form("torch").state_dict()
    assert any(not torch.equal(one, untouched[name]) for name, one in pruned.form("torch").state_dict().items())


def test_a_network_that_is_drawn_on_its_device_is_not_pruned_in_torch() -> None:
    model = replace(DigitsSmall().model(), made={"torch": object})
    with pytest.raises(Unsupported, match="use an engine that reads ONNX"):
        _one_shot.treated(model, "half", 0.5).form("torch")


# -- outcomes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: one.card.name)
def test_shipped_outcomes_answer_in_torch_as_in_onnxruntime(outcome: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs = outcome.model(), outcome.samples("perf", 12, 0).inputs
    (right,) = onnxruntime.InferenceSession(str(model.form("onnx"))).run(None, dict(inputs))
    found = model.form("torch")(*(torch.from_numpy(one) for one in inputs.values())).numpy()
    assert np.abs(found - right).max() <= 1e-4 * np.abs(right).max()


def test_a_rebuilt_outcome_is_what_is_shipped() -> None:
    """`make test-torch` asks this of every one."""
    assert rebuild.differences(rebuild.outcomes()["digits-large+prune-structured-50"]) == []


@pytest.mark.parametrize("subject", list(retrain.FAMILIES))
@pytest.mark.parametrize("technique", list(retrain.TECHNIQUES))
def test_every_lesson_can_be_learnt(subject: str, technique: str, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "quality", lambda _workload, _net: 0.5)
    lines: list[str] = []
    net, made = retrain.run(f"{subject}+{technique}", 0, lines.append)
    steps = {"prune-unstructured-90": 4, "prune-structured-50": 4}.get(technique, 2)
    assert (made.steps, made.batch, made.quality, len(lines)) == (steps, 2, 0.5, steps)
    assert {name: one.shape for name, one in net.state_dict().items()} == {
        name: one.shape for name, one in made.build().state_dict().items()
    }


def test_training_again_writes_what_a_technique_finds(
    hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = retrain.FAMILIES["digits-large"].lesson.workload.manifest
    monkeypatch.setattr(weights, "GRAPHS", tmp_path)
    monkeypatch.setattr(retrain.Family, "trained", lambda family: family.lesson.workload.net())
    made = retrain.retrain("digits-large+prune-unstructured-90", report=lambda _line: None)
    manifest = weights.Manifest.read("digits-large+prune-unstructured-90", tmp_path)
    assert manifest.made == made
    assert (manifest.bytes, manifest.tensors) == (base.bytes, base.tensors)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"digits-large+prune-unstructured-90.{end}" for end in ("onnx", "json", "weights.bin.gz")
    }
    assert json.loads((tmp_path / f"{manifest.name}.json").read_text())["made"]["steps"] == 4


def test_comparing_seeds_writes_nothing(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "save_trained", pytest.fail)
    line = retrain.compare("digits-large+distill-scratch", 2, lambda _line: None)
    values = [float(one) for one in line.split(":")[0].split()[1:]]
    assert len(values) == 2
    assert f"mean {sum(values) / 2:.4f}"[:9] in line
    assert "standard error" in line


def test_an_unknown_outcome_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain", "digits-large+magic"])
    with pytest.raises(SystemExit, match="2"):
        retrain.main()
    assert "unknown outcome digits-large+magic; known: digits-large+distill" in capsys.readouterr().err
