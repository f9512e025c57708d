"""Techniques by name: in which order they are applied, what excludes what, and what they are tried on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backends.contract import Backend
from bench import ROOT, recipes
from bench.cases import Case, expand
from bench.protocol import Effort
from bench.recipes import Recipe, RecipeError
from bench.selection import Selection, SelectionError
from bench.sut import SystemUnderTest
from results.names import CONTROLS
from tests.fakes import fake_workloads
from tests.fakes.jobs import fake_job
from workloads.contract import STAGES, Golden, Model, Packing, Samples, Split, Technique, Unsupported
from workloads.treated import Treated


class _Named(Technique):
    def __init__(self, name: str, stage: str, precision: str = "", wish: str = "") -> None:
        self.name, self.precision, self.wish = name, precision, wish
        self.stage = stage  # type: ignore[assignment]


def test_they_are_applied_by_stage_whatever_their_order_on_the_command_line() -> None:
    one, other = (
        recipes.parse(text) for text in ("int8-static+prune-unstructured-50", "prune-unstructured-50+int8-static")
    )
    assert one.name == other.name == "prune-unstructured-50+int8-static"
    assert [technique.stage for technique in one.techniques] == ["network", "graph"]
    assert one.precision == "int8"


def test_no_technique_is_the_workload_itself() -> None:
    base = fake_workloads.FakeProject()
    assert recipes.parse("none").of(base) is base
    assert recipes.parse("none") == Recipe("none")


def test_one_that_stands_for_others_keeps_its_name_and_has_their_steps() -> None:
    guide = recipes.parse("seed-guide")
    assert guide.name == "seed-guide"
    assert [one.name for one in guide.techniques] == ["distill", "prune-linear-30", "int8-static"]
    assert guide.precision == "int8"
    assert len(guide.steps) == sum(len(one.steps) for one in guide.techniques)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int8-static+int8-dynamic", "int8-static and int8-dynamic each decide the precision; choose one"),
        ("seed-guide+int8-static", "int8-static is in it twice; name it once"),
        ("int8-static+int8-static", "int8-static is in it twice; name it once"),
        ("fuse-off+fuse-basic", "fuse-off and fuse-basic each ask the engine for the same; choose one"),
        ("none+int8-static", "none stands alone, and is joined with nothing"),
        ("all+int8-static", "all stands alone, and is joined with nothing"),
    ],
)
def test_what_excludes_each_other_is_one_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.parse(text)
    assert message in str(caught.value)
    with pytest.raises(SelectionError, match="--technique"):
        expand(Selection(techniques=(text,)))


def test_an_unknown_one_is_told_with_what_there_is() -> None:
    with pytest.raises(SelectionError, match=r"unknown technique int8-statik \(did you mean int8-static"):
        expand(Selection(techniques=("int8-statik",)))


def _pairs(cases: Sequence[Case]) -> set[tuple[str, str]]:
    return {(case.technique, case.precision) for case in cases}


def test_a_technique_that_decides_the_precision_is_not_tried_in_others() -> None:
    chosen = Selection(
        workloads=("kws",), engines=("onnxruntime",), techniques=("none", "int8-static"), precisions=("fp32", "bf16")
    )
    assert _pairs(expand(chosen)) == {("none", "fp32"), ("none", "bf16"), ("int8-static", "int8")}


def test_all_are_tried_on_the_subjects_and_on_each_those_that_suit_it() -> None:
    cases = expand(Selection(techniques=("all",), engines=("onnxruntime",), scenarios=("single_stream",)))
    assert {case.workload.card.name for case in cases} == {"digits-large", "bytelm-large", "resnet50", "bert-base"}
    tried = {
        name: {c.technique for c in cases if c.workload.card.name == name} for name in ("digits-large", "resnet50")
    }
    assert {"none", "int8-static", "distill", "prune-structured-50", "seed-guide"} <= tried["digits-large"]
    assert {"none", "int8-static"} <= tried["resnet50"]
    assert not {"distill", "prune-structured-50", "seed-guide"} & tried["resnet50"]
    assert {case.batch for case in cases if case.workload.card.name == "digits-large"} == {"256"}
    assert {case.suite for case in cases} == {"hardware", "techniques"}


def test_one_that_is_named_beside_all_is_tried_on_any_however_it_is_written() -> None:
    chosen = Selection(workloads=("resnet50",), techniques=("all", "int8-static+distill"), engines=("onnxruntime",))
    assert "distill+int8-static" in {case.technique for case in expand(chosen)}


def test_a_batch_that_was_asked_for_stands() -> None:
    chosen = Selection(workloads=("digits-large",), techniques=("none", "int8-static"), batches=("2",))
    assert {case.batch for case in expand(chosen)} == {"2"}


def test_every_technique_tells_what_it_changes_and_the_controls_are_known_to_the_reader_of_results() -> None:
    everything = [one for recipe in recipes.everything() for one in recipe.techniques]
    assert all(one.stage in STAGES for one in everything)
    assert sorted({one.name for one in everything if one.control}) == sorted(CONTROLS)
    assert all(isinstance(one, Packing) == (one.stage == "file") for one in everything)


def test_listing_and_choosing_techniques_imports_no_library() -> None:
    code = (
        "import sys; from bench.cases import expand; from bench.selection import Selection; "
        "expand(Selection(techniques=('all',))); "
        "print(*sorted({'numpy', 'onnx', 'onnxruntime', 'torch', 'nncf', 'openvino', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


class _Watched(fake_workloads.FakeProject):
    """Notes which splits are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        self.asked.append(split)
        return super().samples(split, n, seed)


class _Peeking(_Named):
    def treat(self, model: Model) -> Model:
        assert model.calibration is not None
        assert len(model.calibration(5)) == 5
        return model.treated(self.name)


def test_a_technique_can_have_calibration_samples_and_no_others() -> None:
    workload = _Watched()
    model = Treated(workload, [_Peeking("peek", "graph")]).model()
    assert workload.asked == ["calibration"]
    assert model.recipe == ("peek",)
    assert model.digest != workload.model().digest


def test_a_refusal_names_the_technique_that_refuses() -> None:
    class Refusing(_Named):
        def treat(self, model: Model) -> Model:
            raise Unsupported("nothing to quantise")

    with pytest.raises(Unsupported, match=r"^quantiser: nothing to quantise$"):
        Treated(fake_workloads.FakeProject(), [Refusing("quantiser", "graph")]).model()


def test_the_same_function_is_compared_with_the_same_golden_outputs() -> None:
    base = fake_workloads.FakeProject()
    golden: Golden = Treated(base, [_Named("same", "graph")]).golden()
    assert all((golden.outputs[name] == right).all() for name, right in base.golden().outputs.items())


def test_another_function_has_golden_outputs_of_its_own() -> None:
    pytest.importorskip("onnx")
    treated = recipes.parse("prune-unstructured-90+int8-static").of(_workload("kws"))
    base, own = (one.golden().outputs["logits"] for one in (_workload("kws"), treated))
    assert own.shape == base.shape
    assert np.abs(own - base).max() > 0.05 * np.abs(base).max()


def test_an_option_that_would_undo_what_a_technique_asks_for_is_refused() -> None:
    (device,) = _find(Backend, "cpu").probe().devices
    real = {"workload": "kws", "backend": "cpu", "device": device.name, "engine": "onnxruntime"}
    job = fake_job(Effort(0, 0, 1, 0), **real, technique="fuse-off", options={"graph_optimization": "all"})
    with pytest.raises(Unsupported, match="--option graph_optimization is what --technique fuse-off sets: leave one"):
        SystemUnderTest.find(job).compile(1)


def _workload(name: str) -> fake_workloads.Workload:
    return _find(fake_workloads.Workload, name)


def _find(base: type[Any], name: str) -> Any:
    from bench import parts

    return parts.find(base, name)
