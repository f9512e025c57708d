"""A slice of the quick matrix, measured as a user would: size, speed and quality of one artefact, how they relate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.evidence import Artefact, Evidence, QualityResult
from results.record import Record
from tests.system.run_helpers import bench, measured

DIGITS = ("none", "int8-static", "int8-static+lossless", "prune-unstructured-90+lossless", "distill")
BYTELM = ("none", "prune-unstructured-50", "prune-structured-50", "int8-weights", "int4-weights", "int3-rounded")
CALIBRATED = "int8-static"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("techniques")
    for workload, techniques, engines in (
        ("digits-large", DIGITS, "onnxruntime"),
        ("bytelm-large", BYTELM, "onnxruntime"),
        ("digits-large", ("none", "int8-static"), "openvino"),
        ("bytelm-large", ("none",), "openvino"),
    ):
        chosen = (f"--workload={workload}", f"--technique={','.join(techniques)}", f"--engine={engines}")
        done = bench(runs, "--backend=cpu", "--scenario=single_stream", *chosen)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return runs


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[tuple[str, str, str], Record]:
    """Records by workload, technique and engine."""
    records = measured(folder)
    assert {record.status for record in records} == {"ok"}
    return {(one.identity.workload, one.identity.technique, one.identity.engine): one for one in records}


Found = dict[tuple[str, str, str], Record]


def evidence(found: Found, workload: str, technique: str, engine: str = "onnxruntime") -> Evidence:
    section = found[workload, technique, engine].evidence
    assert section is not None
    return section


def artefact(found: Found, workload: str, technique: str) -> Artefact:
    section = evidence(found, workload, technique).artefact
    assert section is not None
    assert section.stored_bytes is not None
    return section


def stored_bytes(found: Found, workload: str, technique: str) -> int:
    return artefact(found, workload, technique).stored_bytes or 0


def quality(found: Found, workload: str, technique: str, engine: str = "onnxruntime") -> QualityResult:
    section = evidence(found, workload, technique, engine).quality
    assert section is not None
    return section


def test_zeros_in_a_dense_file_make_it_no_smaller_until_it_is_compressed(found: Found) -> None:
    dense, pruned = (stored_bytes(found, "bytelm-large", name) for name in ("none", "prune-unstructured-50"))
    assert pruned == dense
    packed = artefact(found, "digits-large", "prune-unstructured-90+lossless")
    assert (packed.stored_bytes or 0) < 0.4 * stored_bytes(found, "digits-large", "none")
    assert packed.unpack_ns
    assert packed.unpacked_bytes is not None
    assert packed.unpacked_bytes > (packed.stored_bytes or 0)


def test_half_of_the_weights_are_zero_and_all_of_them_are_there(found: Found) -> None:
    pruned = artefact(found, "bytelm-large", "prune-unstructured-50")
    assert pruned.zero_share == pytest.approx(0.5, abs=0.06)
    assert pruned.parameters == found["bytelm-large", "none", "onnxruntime"].card.parameters


def test_structured_pruning_halves_the_parameters(found: Found) -> None:
    parameters = artefact(found, "bytelm-large", "prune-structured-50").parameters or 0
    assert 0.45 <= parameters / found["bytelm-large", "none", "onnxruntime"].card.parameters <= 0.55


def test_fewer_bits_cost_more_perplexity(found: Found) -> None:
    order = ("int8-weights", "int4-weights", "int3-rounded")
    values = [quality(found, "bytelm-large", name).value for name in order]
    assert values == sorted(values)
    assert values[0] < values[1] < values[2]
    sizes = [stored_bytes(found, "bytelm-large", name) for name in ("none", *order[:2])]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("workload", ["digits-large", "bytelm-large"])
def test_fp32_quality_is_the_same_through_every_engine(found: Found, workload: str) -> None:
    one, other = (quality(found, workload, "none", engine).value for engine in ("onnxruntime", "openvino"))
    assert one == pytest.approx(other, rel=1e-6)


def test_grades_are_kept_by_example_and_their_mean_is_the_metric(found: Found, folder: Path) -> None:
    record = found["digits-large", CALIBRATED, "onnxruntime"]
    result = quality(found, "digits-large", CALIBRATED)
    assert result.scores_file is not None
    grades = np.fromfile(folder / record.context.run_id / result.scores_file, "<f8")
    assert len(grades) == result.n == 850
    assert grades.mean() == pytest.approx(result.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_is_what_the_engine_executed(found: Found, engine: str) -> None:
    kernels = evidence(found, "digits-large", CALIBRATED, engine).kernels
    assert kernels is not None
    assert kernels.kernels.get("int8", 0) > sum(kernels.kernels.values()) / 2
    plain = evidence(found, "digits-large", "none", engine).kernels
    assert plain is not None
    assert set(plain.kernels) == {"fp32"}


def test_what_calibrated_is_recorded(found: Found) -> None:
    quantised, plain = (artefact(found, "digits-large", name) for name in (CALIBRATED, "none"))
    assert quantised.samples
    assert quantised.samples_sha256
    assert plain.samples_sha256 is None
    assert plain.missing["samples_sha256"]


def test_a_student_says_what_its_training_took(found: Found) -> None:
    student = artefact(found, "digits-large", "distill")
    assert student.training_s
    assert student.samples == 783
    assert (student.parameters or 0) < 0.4 * found["digits-large", "none", "onnxruntime"].card.parameters
