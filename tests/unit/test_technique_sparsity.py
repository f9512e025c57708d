"""Which weights are set to zero, and the graph that holds the outcome."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.contract import Unsupported
from workloads.forms._cache import making
from workloads.models.bytelm import ByteLMSmall
from workloads.models.digits import DigitsSmall
from workloads.models.kws import KeywordSpotting
from workloads.techniques import _sparsity
from workloads.techniques.prune_2to4 import PruneTwoOfFour


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path))


def zero_share(array: np.ndarray) -> float:
    return float((array == 0).mean())


def test_two_of_every_four_input_channels_stay_the_larger_ones() -> None:
    weight = np.array([[1, -4, 3, 2, -9, 8, 7, 6], [0, 0, 0, 5, 1, 1, 1, 1]], np.float32)
    kept = np.array([[0, -4, 3, 0, -9, 8, 0, 0], [0, 0, 0, 5, 0, 0, 1, 1]], np.float32)
    assert (_sparsity.two_of_four(weight) == kept).all()
    kernel = np.stack([weight, 2 * weight], axis=-1)
    assert (_sparsity.two_of_four(kernel) == np.stack([kept, 2 * kept], axis=-1)).all()


@pytest.mark.parametrize("shape", [(8,), (4, 6), (4, 1, 3, 3)])
def test_what_has_no_fours_is_left_alone(shape: tuple[int, ...]) -> None:
    weight = np.ones(shape, np.float32)
    assert _sparsity.two_of_four(weight) is weight


@given(hnp.arrays(np.float32, (3, 8), elements=st.floats(-9, 9, width=32)), st.floats(0, 1))
def test_l1_zeroes_a_share_and_nothing_larger_than_what_it_keeps(array: np.ndarray, share: float) -> None:
    before = array.copy()
    kept = _sparsity.l1(array, share)
    assert (array == before).all()
    assert ((kept == array) | (kept == 0)).all()
    dropped = np.abs(array[(kept == 0) & (array != 0)])
    assert (kept == 0).sum() == max(round(share * array.size), (array == 0).sum())
    assert not dropped.size or dropped.max() <= np.abs(kept[kept != 0]).min(initial=np.inf)


@pytest.mark.parametrize("workload", [DigitsSmall(), ByteLMSmall()], ids=lambda one: one.card.name)
def test_a_graph_whose_weights_stay_answers_as_before(workload) -> None:
    model, inputs = workload.model(), dict(workload.samples("perf", 3, 0).inputs)
    path = _sparsity.rewritten(model, "nothing", lambda _, array: array)
    right = onnxruntime.InferenceSession(str(model.form("onnx"))).run(None, inputs)
    assert all(
        (a == b).all() for a, b in zip(onnxruntime.InferenceSession(str(path)).run(None, inputs), right, strict=True)
    )


def test_weights_come_with_their_outputs_first_and_tables_do_not_come() -> None:
    """A weight lies either way round in a graph: x W, and x W' behind a Transpose."""
    seen = {}
    _sparsity.rewritten(ByteLMSmall().model(), "look", lambda name, array: seen.setdefault(name, array))
    assert seen["blocks.0.up.weight"].shape == (128, 32)
    assert seen["recent.weight"].shape == (32, 32, 4)
    assert "bytes.weight" not in seen
    straight = onnx.parser.parse_graph(
        "g (float[n,2] x) => (float[n,3] y) <float[2,3] w = {0,1,2,3,4,5}> { y = MatMul(x, w) }"
    )
    assert list(_sparsity._multiplied(straight)) == [("w", True)]
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    turned = _sparsity._changed("w", array, True, lambda _, a: a * np.array([[1], [0], [1]], np.float32))
    assert (turned == array * [1, 0, 1]).all()


def test_prune_2to4_tells_its_zeros_and_keeps_the_size_of_the_file() -> None:
    model = DigitsSmall().model()
    pruned = PruneTwoOfFour().treat(model)
    told = making(Path(pruned.origin))
    assert told["parameters"] == DigitsSmall().card.parameters
    weights = Path(pruned.origin).with_name("weights.bin")
    assert 0.45 < told["zero_share"] < 0.5
    assert weights.stat().st_size <= Path(model.form("weights")).stat().st_size + 4096
    assert (pruned.recipe, pruned.digest != model.digest) == (("prune-2to4",), True)


def test_parameters_are_counted_as_the_card_counts_them_without_what_a_normalization_keeps() -> None:
    path = _sparsity.rewritten(KeywordSpotting().model(), "nothing", lambda _, array: array)
    assert making(path)["parameters"] == KeywordSpotting().card.parameters


def test_another_change_of_the_same_network_is_another_file() -> None:
    model = DigitsSmall().model()
    paths = {
        share: _sparsity.rewritten(model, f"l1 {share}", lambda _, a, s=share: _sparsity.l1(a, s))
        for share in (0.3, 0.9)
    }
    shares = {
        share: json.loads(path.with_name("making.json").read_text())["zero_share"] for share, path in paths.items()
    }
    assert {share: round(found, 1) for share, found in shares.items()} == {0.3: 0.3, 0.9: 0.9}


def test_a_graph_without_a_product_has_nothing_to_change(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 20]> g (float[n,2] x) => (float[n,2] y) { y = Relu(x) }'
    )
    onnx.save(proto, tmp_path / "relu.onnx")
    with pytest.raises(Unsupported, match="relu has no weight that is multiplied: there is nothing to change"):
        _sparsity._write(tmp_path / "relu.onnx", tmp_path / "part", lambda _, array: array)
