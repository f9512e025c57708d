"""Full-integer INT8: what calibration decides, how near the answers are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.contract import Device, Plan, Session
from backends.engines.litert import LiteRtEngine
from bench import parts
from tests.fakes import fake_edgetpu
from workloads.contract import Model, Samples, Unsupported, Workload
from workloads.forms import tflite, tflite_int8
from workloads.forms._tflite.bias import _means
from workloads.forms._tflite.file import unpacked

pytestmark = pytest.mark.edge

CPU = Device("cpu", "a processor", {"litert": "cpu"})
INPUTS = 256
"""Over so few as the 12 golden ones, the ratio wanders by 1 dB."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Of .tflite files; weights come from where they are."""
    from workloads.forms import _cache

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cache, "cache_root", lambda: folder)
        yield folder


def session(model: Model, precision: str, batch: int, kernels: str = "xnnpack") -> Session:
    return LiteRtEngine().compile(model, Plan(precision, batch, "latency", options={"kernels": kernels}), CPU)


def answer(model: Model, precision: str, samples: Samples, kernels: str = "xnnpack") -> np.ndarray:
    one = session(model, precision, len(samples), kernels)
    outputs = one.get(one.run(one.put(samples.inputs)))
    one.close()
    (output,) = outputs.values()
    return output.astype(np.float64)


def ratio_db(right: np.ndarray, given: np.ndarray) -> float:
    return float(10 * np.log10((right**2).mean() / ((given - right) ** 2).mean()))


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("name", ["kws", "resnet8"])
def test_signal_to_quantisation_noise(name: str, kernels: str) -> None:
    workload = parts.find(Workload, name)
    model, samples = workload.calibrated(), workload.samples("perf", INPUTS, 0)
    assert ratio_db(answer(model, "fp32", samples), answer(model, "int8", samples, kernels)) >= 30


def test_the_autoencoder_comes_near_what_int8_inputs_alone_allow() -> None:
    """Ten random layers amplify: rounding nothing but the inputs leaves 27 dB, so no INT8 network can have 30."""
    workload = parts.find(Workload, "autoencoder")
    model, samples = workload.calibrated(), workload.samples("perf", 64, 0)
    right = answer(model, "fp32", samples)
    int8 = session(model, "int8", len(samples))
    ((_, stored),) = int8.put(samples.inputs)
    (port,) = int8._inputs  # type: ignore[attr-defined]
    rounded = Samples({"spectrogram": port.decode(stored)})
    limit_db = ratio_db(right, answer(model, "fp32", rounded))
    assert limit_db < 30
    assert ratio_db(right, answer(model, "int8", samples)) > limit_db - 9


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_digits_lose_less_than_a_point(size: str) -> None:
    """All examples, paired. If p of all got worse, none of 850 would with (1 - p)**850, so 95 % say p < 0.43 %."""
    workload = parts.find(Workload, f"digits-{size}")
    model, samples = workload.calibrated(), workload.samples("evaluation", 850, 0)
    fp32, int8 = (
        workload.score({"logits": answer(model, precision, samples)}, samples) for precision in ("fp32", "int8")
    )
    assert len(fp32) == 850
    worse, better = int((int8 < fp32).sum()), int((int8 > fp32).sum())
    assert (worse - better + 3.7 + 1.96 * (worse + better) ** 0.5) / 850 < 0.01


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("name", ["kws", "resnet8", "autoencoder", "digits-small", "mobilenetv2"])
def test_int8_keeps_its_tolerance(name: str, kernels: str) -> None:
    from bench.audit import correctness

    workload = parts.find(Workload, name)
    seen = correctness.outputs(workload, session(workload.calibrated(), "int8", 1, kernels), 1, "int8", seed=1)
    assert seen["identity_hits"] == seen["n"] == 12
    assert seen["centred_cosine_min"] >= seen["cosine_required"] >= 0.9


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    model = fake_edgetpu.echo(tmp_path)
    inputs = model.calibration(32).inputs  # type: ignore[misc]
    first, second = (tflite_int8.quantised("echo", model.form("tflite"), inputs) for _ in range(2))
    assert first == second


def test_everything_is_int8_inputs_and_outputs_too(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph = unpacked(schema, fake_edgetpu.echo(tmp_path).form("tflite_int8").read_bytes()).subgraphs[0]
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    assert {tensor.type for tensor in graph.tensors} == {int8, int32}
    assert {graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)} == {int8}


def test_ranges_are_the_calibration_samples_own(tmp_path: Path) -> None:
    """Not a moving average: the largest value of the last sample is kept whole."""
    model = fake_edgetpu.echo(tmp_path)
    inputs = {"x": np.zeros((16, 2, 4, 4), np.float32)}
    inputs["x"][3, 0, 0, 0] = 5.0
    inputs["x"][15, 0, 0, 0] = -3.0
    path = tmp_path / "int8.tflite"
    path.write_bytes(tflite_int8.quantised("echo", model.form("tflite"), inputs))
    given = session(replace(model, given={"tflite_int8": path}), "int8", 16)
    assert abs(given.get(given.run(given.put(inputs)))["y"] - inputs["x"]).max() < 8 / 255 + 0.01


def test_a_channel_without_weights_harms_no_other(tmp_path: Path) -> None:
    """A bias of 32 bits cannot count so many of its steps."""
    from tests.unit.test_form_tflite import onnx_file

    rng = np.random.default_rng(0)
    weight = rng.uniform(-1, 1, (8, 3)).astype(np.float32)
    weight[:, 1] = 1e-12
    constants = {"w": weight, "b": np.array([0.1, 0.2, 0.3], np.float32)}
    fp32 = tmp_path / "fp32.tflite"
    fp32.write_bytes(tflite.convert(onnx_file(tmp_path, [("Gemm", ["x", "w", "b"], ["y"], {})], constants, (8,))))
    inputs = {"x": rng.uniform(-1, 1, (64, 8)).astype(np.float32)}
    data = tflite_int8.quantised("dense", fp32, inputs)
    samples = [{"x": inputs["x"][row : row + 1]} for row in range(64)]
    means = _means(data, samples)["y"] - _means(fp32.read_bytes(), samples)["y"]
    assert abs(means[[0, 2]]).max() < 0.01


def test_other_calibration_samples_are_another_file(tmp_path: Path) -> None:
    model = fake_edgetpu.echo(tmp_path)
    calibration: Callable[[int], Samples] = model.calibration  # type: ignore[assignment]
    wider = replace(model, calibration=lambda n: Samples({"x": 3 * calibration(n).inputs["x"]}))
    assert model.form("tflite_int8") != wider.form("tflite_int8")


def test_without_calibration_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="echo cannot be quantised: nobody gave samples to calibrate with"):
        replace(fake_edgetpu.echo(tmp_path), calibration=None).form("tflite_int8")


def test_what_stays_a_float_is_named(tmp_path: Path) -> None:
    from tests.unit.test_form_tflite import onnx_file

    path = onnx_file(tmp_path, [("Cos", ["x"], ["y"], {})], {}, (2, 4, 4))
    model = replace(fake_edgetpu.echo(tmp_path), name="cosine", digest="cosine of a test", origin=str(path))
    with pytest.raises(Unsupported, match="cosine cannot be"):
        model.form("tflite_int8")


@pytest.mark.parametrize(("each_bytes", "count"), [(4, 512), (1 << 20, 32), (1 << 30, 16)])
def test_large_inputs_calibrate_with_fewer_samples(each_bytes: int, count: int) -> None:
    asked = []

    class Large(np.ndarray):
        nbytes = each_bytes  # type: ignore[assignment]

    def calibration(n: int) -> Samples:
        asked.append(n)
        return Samples({"x": np.zeros((1, 1), np.float32).view(Large)})

    tflite_int8._calibrating(calibration)
    assert asked == [1, count]
