"""Making the committed graphs from the networks: needs torch and onnxscript."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import generator, rebuild, weights
from workloads.contract import Card
from workloads.models.autoencoder import Autoencoder
from workloads.models.kws import KeywordSpotting
from workloads.models.resnet8 import ResNet8
from workloads.nets import llama
from workloads.nets.initial import draw, state
from workloads.seeded import Seeded

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # torch's exporter calls its own deprecated functions
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TINY = (Autoencoder, KeywordSpotting, ResNet8)


class Tied(Seeded):
    """What a contributor writes: one class, its network inside."""

    card = Card(
        name="tied",
        task="test",
        sample_unit="sentence",
        flops=1_600,
        parameters=250,
        weight_bytes=1_000,
        io_bytes=232,
        distinct_inputs=4,
        bounds=(),
        quality=None,
        source="this test",
    )

    def net(self) -> Any:
        from torch import nn

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.tokens = nn.Embedding(50, 4)
                self.head = nn.Linear(4, 50)
                self.head.weight = self.tokens.weight

            def forward(self, ids: Any) -> Any:
                return self.head(self.tokens(ids)).mean(1)

        return Network()

    def inputs(self, n: int, stream: str) -> dict[str, Any]:
        return {"ids": generator.integers(stream, (n, 4), 0, 50)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tied(tmp_path: Path, cache: None) -> Tied:
    workload = Tied()
    rebuild.rebuild(workload, tmp_path)
    return workload


def test_committed_files_are_what_the_network_gives():
    """`make test-torch` asks this of every workload."""
    assert rebuild.differences(KeywordSpotting()) == []


def test_a_rebuild_is_the_same_to_the_byte(tmp_path: Path):
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        rebuild.rebuild(KeywordSpotting(), tmp_path / attempt)
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / a).iterdir()} for a in ("one", "two"))
    assert first == second
    assert set(first) == {"kws.onnx", "kws.json", "kws.golden.npz"}


def test_differences_are_found(monkeypatch: pytest.MonkeyPatch):
    from torch import nn

    whole = ResNet8.net
    monkeypatch.setattr(ResNet8, "inputs", lambda self, n, stream: {"image": generator.fields("x", (n, 3, 32, 32))})
    assert rebuild.differences(ResNet8()) == ["golden: logits"]
    monkeypatch.undo()
    monkeypatch.setattr(ResNet8, "net", lambda self: nn.Sequential(whole(self), nn.Sigmoid()))
    changed = ["manifest: sha256", "manifest: tensors", "graph: operators", "graph: weights", "golden: logits"]
    assert rebuild.differences(ResNet8()) == changed


def test_a_wrong_card_is_told_the_right_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Tied, "card", replace(Tied.card, flops=7, parameters=8))
    with pytest.raises(ValueError, match=r"card of tied differs .*; write flops=1_600, parameters=250"):
        rebuild.rebuild(Tied(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_output_without_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torch import nn

    once = Tied().net()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = once

        def forward(self, ids: Any) -> Any:
            return self.only(ids), ids

    monkeypatch.setattr(Tied, "net", lambda self: Twice())
    with pytest.raises(ValueError, match=r"returns 2 outputs and `outputs` names 1 \(logits\)"):
        rebuild.rebuild(Tied(), tmp_path)


def test_an_incomplete_workload_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    half = type("Half", (Seeded,), {"__module__": "workloads.models.kws", "net": Tied.net})
    monkeypatch.setattr("workloads.models.kws.Half", half, raising=False)
    monkeypatch.setattr("sys.argv", ["rebuild", "half"])
    with pytest.raises(SystemExit):
        rebuild.main()
    assert "unknown workload half" in (said := capsys.readouterr().err)
    assert "Half of workloads.models.kws lacks inputs" in said


def test_without_torch_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr("workloads.rebuild.find_spec", lambda name: None if name == "torch" else object())
    monkeypatch.setattr("sys.argv", ["rebuild", "kws"])
    with pytest.raises(SystemExit) as ended:
        rebuild.main()
    assert ended.value.code == 2
    assert "needs torch: make setup-torch" in capsys.readouterr().err


def test_tied_weights_are_stored_once(tied: Tied, tmp_path: Path):
    manifest = weights.Manifest.read("tied", tmp_path)
    assert [tensor.name for tensor in manifest.tensors] == ["tokens.weight", "head.bias"]


def test_a_new_workload_runs_from_its_own_file(tied: Tied, tmp_path: Path):
    import onnxruntime

    home = weights.materialise(weights.Manifest.read("tied", tmp_path), tmp_path)
    session = onnxruntime.InferenceSession(str(home / "tied.onnx"), providers=["CPUExecutionProvider"])
    inputs = tied.samples("perf", 12, 0).inputs
    with np.load(tmp_path / "tied.golden.npz") as golden:
        assert np.abs(session.run(["logits"], dict(inputs))[0] - golden["logits"]).max() < 1e-5


@pytest.mark.parametrize("kind", TINY, ids=lambda kind: kind.card.name)
def test_torch_form_agrees_with_golden(kind: type[Seeded]):
    import torch

    net = kind().model().form("torch")
    assert not net.training
    inputs = kind().samples("perf", 12, 0).inputs
    with torch.inference_mode():
        output = net(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    right = next(iter(kind().golden().outputs.values()))
    assert np.abs(output - right).max() < 1e-5 * np.abs(right).max()


def test_torch_form_refuses_a_network_that_has_changed(monkeypatch: pytest.MonkeyPatch):
    from torch import nn

    whole = KeywordSpotting.net
    monkeypatch.setattr(KeywordSpotting, "net", lambda self: nn.ModuleDict({"kws": whole(self)}))
    with pytest.raises(ValueError, match=r"disagree on kws\.stem.*make graphs"):
        KeywordSpotting().model().form("torch")


SIZE = llama.Size(layers=1, width=32, heads=4, kv_heads=2, hidden=48, vocabulary=64, window=8)


def filled(net: Any) -> Any:
    import torch

    for name, tensor in state(net).items():
        drawn = draw(net, name, tensor)
        values = generator.uniform(name, tuple(tensor.shape), drawn.scale, drawn.centre)
        tensor.copy_(torch.from_numpy(values))
    return net.eval().requires_grad_(False)


def test_decoding_continues_what_prefill_began():
    """In one layer, keys and values hang on their own token only: a window that slid is a prompt that began later."""
    import torch

    prefill, decode = filled(llama.prefill(SIZE)), filled(llama.decode(SIZE))
    tokens = torch.from_numpy(generator.integers("tokens", (3, 10), 0, 64))
    _, k, v = prefill(tokens[:, :8])
    position = torch.full((3, 1), 8)
    for step in range(2):
        logits, new_k, new_v, position = decode(tokens[:, 8 + step : 9 + step], position, k, v)
        assert (new_k[:, :, :, :-1] == k[:, :, :, 1:]).all()
        k, v = new_k, new_v
        right, _, _ = prefill(tokens[:, step + 1 : step + 9])
        assert (logits - right).abs().max() < 1e-5
    assert position.tolist() == [[10]] * 3


def test_a_cast_leaves_the_rotation_exact():
    net = llama.decode(SIZE).bfloat16()
    assert str(net.tokens.weight.dtype) == "torch.bfloat16"
    assert str(net.frequencies.dtype) == "torch.float32"


def test_prefill_looks_at_the_past_only():
    import torch

    prefill = filled(llama.prefill(SIZE))
    tokens = torch.from_numpy(generator.integers("tokens", (2, 8), 0, 64))
    changed = torch.cat((tokens[:, :-1], (tokens[:, -1:] + 1) % 64), 1)
    (first, k1, _), (second, k2, _) = prefill(tokens), prefill(changed)
    assert (first - second).abs().max() > 0.1
    assert (k1[..., :-1, :] == k2[..., :-1, :]).all()
