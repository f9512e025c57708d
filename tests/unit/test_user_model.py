"""A user's own model, from the file to a workload whose answers engines are checked by."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bench import recipes
from bench.cases import expand
from bench.selection import Selection, SelectionError
from bench.usermodel import reference
from results.record import Card
from tests.unit import user_models as models
from tests.unit.user_models import assert_right, check, given, prepared
from workloads import user
from workloads.contract import Tolerance, Unsupported
from workloads.user import Noise


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


ENGINES = ("onnxruntime", "openvino", "reference")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("make", "dims"), [(models.cnn, {}), (models.tokens, {"seq": 16}), (models.two_inputs, {})], ids=lambda x: str(x)
)
def test_engines_answer_right(
    tmp_path: Path, make: Callable[[], Any], dims: dict[str, int], batch: int, engine: str
) -> None:
    workload = prepared(models.saved(make(), tmp_path), dims=dims)
    assert_right(check(workload, engine, batch))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_written_for_one_batch_is_measured_at_it(tmp_path: Path, engine: str) -> None:
    workload = prepared(models.saved(models.cnn(batch=4), tmp_path))
    assert workload.batch == 4
    assert workload.card.flops == 110_672
    assert_right(check(workload, engine, 4))


def test_the_sample_axis_too_can_be_fixed(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.tokens(), tmp_path), dims={"seq": 8, "batch": 2})
    assert workload.batch == 2
    assert [spec.shape for spec in workload.model().inputs] == [(2, 8), (2, 8)]
    assert_right(check(workload, "openvino", 2))


def test_a_wrong_answer_is_seen(tmp_path: Path) -> None:
    """The same network with other weights behind the golden outputs of the first."""
    workload = prepared(models.saved(models.cnn(), tmp_path))
    proto = models.cnn()
    proto.graph.initializer[1].CopyFrom(models.weights("another", 5, 8))
    proto.graph.initializer[1].name = "dense"
    models.saved(proto, Path(workload.folder) / "graph", "model.onnx")
    evidence = check(workload, "onnxruntime", 1)
    assert evidence["relative_error_max"] > evidence["relative_error_allowed"]


def test_samples_that_are_compared_are_far_apart() -> None:
    """Of 48 points on a line, twelve as far apart as can be; a second output that never varies tells nothing."""
    y = np.random.default_rng(1).random((48, 1))
    chosen = reference.far_apart({"y": y, "same": np.ones((48, 3))})
    assert len(set(chosen)) == 12
    gaps = np.diff(np.sort(y[chosen, 0]))
    assert gaps.min() > 0.02
    assert np.diff(np.sort(y[:12, 0])).min() < 0.01


def test_bf16_mixes_up_no_two_answers(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.cnn(), tmp_path))
    try:
        evidence = check(workload, "openvino", 1, "bf16")
    except Unsupported as answer:
        pytest.skip(f"needs a CPU with bf16: {answer}")
    assert evidence["identity_hits"] == 12
    assert evidence["centred_cosine_min"] >= evidence["cosine_required"]


def test_the_card_says_what_was_counted_and_how(tmp_path: Path) -> None:
    card = prepared(models.saved(models.cnn(), tmp_path)).card
    assert (card.name, card.parameters, card.weight_bytes, card.flops) == ("mine", 256, 1024, 110_672)
    assert card.io_bytes == 4 * (3 * 16 * 16 + 5)
    assert (card.distinct_inputs, card.bounds, card.quality) == (64, (), None)
    assert "mine.onnx, content " in card.source
    assert "inputs made up (image: random images)" in card.source
    assert "right outputs (logits) onnxruntime " in card.source
    Card.model_validate(dataclasses.asdict(card), strict=False)


def test_samples_are_distinct_and_come_round(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.tokens(), tmp_path), dims={"seq": 16})
    samples = workload.samples("perf", 70, 0).inputs
    assert len(np.unique(samples["ids"][:64], axis=0)) == 64
    assert (samples["ids"][64:] == samples["ids"][:6]).all()
    assert samples["ids"].max() == 49
    assert samples["ids"].dtype == np.int64
    assert len(workload.golden().outputs["logits"]) == 12
    with pytest.raises(Unsupported, match="nobody said how to grade mine: bring a metric"):
        workload.samples("evaluation", 1, 0)


def test_only_floating_outputs_are_compared_where_there_are_any(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.tokens(), tmp_path), dims={"seq": 16})
    assert list(workload.golden().outputs) == ["logits"]
    assert [(spec.name, spec.dtype, spec.shape) for spec in workload.model().outputs] == [
        ("logits", "float32", (None, 4)),
        ("class", "int64", (None,)),
    ]


def test_tolerances_widen_with_the_references_own_noise(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.cnn(), tmp_path))
    assert workload.tolerance("fp32") == Tolerance(0.9999, 2e-4)
    noisy = dataclasses.replace(user.Prepared.read(Path(workload.folder)), noise=Noise(1e-4, 0.9999))
    noisy.write(Path(workload.folder))
    widened = user.UserModel(workload.folder).tolerance("fp32")
    assert widened.relative_error_max == pytest.approx(1e-3)
    assert widened.centred_cosine_min == pytest.approx(0.999)
    with pytest.raises(Unsupported, match="no tolerance for int3"):
        workload.tolerance("int3")


def test_inputs_can_be_given_and_say_the_dimensions(tmp_path: Path) -> None:
    ids = np.stack([(np.arange(6) * 7 + row) % 50 for row in range(20)])
    path = given(tmp_path, ids=ids, attention_mask=np.ones((20, 6), np.int64))
    workload = prepared(models.saved(models.tokens(), tmp_path), inputs=path)
    assert [spec.shape for spec in workload.model().inputs] == [(None, 6), (None, 6)]
    assert workload.card.distinct_inputs == 20
    kept = workload.samples("perf", 20, 0).inputs["ids"]
    assert (kept[kept[:, 0].argsort(kind="stable")] == ids[ids[:, 0].argsort(kind="stable")]).all()
    assert_right(check(workload, "openvino", 3))


def test_a_reference_can_be_given(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 12 * 4, dtype=np.float32).reshape(12, 4)
    np.savez(tmp_path / "right.npz", y=np.tanh(x))
    inputs = given(tmp_path, x=x)
    workload = prepared(
        models.saved(models.one("Tanh"), tmp_path), inputs=inputs, reference=str(tmp_path / "right.npz")
    )
    assert "right outputs (y) given" in workload.card.source
    assert_right(check(workload, "onnxruntime", 1))


def test_cases_of_a_model_stand_for_all_workloads(tmp_path: Path) -> None:
    folder = prepared(models.saved(models.cnn(), tmp_path)).folder
    chosen = Selection(models=(folder,), backends=("cpu",), engines=("onnxruntime",), scenarios=("offline",))
    (case,) = expand(chosen)
    assert (case.model, case.id) == (folder, "mine-cpu-onnxruntime-fp32-offline-b1")
    both = expand(dataclasses.replace(chosen, workloads=("kws",)))
    assert [(case.workload.card.name, case.model) for case in both] == [("mine", folder), ("kws", "")]


def test_a_fixed_batch_is_the_default_and_the_only_one(tmp_path: Path) -> None:
    folder = prepared(models.saved(models.cnn(batch=4), tmp_path)).folder
    chosen = Selection(models=(folder,), backends=("cpu",), engines=("onnxruntime",), scenarios=("offline",))
    assert [case.batch for case in expand(chosen)] == ["4"]
    for batch in ("1", "auto"):
        with pytest.raises(SelectionError, match=f"--batch {batch}: mine takes 4 samples at once and no other number"):
            expand(dataclasses.replace(chosen, batches=(batch,)))


def test_what_techniques_make_of_it_follows_its_dimensions_and_what_calibrates(tmp_path: Path) -> None:
    path = models.saved(models.tokens(), tmp_path)
    made = []
    for size in (8, 16):
        model = recipes.parse("prune-unstructured-50").of(prepared(path, dims={"seq": size, "batch": 1})).model()
        made.append(onnx.load(model.form("onnx"), load_external_data=False).graph.input[0].type.tensor_type.shape)
        shutil.rmtree(tmp_path / f"{path.stem}.prepared")
    assert [shape.dim[1].dim_value for shape in made] == [8, 16]

    image = models.saved(models.cnn(), tmp_path)
    ranges = set()
    for largest in (1, 9):
        noise = np.random.default_rng(0).uniform(-largest, largest, (12, 3, 16, 16))
        samples = given(tmp_path, image=noise.astype(np.float32))
        workload = recipes.parse("int8-static").of(prepared(image, calibration=samples))
        ranges.add(workload.model().form("onnx_qdq_symmetric").read_bytes())
        shutil.rmtree(tmp_path / f"{image.stem}.prepared")
    assert len(ranges) == 2


def test_right_answers_of_a_pruned_graph_are_asked_for_at_the_batch_that_it_was_written_for(tmp_path: Path) -> None:
    workload = prepared(models.saved(models.cnn(batch=4), tmp_path))
    right, pruned = workload.golden(), recipes.parse("prune-unstructured-50").of(workload).golden()
    assert pruned.outputs["logits"].shape == right.outputs["logits"].shape
    assert not np.allclose(pruned.outputs["logits"], right.outputs["logits"])
