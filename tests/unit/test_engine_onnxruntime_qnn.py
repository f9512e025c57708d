"""Qualcomm's HTP simulator itself: what it answers, in which arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends._providers import Provider
from backends.contract import Device, Estimate, Plan, Unsupported
from backends.engines import _onnxruntime
from backends.engines.onnxruntime_qnn import PROVIDER, OnnxRuntimeQnnEngine
from backends.qualcomm import HTPS, QualcommBackend
from bench import parts
from bench.audit import correctness
from tests.conformance import tiny
from workloads.contract import Model, TensorSpec, Workload
from workloads.forms import onnx_qdq

pytestmark = pytest.mark.asic
ENGINE = OnnxRuntimeQnnEngine()


def htp(name: str = "htp-v75") -> Device:
    return QualcommBackend().probe((f"qualcomm:{name}",)).devices[0]


def estimated(model: Model, precision: str, batch: int = 1, device: Device | None = None) -> Estimate:
    return ENGINE.estimate(model, Plan(precision, batch, "latency"), device or htp())


def outputs(workload: Workload, estimate: Estimate, batch: int = 1) -> np.ndarray:
    session = estimate.numerics
    inputs = workload.samples("perf", 12, 0).inputs
    rows = [slice(start, start + batch) for start in range(0, 12, batch)]
    replies = [
        session.get(session.run(session.put({key: array[row] for key, array in inputs.items()}))) for row in rows
    ]
    return np.concatenate([next(iter(reply.values())) for reply in replies])


def golden(workload: Workload) -> np.ndarray:
    return next(iter(workload.golden().outputs.values()))[:12]


@pytest.mark.parametrize(("name", "error_max"), [("kws", 0.05), ("resnet8", 0.06), ("digits-small", 0.03)])
def test_int8_is_near_golden_and_no_finer_than_int8(name: str, error_max: float) -> None:
    workload = parts.find(Workload, name)
    estimate = estimated(workload.calibrated(), "int8")
    right = golden(workload)
    answers = outputs(workload, estimate)
    assert 1e-3 < abs(answers - right).max() / abs(right).max() < error_max
    agreed = correctness.agree(dict.fromkeys(workload.golden().outputs, answers), workload.golden().outputs, range(12))
    assert agreed.hits.all()


@pytest.mark.parametrize("name", ["kws", "resnet8", "digits-small"])
def test_fp16_is_fp16(name: str) -> None:
    """A graph in fp32, whose answers are as far off as half precision is, and not as near as fp32."""
    workload = parts.find(Workload, name)
    right = golden(workload)
    answers = outputs(workload, estimated(workload.model(), "fp16"))
    assert 1e-4 < abs(answers - right).max() / abs(right).max() < 1e-2


def test_a_graph_of_which_the_processor_would_run_a_part_is_refused() -> None:
    model = parts.find(Workload, "bytelm-small").calibrated()
    with pytest.raises(Unsupported, match="the CPU would run DequantizeLinear"):
        estimated(model, "int8")


def test_what_stays_in_floating_point_is_said_and_refused_before_v73(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a transformer that is quantised throughout, which costs it its answers and gives the HTP all of its nodes."""
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))
    monkeypatch.setattr(onnx_qdq, "attends", lambda _graph: False)
    model = parts.find(Workload, "bytelm-small").calibrated()
    assert "LayerNormalization" in str(estimated(model, "int8").facts.settings["in_fp16"])
    with pytest.raises(Unsupported, match=r"v73 on only: in int8, .*LayerNormalization"):
        estimated(model, "int8", device=htp("htp-v68"))


@pytest.mark.parametrize("name", ["kws", "resnet8", "digits-small", "autoencoder"])
def test_small_networks_are_int8_throughout(name: str) -> None:
    estimate = estimated(parts.find(Workload, name).calibrated(), "int8", device=htp("htp-v69"))
    assert estimate.facts.settings["in_fp16"] == "none"


def test_an_estimate_has_answers_and_no_time() -> None:
    estimate = estimated(parts.find(Workload, "kws").calibrated(), "int8")
    assert estimate.provenance == "simulator"
    assert (estimate.latency_ns, estimate.cycles, estimate.clock_mhz) == (None, None, None)
    assert estimate.missing["latency_ns"] == "the simulator's time is the host's"
    assert estimate.fallback_operators == 0
    assert estimate.facts.placement.share == 1.0
    assert PROVIDER in estimate.facts.placement.proof
    assert estimate.facts.settings["htp_arch"] == "v75"
    assert estimate.facts.settings["qairt"] in estimate.source


def test_generations_differ_where_their_arithmetic_does() -> None:
    workload = parts.find(Workload, "kws")
    model = workload.calibrated()
    answers = {name: outputs(workload, estimated(model, "int8", device=htp(name))) for name in HTPS}
    again = outputs(workload, estimated(model, "int8", device=htp("htp-v68")))
    assert np.array_equal(answers["htp-v68"], again)
    assert np.array_equal(answers["htp-v68"], answers["htp-v69"])
    assert np.array_equal(answers["htp-v73"], answers["htp-v75"])
    assert not np.array_equal(answers["htp-v68"], answers["htp-v73"])


def test_a_batch_is_taken() -> None:
    workload = parts.find(Workload, "kws")
    model = workload.calibrated()
    one, three = (outputs(workload, estimated(model, "int8", batch), batch) for batch in (1, 3))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("name", ["htp-v68", "htp-v69"])
def test_fp16_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match=r"v73 on only: in fp16, .*Conv"):
        estimated(parts.find(Workload, "kws").model(), "fp16", device=htp(name))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int4"])
def test_other_precisions_are_refused(precision: str) -> None:
    with pytest.raises(Unsupported, match=precision):
        estimated(parts.find(Workload, "kws").model(), precision)


def test_free_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="fixed sizes, and free of x is free"):
        estimated(tiny.make("sequence", tmp_path).model, "fp16")


def erf(path: Path) -> Model:
    """Something that this provider leaves to the CPU."""
    from onnx import helper, save

    ends = [helper.make_tensor_value_info(name, 1, ["samples", 8]) for name in "xy"]
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Erf", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "erf", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return Model(
        "erf", "erf", (TensorSpec("x", "float32", (None, 8)),), (TensorSpec("y", "float32", (None, 8)),), str(path)
    )


def test_nothing_falls_back_to_the_cpu_silently(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="takes 1 of 2 nodes, and the CPU would run Erf"):
        estimated(erf(tmp_path / "erf.onnx"), "fp16")


def test_a_plug_in_is_loaded_once() -> None:
    import onnxruntime
    import onnxruntime_qnn

    provider = Provider(PROVIDER, library=onnxruntime_qnn.get_library_path(), device=0)
    seen = [_onnxruntime._chosen(onnxruntime, provider) for _ in range(2)]
    assert {device.ep_name for device in seen} == {PROVIDER}
    with pytest.raises(Unsupported, match=f"lists: {PROVIDER} on CPU"):
        _onnxruntime._chosen(onnxruntime, Provider(PROVIDER, library=provider.library, vendor="nobody"))
