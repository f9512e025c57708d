"""Every seeded workload: its card is true, its samples are distinct, its golden tells right answers from wrong ones."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from workloads import rebuild, weights
from workloads.contract import Unsupported
from workloads.models.autoencoder import Autoencoder
from workloads.models.bert_base import CLS, BertBase
from workloads.models.ceilings import MatMul, MatVec
from workloads.models.kws import KeywordSpotting
from workloads.models.llama import (
    Llama1BDecode,
    Llama1BPrefill,
    Llama7BDecode,
    Llama7BPrefill,
    LlamaDecode,
    LlamaPrefill,
)
from workloads.models.mobilenetv2 import MobileNetV2
from workloads.models.resnet8 import ResNet8
from workloads.models.resnet50 import ResNet50
from workloads.seeded import Seeded

SMALL = (Autoencoder, KeywordSpotting, ResNet8, MobileNetV2)
DECODERS = (LlamaPrefill, LlamaDecode, Llama1BPrefill, Llama1BDecode, Llama7BPrefill, Llama7BDecode)
LARGE = (BertBase, MatMul, MatVec, ResNet50, *DECODERS)
every = pytest.mark.parametrize("kind", [*SMALL, *LARGE], ids=lambda kind: kind.card.name)
small = pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.card.name)


@every
def test_card_agrees_with_the_manifest(kind: type[Seeded]):
    card, manifest = kind.card, kind().manifest
    statistics = [t.size for t in manifest.tensors if t.name.endswith(("running_mean", "running_var"))]
    assert card.weight_bytes == 4 * sum(tensor.size for tensor in manifest.tensors)
    assert card.parameters == card.weight_bytes // 4 - sum(statistics)
    outputs = sum(np.dtype(spec.dtype).itemsize * math.prod(spec.shape[1:]) for spec in manifest.outputs)
    assert card.io_bytes == outputs + sum(array.nbytes for array in kind().samples("perf", 1, 0).inputs.values())
    assert card.name == manifest.name
    assert manifest.source == "seeded"


@pytest.mark.parametrize(
    ("kind", "parameters", "multiply_adds"),
    [
        (ResNet50, 25_557_032, 4.09e9),  # torchvision.models.resnet50
        (MobileNetV2, 3_504_872, 0.300e9),  # torchvision.models.mobilenet_v2; Sandler et al. 2018, table 4: 300M
        (BertBase, 109_482_240, 11.17e9),  # Hugging Face bert-base-uncased, with its pooler
        (Llama1BDecode, 1_100_048_384, 1.046e9),  # TinyLlama 1.1B; the table of tokens is looked up, not multiplied
        (Llama7BDecode, 7_241_732_096, 7.14e9),  # Mistral 7B v0.1
        (ResNet8, None, 12.5e6),  # Banbury et al. 2021, MLPerf Tiny, table 1
        (KeywordSpotting, None, 2.7e6),
        (Autoencoder, None, 0.264e6),
    ],
)
def test_card_agrees_with_what_is_published(kind: type[Seeded], parameters: int | None, multiply_adds: float):
    assert parameters is None or kind.card.parameters == parameters
    assert kind.card.flops / 2 == pytest.approx(multiply_adds, rel=0.02)


@every
def test_samples_fit_the_inputs(kind: type[Seeded]):
    inputs = kind().samples("perf", 3, 0).inputs
    specs = kind().manifest.inputs
    assert [spec.name for spec in specs] == list(inputs)
    for spec in specs:
        assert inputs[spec.name].dtype == spec.dtype
        assert inputs[spec.name].shape == (3, *spec.shape[1:])


@every
def test_samples_repeat_and_splits_share_none(kind: type[Seeded]):
    def rows(split: str, n: int, seed: int) -> list[bytes]:
        inputs = kind().samples(split, n, seed).inputs
        return [b"".join(array[row].tobytes() for array in inputs.values()) for row in range(n)]

    perf = rows("perf", 4, 0)
    assert rows("perf", 2, 0) == perf[:2]
    others = [row for split in ("perf", "calibration", "evaluation") for row in rows(split, 4, 1)]
    assert len({*perf, *others}) == 16


def test_bert_samples_are_padded_sequences():
    inputs = BertBase().samples("perf", 50, 0).inputs
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = mask.sum(axis=1)
    assert (ids[:, 0] == CLS).all()
    assert ((ids > 0) == (mask == 1)).all()
    assert (np.diff(mask, axis=1) <= 0).all(), "padding comes last"
    assert lengths.min() >= 32
    assert len(set(lengths.tolist())) > 20


@every
def test_golden_outputs_tell_samples_apart(kind: type[Seeded]):
    golden, shapes = kind().golden(), {spec.name: spec.shape for spec in kind().manifest.outputs}
    assert golden.steps == (3 if "decode" in kind.card.name else 1)
    for name, array in golden.outputs.items():
        assert array.shape == (12, *shapes[name][1:])
        assert np.isfinite(array).all()
        centred = unit(array - array.mean(axis=0))
        nearest = (centred @ centred.T - 2 * np.eye(12)).max()
        floor = kind().tolerance("bf16").centred_cosine_min
        assert nearest < floor - 0.05, "another sample's output has to fall well below the floor"


@every
def test_a_precision_that_was_never_tried_is_unsupported(kind: type[Seeded]):
    with pytest.raises(Unsupported, match="no tolerance for int3"):
        kind().tolerance("int3")


@pytest.mark.parametrize("pair", [DECODERS[:2], DECODERS[2:4], DECODERS[4:]])
def test_both_llamas_share_one_file(pair: tuple[type[Seeded], type[Seeded]]):
    prefill, decode = (kind().manifest for kind in pair)
    assert prefill.sha256 == decode.sha256
    assert prefill.tensors == decode.tensors


@every
def test_digest_names_the_content(kind: type[Seeded]):
    model = kind().model()
    assert model.digest == kind().model().digest
    assert len({other().model().digest for other in (*SMALL, *LARGE)}) == len(SMALL + LARGE)


@small
@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_agrees_with_golden(kind: type[Seeded], batch: int):
    outputs, golden = onnxruntime_outputs(kind, batch), kind().golden().outputs
    tolerance = kind().tolerance("fp32")
    for name, right in golden.items():
        mean = right.mean(axis=0)
        assert (unit(outputs[name] - mean) * unit(right - mean)).sum(axis=1).min() >= tolerance.centred_cosine_min
        assert tolerance.relative_error_max is not None
        assert np.abs(outputs[name] - right).max() / np.abs(right).max() <= tolerance.relative_error_max / 10


@small
def test_wrong_answers_fall_below_the_loosest_floor(kind: type[Seeded]):
    golden, floor = next(iter(kind().golden().outputs.values())), kind().tolerance("bf16").centred_cosine_min
    mean, right = golden.mean(axis=0), unit(golden - golden.mean(axis=0))
    for wrong in (np.roll(golden, 1, axis=0), golden[:1].repeat(12, axis=0), np.zeros_like(golden), golden[:, ::-1]):
        assert (unit(wrong - mean) * right).sum(axis=1).min() < floor


def test_onnx_form_is_a_users_own_file_where_it_is():
    from workloads.contract import Model
    from workloads.forms import onnx

    assert str(onnx.build(Model("mine", "", (), (), origin="/a/b.onnx"))) == "/a/b.onnx"


def unit(rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)


@cache
def session(kind: type[Seeded]):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = kind().model().form("onnx")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnxruntime_outputs(kind: type[Seeded], batch: int) -> dict[str, np.ndarray]:
    inputs = kind().samples("perf", 12, 0).inputs
    names = [spec.name for spec in kind().manifest.outputs]
    runs = [
        session(kind).run(names, {key: array[first : first + batch] for key, array in inputs.items()})
        for first in range(0, 12, batch)
    ]
    return {name: np.concatenate([run[index] for run in runs]) for index, name in enumerate(names)}


@every
def test_graph_refers_to_the_manifests_tensors_and_names_no_machine(kind: type[Seeded]):
    import onnx

    path = weights.GRAPHS / f"{kind.card.name}.onnx"
    for trace in (b"site-packages", b".py", b"stack_trace", b"/home", b"/work", b"/root"):
        assert trace not in path.read_bytes()
    graph = onnx.load(path, load_external_data=False).graph
    referred = {i.name: (tuple(i.dims), entries(i)) for i in graph.initializer if i.external_data}
    expected = {
        t.name: (t.shape, {"location": "weights.bin", "offset": str(t.offset), "length": str(4 * t.size)})
        for t in kind().manifest.tensors
    }
    assert referred == expected
    assert [value.name for value in graph.output] == list(kind.outputs)
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output))
    inline = sum(len(initializer.raw_data) for initializer in graph.initializer)
    assert inline < 50_000, "weights are not to be committed"


def entries(initializer) -> dict[str, str]:
    return {entry.key: entry.value for entry in initializer.external_data}


def test_rebuild_rejects_an_unknown_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["rebuild", "resnet51"])
    with pytest.raises(SystemExit) as caught:
        rebuild.main()
    assert caught.value.code == 2
    assert "unknown workload resnet51; known: autoencoder, bert-base" in capsys.readouterr().err
