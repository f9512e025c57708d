"""What an engine started from, as evidence: sizes, parameters, what making it took, and why a figure is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import Session
from bench import artefact, parts, recipes
from results.record import Artefact
from workloads import weights
from workloads.contract import Model, Training, Workload


class Holding(Session):
    """Holds weights of its own, or starts from the file."""

    def __init__(self, weights_bytes: int | None = None) -> None:
        self.weights_bytes = weights_bytes

    def run(self, values: Any) -> Any:
        return values


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


def told(name: str, technique: str = "none", weights_bytes: int | None = None, form: str = "onnx") -> dict[str, Any]:
    recipe = recipes.parse(technique)
    model = recipe.of(parts.find(Workload, name)).calibrated()
    made = artefact.make(model, form, recipe.packing)
    found = artefact.evidence(model, made, Holding(weights_bytes), None)
    Artefact.model_validate({**found, "steps": tuple(found["steps"])})
    return found


def test_the_shared_graph_is_stored_with_the_weights_that_it_refers_to() -> None:
    found = told("kws")
    path = parts.find(Workload, "kws").model().form("onnx")
    beside = path.with_name(weights.FILE_NAME)
    assert found["stored_bytes"] == found["unpacked_bytes"] == path.stat().st_size + beside.stat().st_size
    assert found["stored_bytes"] > 4 * parts.find(Workload, "kws").card.parameters
    assert (found["kind"], found["form"], found["steps"]) == ("file", "onnx", [])


def test_what_was_not_done_has_its_reason_and_no_figure() -> None:
    found = told("kws")
    assert {name for name, value in found.items() if value is None} == set(found["missing"])
    assert found["missing"]["making_s"] == "it is the shared graph, or a file that somebody brought"
    assert found["missing"]["parameters"] == found["missing"]["zero_share"] == "no technique: see the card"


def test_quantising_says_what_it_took_and_with_what_it_was_calibrated() -> None:
    found = told("digits-small", "int8-static")
    plain = told("digits-small")
    assert found["making_s"] > 0
    assert found["samples"] >= 64
    assert len(found["samples_sha256"]) == 64
    assert found["steps"] == ["collect calibration samples", "quantise"]
    assert found["stored_bytes"] != plain["stored_bytes"]
    assert "training_s" in found["missing"]


@pytest.mark.parametrize("name", ["kws", "digits-small", "bytelm-small"])
def test_parameters_of_a_network_that_no_technique_changed_are_the_card_s(name: str) -> None:
    """The statistics of a batch normalisation are none; of kws they are 5 % of what the file has."""
    found = told(name, "fuse-off")
    assert found["parameters"] == parts.find(Workload, name).card.parameters
    assert 0 <= found["zero_share"] < 0.1


def test_zeros_are_counted_where_a_technique_left_the_graph_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict(weights.load(weights.Manifest.read("digits-small")))
    first = next(name for name, tensor in whole.items() if tensor.ndim == 4)
    holed = {**whole, first: np.zeros_like(whole[first])}
    monkeypatch.setattr(weights, "load", lambda manifest: holed)
    before = sum(int((tensor == 0).sum()) for name, tensor in whole.items() if name != first)
    card = parts.find(Workload, "digits-small").card
    assert told("digits-small", "fuse-off")["zero_share"] == pytest.approx(
        (before + whole[first].size) / card.parameters
    )


def test_weights_that_an_engine_holds_are_counted_there_and_not_in_a_file() -> None:
    found = told("kws", weights_bytes=12_345)
    assert (found["kind"], found["stored_bytes"]) == ("memory", 12_345)


def test_an_engine_without_a_file_that_says_nothing_has_no_size() -> None:
    found = told("kws", form="")
    assert (found["kind"], found["form"], found["stored_bytes"]) == ("memory", "none", None)
    assert found["missing"]["stored_bytes"] == "the engine does not say what its weights take"


def test_training_that_went_into_a_network_is_told_with_its_samples() -> None:
    model: Model = parts.find(Workload, "kws").model().treated("taught", training=Training(12.5, 899))
    found = artefact.evidence(model, artefact.make(model, "onnx", None), Holding(), None)
    assert (found["training_s"], found["samples"]) == (12.5, 899)
    assert found["missing"]["samples_sha256"] == "nothing was calibrated"


def test_samples_are_those_that_taught_and_those_that_calibrated() -> None:
    taught, both, quantised = (
        told("digits-large", name)["samples"] for name in ("distill", "distill+int8-static", "int8-static")
    )
    assert both == taught + quantised
