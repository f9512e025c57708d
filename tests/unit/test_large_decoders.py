"""Networks whose weights never lie in host memory as a whole: drawn on the device, exported and run layer by layer."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import drawing, generator, rebuild, weights
from workloads.contract import Card, Model, Unsupported
from workloads.models.llama import Llama1BDecode
from workloads.nets import llama
from workloads.nets.initial import state
from workloads.seeded import Seeded

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # torch's exporter calls its own deprecated functions
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SIZE = llama.Size(layers=2, width=32, heads=4, kv_heads=2, hidden=48, vocabulary=64, window=8)
SMALL_CHUNK = 100


class Small(Seeded):
    """A decoder of every kind of tensor that the large ones have."""

    card = Card("small", "test", "token", 36_864, 19_616, 78_464, 4_376, 16, (), None, "this test")
    outputs = ("logits", "k", "v", "next_position")
    golden_outputs = ("logits",)
    golden_steps = 3
    feedback = {"k": "past_k", "v": "past_v", "next_position": "position"}

    def net(self) -> Any:
        return llama.decode(SIZE)

    def inputs(self, n: int, stream: str) -> dict[str, Any]:
        return {
            "input_ids": generator.integers(f"{stream}/ids", (n, 1), 0, SIZE.vocabulary),
            "position": generator.integers(f"{stream}/position", (n, 1), SIZE.window, 1024),
            "past_k": generator.uniform(f"{stream}/k", (n, *SIZE.cache)),
            "past_v": generator.uniform(f"{stream}/v", (n, *SIZE.cache)),
        }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has weights is large."""
    monkeypatch.setattr(weights, "LARGE_BYTES", 0)


@settings(deadline=None, max_examples=40)  # on a busy machine
@given(
    name=st.text(max_size=8),
    count=st.integers(1, 3000),
    scale=st.sampled_from([1.0, 0.0123456, 3e-5, 700.0]),
    centre=st.sampled_from([0.0, 1.0, -0.37]),
    chunk=st.integers(1, 700),
)
def test_a_device_draws_what_numpy_draws(name: str, count: int, scale: float, centre: float, chunk: int):
    import torch

    right = generator.uniform(name, (count,), scale, centre)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        out = torch.full((count,), float("nan"), dtype=dtype)
        drawing.draw_there(out, name, scale, centre, chunk)
        assert torch.equal(out, torch.from_numpy(right).to(dtype))
        drawing.draw(out.zero_(), name, scale, centre)
        assert torch.equal(out, torch.from_numpy(right).to(dtype))


def test_a_device_that_shifts_otherwise_is_told(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(drawing, "_shifted", lambda z, bits: z >> bits)  # arithmetic, as some devices might
    with pytest.raises(drawing.WrongDrawError, match="other values for weights/x"):
        drawing.draw_there(torch.empty(64), "weights/x", 1.0)


@pytest.mark.parametrize("wrong", [0, 2 * SMALL_CHUNK, 999])
def test_a_wrong_value_at_an_end_or_a_border_is_told(monkeypatch: pytest.MonkeyPatch, wrong: int):
    import torch

    chunks = drawing._chunks

    def spoilt(*arguments: Any):
        for first, values in chunks(*arguments):
            if first <= wrong < first + len(values):
                values[wrong - first] += 1
            yield first, values

    monkeypatch.setattr(drawing, "_chunks", spoilt)
    with pytest.raises(drawing.WrongDrawError):
        drawing.draw_there(torch.empty(1000), "x", 1.0, chunk=SMALL_CHUNK)


def manifest_of(net: Any, folder: Path) -> weights.Manifest:
    rebuild.rebuild(Small(), folder)
    return weights.Manifest.read("small", folder)


def test_a_large_network_is_rebuilt_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same graph and manifest to the byte, and golden outputs from a network that never had all of its weights."""
    for name, limit in (("small", 1 << 30), ("large", 0)):
        monkeypatch.setattr(weights, "LARGE_BYTES", limit)
        (tmp_path / name).mkdir()
        rebuild.rebuild(Small(), tmp_path / name)
    for file in ("small.onnx", "small.json"):
        assert (tmp_path / "large" / file).read_bytes() == (tmp_path / "small" / file).read_bytes()
    with np.load(tmp_path / "large/small.golden.npz") as found, np.load(tmp_path / "small/small.golden.npz") as right:
        assert list(found) == list(right) == ["logits"]
        assert np.abs(found["logits"] - right["logits"]).max() < 1e-6


def test_layers_give_their_weights_back(tmp_path: Path):
    net = drawing.hollow(Small().net)
    tensors = manifest_of(net, tmp_path).tensors
    seen = []
    net.layers[0].q.register_forward_hook(lambda module, *_: seen.append(module.weight.is_meta))
    with drawing.passing(net, tensors, "float64") as passing:
        rebuild._forward(Small(), passing, 2, "cpu", double=True)
        assert all(parameter.is_meta for parameter in net.parameters())
    assert seen == [False] * 3
    with pytest.raises((NotImplementedError, RuntimeError)):  # they are drawn no more
        rebuild._forward(Small(), net, 2, "cpu")


def test_the_torch_form_of_a_large_network_is_placed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(weights, "GRAPHS", tmp_path)
    manifest_of(None, tmp_path)
    monkeypatch.setattr(weights.Manifest.read.__func__, "__defaults__", (tmp_path,))
    monkeypatch.setattr(weights.load, "__defaults__", (tmp_path,))
    monkeypatch.setattr(weights.materialise, "__defaults__", (tmp_path,))
    whole = Small().model().form("torch")
    assert cache.exists()
    monkeypatch.setattr(weights, "LARGE_BYTES", 0)
    recipe = Small().model().form("torch")
    for dtype in (torch.float32, torch.bfloat16):
        placed = recipe.place("cpu", dtype)
        assert not placed.training
        for name, tensor in state(whole).items():
            assert torch.equal(placed.get_parameter(name), tensor.to(dtype)), name
        assert torch.equal(placed.frequencies, whole.frequencies)
        assert torch.equal(placed.steps, whole.steps)
    assert recipe.place("cpu", torch.float32) is not recipe.place("cpu", torch.float32)


def test_tied_weights_are_drawn_once():
    import torch
    from torch import nn

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(5, 4)
            self.head = nn.Linear(4, 5, bias=False)
            self.head.weight = self.tokens.weight

    tensors = [weights.Tensor("tokens.weight", (5, 4), 0, 0.0, 1.0)]
    placed = drawing.place(drawing.hollow(Tied), tensors, "cpu", torch.float32)
    assert placed.head.weight is placed.tokens.weight
    assert not placed.head.weight.is_meta


def test_a_manifest_of_another_network_is_refused():
    tensors = [weights.Tensor("tokens.weight", (64, 31), 0, 0.0, 1.0)]
    with pytest.raises(ValueError, match=r"disagree on tokens\.weight, .*make graphs"):
        drawing.place(drawing.hollow(Small().net), tensors, "cpu", None)


def test_what_is_not_uniform_cannot_be_drawn():
    from torch import nn

    tensors = [weights.Tensor("weight", (2, 3), 0, 0.0, 1.0, balanced=True)]
    with pytest.raises(ValueError, match="weight cannot be drawn"):
        drawing.place(drawing.hollow(lambda: nn.Linear(3, 2, bias=False)), tensors, "cpu", None)


def test_golden_values_are_rounded_to_few_bits():
    values = np.array([[3.0, -0.1234567, 1e-9]])
    rounded = rebuild._rounded(values, 14)
    assert np.abs(rounded - values).max() <= 4 * 2.0**-15
    assert (rounded * 2.0**14 / 4 == np.rint(rounded * 2.0**14 / 4)).all()
    assert rebuild._rounded(values, None) is values


def test_large_weights_are_no_file_until_a_graph_needs_them(cache: Path):
    assert Llama1BDecode().model().form("weights").name == "llama-1b-decode.json"
    assert not cache.exists()


def test_a_disk_without_room_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 4_000_000_000))
    with pytest.raises(Unsupported, match=r"4\.4 GB, and the disk lacks 0\.4 GB: set ACCELMARK_CACHE"):
        Llama1BDecode().model().form("onnx")
    assert not cache.exists()


def test_a_file_of_the_users_has_no_weights_beside(tmp_path: Path):
    assert Model("m", "d", (), (), origin=str(tmp_path / "m.onnx")).form("weights") == tmp_path / "m.onnx"
