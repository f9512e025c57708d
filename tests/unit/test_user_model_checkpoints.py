"""Checkpoints of Hugging Face's format: exported here, measured like any ONNX file. Nothing is downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backends.contract import Backend, Engine, Plan
from bench import parts, usermodel
from bench.audit import correctness
from bench.selection import SelectionError
from bench.usermodel import Asked, preparing
from workloads import user
from workloads.onnxfile import ModelFileError

SIZES = "hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64"
TEXT = f"{SIZES}, vocab_size=100, max_position_embeddings=64"
T5 = "d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=100, decoder_start_token_id=0"
CHECKPOINTS = {
    "bert": f"BertForSequenceClassification(BertConfig({TEXT}))",
    "llama": f"LlamaForCausalLM(LlamaConfig({TEXT}, num_key_value_heads=2))",
    "vit": f"ViTForImageClassification(ViTConfig({SIZES}, image_size=32, patch_size=8))",
    "t5": f"T5ForConditionalGeneration(T5Config({T5}))",
}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny checkpoint of each kind, made in a process of its own as the library warns a lot."""
    pytest.importorskip("torch")
    if usermodel.find_spec("transformers") is None:
        pytest.skip("needs transformers, of the extra hf")
    folder = tmp_path_factory.mktemp("checkpoints")
    saving = "".join(f"{made}.save_pretrained({str(folder / name)!r})\n" for name, made in CHECKPOINTS.items())
    script = f"import torch\nfrom transformers import *\ntorch.manual_seed(0)\n{saving}"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=300)
    return folder


def prepared(source: str, **dims: int) -> user.UserModel:
    (folder,) = usermodel.prepare([Asked(source, "mine", dims)])
    return user.UserModel(folder)


def assert_right(workload: user.UserModel, engine_name: str, batch: int) -> None:
    (device,) = parts.find(Backend, "cpu").probe().devices
    engine = parts.find(Engine, engine_name)
    with closing(engine.compile(workload.model(), Plan("fp32", batch, "latency"), device)) as session:
        evidence = correctness.outputs(workload, session, batch, "fp32", seed=1)
    assert evidence["identity_hits"] == evidence["n"] == 12
    assert evidence["relative_error_max"] <= evidence["relative_error_allowed"]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "dims", "unit", "task", "inputs"),
    [
        ("bert", {"seq": 16}, "sequence of 16 tokens", "a model of your own", ["input_ids", "attention_mask"]),
        ("llama", {}, "sequence of 64 tokens", "forward pass over a prompt (prefill)", ["input_ids", "attention_mask"]),
        ("vit", {}, "image", "a model of your own", ["pixel_values"]),
        (
            "t5",
            {"seq": 8},
            "sequence of 8 tokens",
            "forward pass over a prompt (prefill)",
            ["input_ids", "attention_mask", "decoder_input_ids"],
        ),
    ],
)
def test_a_checkpoint_is_exported_and_answers_right(
    checkpoints: Path, name: str, dims: dict[str, int], unit: str, task: str, inputs: list[str]
) -> None:
    workload = prepared(str(checkpoints / name), **dims)
    assert (workload.card.sample_unit, workload.card.task) == (unit, task)
    assert [spec.name for spec in workload.model().inputs] == inputs
    assert workload.card.flops
    assert f"{name}, content " in workload.card.source
    for engine in filter(usermodel.find_spec, ("onnxruntime", "openvino")):
        assert_right(workload, engine, 2)


@pytest.mark.torch
def test_a_name_is_looked_up_in_the_local_cache_only(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(home))
    with pytest.raises(
        SelectionError, match="it is not in the local Hugging Face cache: fetch it first, hf download o/m"
    ):
        prepared("hf:o/m")
    snapshot = home / "models--o--m" / "snapshots" / "abc"
    (home / "models--o--m" / "blobs").mkdir(parents=True)
    (home / "models--o--m" / "refs").mkdir()
    (home / "models--o--m" / "refs" / "main").write_text("abc")
    snapshot.mkdir(parents=True)
    for file in (checkpoints / "vit").iterdir():
        blob = home / "models--o--m" / "blobs" / file.name
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blob)
    assert prepared("hf:o/m").card.source.startswith("hf:o/m, content ")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "dims", "message"),
    [
        (
            {"architectures": ["BertTurbo"]},
            {},
            "transformers has no architecture BertTurbo, as its config.json calls it",
        ),
        ({"architectures": None}, {}, "transformers has no architecture None"),
        ({"model_type": "turbo"}, {}, "transformers cannot read its config.json: "),
        ({"architectures": ["CLIPModel"], "model_type": "clip"}, {}, "it cannot be run on input_ids, attention_mask: "),
        ({"architectures": ["Wav2Vec2Model"], "model_type": "wav2vec2"}, {}, "it takes input_values, not tokens or im"),
        ({"hidden_size": 64}, {}, "transformers cannot load it: "),
        ({}, {"seq": 65}, "--dim seq=65: it takes at most 64 tokens"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    checkpoints: Path, tmp_path: Path, change: dict[str, Any], dims: dict[str, int], message: str
) -> None:
    (folder := tmp_path / "bert").mkdir()
    (folder / "model.safetensors").write_bytes((checkpoints / "bert" / "model.safetensors").read_bytes())
    config = json.loads((checkpoints / "bert" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(SelectionError) as caught:
        prepared(str(folder), **dims)
    assert str(caught.value).startswith(f"--model {folder}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.torch
def test_missing_weights_are_one_line(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoints / "vit" / "config.json").read_bytes())
    with pytest.raises(SelectionError, match=r"its weights are missing: put the .safetensors files beside"):
        prepared(str(tmp_path))


def test_without_its_packages_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "find_spec", lambda name: None if name == "transformers" else object())
    (tmp_path / "config.json").write_text("{}")
    for source in ("hf:google/vit", str(tmp_path)):
        with pytest.raises(
            ModelFileError, match=r"a checkpoint needs the package transformers: pip install -e '.\[hf\]'"
        ):
            preparing.find(source, {})
