"""What techniques ship for the trained families, and pruning of networks that nobody trained for: no torch needed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import recipes
from bench.audit import correctness
from workloads import weights
from workloads.contract import Model, Unsupported, Workload
from workloads.forms._files import belonging
from workloads.models.bytelm import ByteLMLarge
from workloads.models.digits import DigitsLarge, DigitsSmall
from workloads.models.kws import KeywordSpotting
from workloads.models.resnet50 import ResNet50
from workloads.techniques import _shipped
from workloads.techniques.distill import Distill
from workloads.techniques.prune_structured import PruneStructured50
from workloads.techniques.prune_unstructured import PruneLinear30, PruneUnstructured30, PruneUnstructured50
from workloads.techniques.seed_guide import SeedGuide

SUBJECTS: dict[str, Workload] = {one.card.name: one for one in (DigitsLarge(), ByteLMLarge())}
SHARES = {f"prune-unstructured-{percent}": percent / 100 for percent in (30, 50, 90)}
TECHNIQUES = ("distill", "distill-scratch", *SHARES, "prune-structured-50")
NAMES = sorted({f"{subject}+{technique}" for subject in SUBJECTS for technique in TECHNIQUES})
SPARSE = [name for name in NAMES if name.partition("+")[2] in SHARES]
EACH = pytest.mark.parametrize("name", NAMES)
OF_EACH_SUBJECT = pytest.mark.parametrize("subject", SUBJECTS)


def _outcome(name: str) -> Workload:
    subject, _, technique = name.partition("+")
    return recipes.parse(technique).of(SUBJECTS[subject])


def _tensors(name: str) -> dict[str, Any]:
    return dict(weights.load(weights.Manifest.read(name)))


def _answers(path: Path, inputs: Any) -> dict[str, Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return {"logits": session.run(["logits"], dict(inputs))[0]}


@cache
def _quality(name: str) -> float:
    workload = _outcome(name)
    samples = workload.samples("evaluation", 1000, 0)
    return workload.quality_value(workload.score(_answers(workload.model().form("onnx"), samples.inputs), samples))


# -- what is shipped ------------------------------------------------------------------------------------------------


def test_every_trained_subject_ships_an_outcome_of_every_technique_that_trains() -> None:
    assert {path.stem for path in weights.GRAPHS.glob("*+*.json")} == set(NAMES)
    assert {path.name.partition(".")[0] for path in weights.GRAPHS.glob("*+*")} == set(NAMES)


@EACH
def test_shipped_weights_are_those_of_their_manifest(name: str) -> None:
    manifest = weights.Manifest.read(name)
    assert manifest.file is not None
    content = weights.stored(weights.GRAPHS / manifest.file)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (manifest.bytes, manifest.sha256)


def test_all_that_is_shipped_is_small() -> None:
    sizes_bytes = [path.stat().st_size for path in weights.GRAPHS.glob("*+*")]
    assert max(sizes_bytes) < 3_000_000
    assert sum(sizes_bytes) < 14_000_000


@EACH
def test_quality_is_what_training_printed(name: str) -> None:
    made = weights.Manifest.read(name).made
    assert made is not None
    one_image = 1.01 / 850 if name.startswith("digits") else 0.0
    assert _quality(name) == pytest.approx(made.quality, rel=1e-4, abs=one_image)


@EACH
def test_right_answers_are_the_outcomes_own(name: str) -> None:
    """Computed without graph optimisations; ONNX Runtime with all of them gives the same, and the base another."""
    workload, base = _outcome(name), SUBJECTS[name.partition("+")[0]]
    golden, tolerance = workload.golden().outputs, workload.tolerance("fp32")
    count = len(golden["logits"])
    found = _answers(workload.model().form("onnx"), base.samples("perf", count, 0).inputs)
    agreement = correctness.agree(found, golden, range(count))
    assert agreement.hits.all()
    assert agreement.error.max() <= (tolerance.relative_error_max or 0)
    assert correctness.agree(base.golden().outputs, golden, range(count)).error.max() > 1e-2


@EACH
def test_what_training_took_comes_with_the_model(name: str) -> None:
    training = _outcome(name).model().training
    assert training is not None
    assert 1 < training.cpu_s < 600
    assert training.samples == {"digits-large": 783, "bytelm-large": 1151}[name.partition("+")[0]]


# -- pruning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPARSE)
def test_the_share_of_zeros_is_exact_in_every_layer(name: str) -> None:
    tensors, share = _tensors(name), SHARES[name.partition("+")[2]]
    layers = {name: one for name, one in tensors.items() if one.ndim > 1 and name != "bytes.weight"}
    assert len(layers) >= 4
    for layer in layers.values():
        assert layer.size - np.count_nonzero(layer) == round(share * layer.size)
    assert all(np.count_nonzero(one) > 0.99 * one.size for key, one in tensors.items() if key not in layers)


@pytest.mark.parametrize("name", SPARSE)
def test_zeros_take_as_much_room_as_any_number(name: str) -> None:
    subject = SUBJECTS[name.partition("+")[0]]
    base, pruned = (belonging(one.model().form("onnx")) for one in (subject, _outcome(name)))
    assert [path.stat().st_size for path in pruned] == [path.stat().st_size for path in base]


@OF_EACH_SUBJECT
def test_structured_pruning_halves_parameters_and_file(subject: str) -> None:
    workload, base = _outcome(f"{subject}+prune-structured-50"), SUBJECTS[subject]
    tensors = _tensors(f"{subject}+prune-structured-50")
    assert 0.45 <= sum(one.size for one in tensors.values()) / base.card.parameters <= 0.55
    assert all(np.count_nonzero(one) > 0.99 * one.size for one in tensors.values())
    small, large = (sum(p.stat().st_size for p in belonging(one.model().form("onnx"))) for one in (workload, base))
    assert 0.45 <= small / large <= 0.56


@pytest.mark.parametrize("subject", list(SUBJECTS))
def test_a_student_is_a_quarter_and_differs_from_its_control_by_the_teacher_alone(subject: str) -> None:
    taught, alone = (weights.Manifest.read(f"{subject}+{name}") for name in ("distill", "distill-scratch"))
    assert sum(tensor.size for tensor in taught.tensors) / SUBJECTS[subject].card.parameters == pytest.approx(
        0.26, abs=0.02
    )
    assert taught.tensors == alone.tensors
    assert taught.sha256 != alone.sha256
    assert taught.made is not None
    assert alone.made is not None
    same = {"cpu_s": 0.0, "quality": 0.0}
    assert dataclasses.replace(taught.made, **same) == dataclasses.replace(alone.made, **same)


# -- networks that nobody trained for -------------------------------------------------------------------------------


def _onnx_layers(path: Path) -> dict[str, Any]:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(path).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    return {name: array for name, array in arrays.items() if array.ndim > 1 and array.dtype == np.float32}


@pytest.mark.parametrize("technique", [PruneUnstructured30(), PruneUnstructured50()], ids=lambda one: one.name)
def test_any_network_is_pruned_without_training(technique: Any) -> None:
    model = KeywordSpotting().model()
    pruned = technique.treat(model)
    before, after = (_onnx_layers(one.form("onnx")) for one in (model, pruned))
    assert before.keys() == after.keys()
    for name, layer in after.items():
        assert layer.size - np.count_nonzero(layer) == round(technique.percent / 100 * layer.size)
        np.testing.assert_array_equal(layer[layer != 0], before[name][layer != 0])
        assert np.abs(before[name][layer == 0]).max() <= np.abs(layer[layer != 0]).min()
    assert pruned.training is None


def test_a_pruned_network_is_stored_as_large_as_it_was() -> None:
    model = KeywordSpotting().model()
    sizes = [
        sum(path.stat().st_size for path in belonging(one.form("onnx")))
        for one in (model, PruneUnstructured30().treat(model), PruneUnstructured50().treat(model))
    ]
    assert sizes[0] == sizes[1] == sizes[2]


def test_linear_layers_alone_lose_weights_where_only_they_are_asked_for() -> None:
    model = DigitsSmall().model()
    pruned = PruneLinear30().treat(model)
    before, after = (_onnx_layers(one.form("onnx")) for one in (model, pruned))
    zeros = {name: layer.size - np.count_nonzero(layer) for name, layer in after.items()}
    assert {name for name, count in zeros.items() if count} == {"9.weight"}
    assert zeros["9.weight"] == round(0.3 * before["9.weight"].size)


def test_a_student_can_be_pruned_and_its_training_is_not_forgotten() -> None:
    workload = recipes.parse("distill+prune-unstructured-50").of(DigitsLarge())
    made = weights.Manifest.read("digits-large+distill").made
    assert made is not None
    assert workload.model().training is not None
    assert workload.model().training.cpu_s == made.cpu_s
    assert workload.model().recipe == ("distill", "prune-unstructured-50")


@pytest.mark.parametrize("technique", [Distill(), PruneStructured50()], ids=lambda one: one.name)
def test_what_needs_training_says_so_in_one_line(technique: Any) -> None:
    with pytest.raises(
        Unsupported, match=r"^nothing was trained for kws yet: add it to workloads/retrain\.py, or use"
    ) as refused:
        technique.treat(KeywordSpotting().model())
    assert "\n" not in str(refused.value)
    assert not technique.suits(KeywordSpotting())
    assert technique.suits(DigitsLarge())


def test_a_users_own_file_has_nothing_shipped() -> None:
    model = dataclasses.replace(DigitsLarge().model(), origin="/somewhere/digits-large.onnx")
    with pytest.raises(Unsupported, match="nothing was trained for digits-large yet"):
        Distill().treat(model)


# -- the published guide --------------------------------------------------------------------------------------------


def test_the_guide_stands_for_its_own_defaults() -> None:
    recipe = recipes.parse("seed-guide")
    assert [one.name for one in recipe.techniques] == ["distill", "prune-linear-30", "int8-static"]
    assert (recipe.name, recipe.precision) == ("seed-guide", "int8")
    assert recipe.suits(DigitsLarge())
    assert not recipe.suits(ResNet50())
    assert SeedGuide().recipe == tuple(one.name for one in recipe.techniques)


# -- what is found under a digest -----------------------------------------------------------------------------------


def _copied(name: str, folder: Path, **changes: Any) -> Model:
    """`digits-large+distill` in another folder, its manifest changed."""
    shutil.copy(weights.GRAPHS / f"{name}.onnx", folder)
    values = {**json.loads((weights.GRAPHS / f"{name}.json").read_text()), **changes}
    (folder / f"{name}.json").write_text(json.dumps({key: one for key, one in values.items() if one is not None}))
    return _shipped.treated(DigitsLarge().model(), "distill")


def test_what_was_trained_anew_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Distill().treat(DigitsLarge().model())
    monkeypatch.setattr(_shipped, "GRAPHS", tmp_path)
    assert _copied("digits-large+distill", tmp_path).digest == shipped.digest
    assert _copied("digits-large+distill", tmp_path, sha256="0" * 64).digest != shipped.digest


def test_a_manifest_that_tells_nothing_of_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shipped, "GRAPHS", tmp_path)
    with pytest.raises(ValueError, match="does not say how it was trained: make techniques"):
        _copied("digits-large+distill", tmp_path, made=None)
