"""LiteRT on the processor: quantising, layouts, batches, files that do not belong to the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backends.contract import Device, Facts, Placement, Plan, Unsupported
from backends.engines._litert import LiteRtSession, Port, _port
from backends.engines.litert import LiteRtEngine
from tests.fakes import fake_edgetpu
from workloads.contract import Model, TensorSpec

pytestmark = pytest.mark.edge

CPU = Device("cpu", "a processor", {"litert": "cpu"})
PLAIN = TensorSpec("x", "float32", (None, 3))
IMAGE = TensorSpec("x", "float32", (None, 2, 4, 4))
FACTS = Facts({}, Placement("a processor", 1.0, "it is one"), 0, None, 0)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("echo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELMARK_CACHE", str(folder / "cache"))
        model = fake_edgetpu.echo(folder)
        yield replace(model, given={form: model.form(form) for form in ("tflite", "tflite_int8")})


def samples(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).uniform(-1, 1, (n, 2, 4, 4)).astype(np.float32)}


def test_values_are_rounded_to_even_and_cut_off() -> None:
    port = Port(PLAIN, 0, False, np.int8, 0.5, 3)
    stored = port.encode(np.array([[0.25, 0.75, 1e9], [-0.25, -0.75, -1e9]], np.float32))
    assert stored.tolist() == [[3, 5, 127], [3, 1, -128]]
    assert port.decode(stored).tolist() == [[0, 1, 62], [0, -1, -65.5]]
    assert port.decode(stored).dtype == np.float32


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(-12, 12, width=32)), st.sampled_from([np.int8, np.uint8]))
def test_what_is_in_range_comes_back_to_half_a_step(array: np.ndarray, dtype: type) -> None:
    port = Port(PLAIN, 0, False, dtype, 0.1, 0 if dtype is np.int8 else 128)
    assert abs(port.decode(port.encode(array)) - array).max() <= 0.05 + 1e-5


def detail(name: str, shape: list[int], dtype: type = np.int8, scale: float = 0.1) -> dict:
    signature = [-1, *shape[1:]]
    return {
        "name": name,
        "index": 7,
        "shape": shape,
        "shape_signature": signature,
        "dtype": dtype,
        "quantization": (scale, 0),
    }


@pytest.mark.parametrize(
    ("name", "shape", "nhwc"),
    [
        ("x:nhwc", [1, 4, 4, 2], True),
        ("anything", [1, 4, 4, 2], True),
        ("x", [1, 2, 4, 4], False),
        ("x:nhwc", [1, 4, 4, 4], True),
        ("x", [1, 4, 4, 4], False),
    ],
)
def test_the_layout_is_told_by_the_name_or_the_shape(name: str, shape: list[int], nhwc: bool) -> None:
    spec = IMAGE if 2 in shape else TensorSpec("x", "float32", (None, 4, 4, 4))
    assert _port(detail(name, shape), spec).nhwc is nhwc


@pytest.mark.parametrize("shape", [[1, 4, 2, 4], [1, 32], [1, 4, 4, 3]])
def test_another_networks_file_is_told_by_its_shape(shape: list[int]) -> None:
    with pytest.raises(Unsupported, match=r"the \.tflite file has x of shape"):
        _port(detail("x", shape), IMAGE)


def test_another_networks_file_is_told_by_its_type() -> None:
    with pytest.raises(Unsupported, match="as int32, and the model float32"):
        _port(detail("x", [1, 3], np.int32, 0.0), PLAIN)


def test_a_file_of_another_network_is_refused(echo: Model) -> None:
    other = replace(echo, inputs=(TensorSpec("x", "float32", (None, 3, 9, 9)),))
    with pytest.raises(Unsupported, match="shape"):
        LiteRtEngine().compile(other, Plan("fp32", 1, "latency"), CPU)
    two = replace(echo, inputs=(*echo.inputs, PLAIN, TensorSpec("z", "float32", (None, 1))))
    with pytest.raises(Unsupported, match="no tensor z"):
        LiteRtEngine().compile(two, Plan("fp32", 1, "latency"), CPU)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3 and no more"])
def test_a_damaged_file_is_unsupported(echo: Model, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    with pytest.raises(Unsupported, match=r"damaged\.tflite"):
        LiteRtEngine().compile(replace(echo, given={"tflite": path}), Plan("fp32", 1, "latency"), CPU)


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-6), ("int8", 0.02)])
def test_batches_of_any_size_one_after_another(echo: Model, precision: str, error: float) -> None:
    session = LiteRtEngine().compile(echo, Plan(precision, 3, "latency"), CPU)
    for n in (3, 1, 5, 3):
        arrays = samples(n, n)
        answer = session.get(session.run(session.put(arrays)))["y"]
        assert answer.shape == (n, 2, 4, 4)
        assert abs(answer - arrays["x"]).max() <= error
    session.close()


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_kernels_are_chosen_and_said(echo: Model, kernels: str) -> None:
    facts = LiteRtEngine().compile(echo, Plan("int8", 1, "latency", options={"kernels": kernels}), CPU).facts
    assert facts.settings["kernels"] == kernels
    assert (facts.settings["operators"], facts.settings["xnnpack_parts"]) == (2, int(kernels == "xnnpack"))
    assert facts.placement.share == 1.0


def test_streams_are_interpreters_of_their_own(echo: Model) -> None:
    options = {"threads": "1", "streams": "3"}
    session = LiteRtEngine().compile(echo, Plan("fp32", 1, "throughput", options=options), CPU)
    assert (session.inflight, session.facts.settings["streams"]) == (3, 3)
    held = [session._idle.get().interpreter for _ in range(3)]  # type: ignore[attr-defined]
    assert len({id(one) for one in held}) == 3


@pytest.mark.parametrize("reference", [False, True])
def test_a_session_of_its_own_for_engines_that_predict(echo: Model, reference: bool) -> None:
    session = LiteRtSession(echo.form("tflite_int8"), echo, Plan("int8", 2, "latency"), FACTS, reference=reference)
    arrays = samples(2)
    assert abs(session.get(session.run(session.put(arrays)))["y"] - arrays["x"]).max() < 0.02
    assert session.facts is FACTS


@pytest.mark.parametrize(("options", "says"), [({"kernels": "gpu"}, "kernels=gpu"), ({"delegate": "x"}, "delegate")])
def test_unknown_options_are_refused(echo: Model, options: dict[str, str], says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        LiteRtEngine().compile(echo, Plan("fp32", 1, "latency", options=options), CPU)


def test_the_form_follows_the_precision() -> None:
    assert [LiteRtEngine().form_for(one) for one in ("fp32", "int8", "bf16")] == ["tflite", "tflite_int8", "tflite"]
