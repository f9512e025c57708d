"""A packed artefact: every byte comes back, damage is told in one line, and what lies in no file is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import artefact, parts, recipes
from workloads.contract import Model, Unsupported, Workload
from workloads.forms import _files, _packed
from workloads.forms._files import belonging
from workloads.techniques.lossless import Lossless

CONTENT = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.binary(min_size=1, max_size=7), st.integers(1, 400)).map(lambda pair: pair[0] * pair[1]),
    st.lists(st.floats(width=32), max_size=60).map(lambda values: np.array(values, "<f4").tobytes() + b"\n"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(folder: Path, contents: list[bytes]) -> list[Path]:
    paths = [folder / f"file-{n}.bin" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@given(st.lists(CONTENT, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_every_byte_comes_back(contents: list[bytes]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        _packed.pack(written(folder, contents), folder / "packed")
        (out := folder / "out").mkdir()
        main = _packed.unpack(folder / "packed", out)
        assert main == out / "file-0.bin"
        assert [(out / f"file-{n}.bin").read_bytes() for n in range(len(contents))] == contents


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_byte_is_told_or_changes_nothing(place: int, change: int) -> None:
    contents = [b"graph " * 9, np.linspace(-1, 1, 50, dtype="<f4").tobytes()]
    with TemporaryDirectory() as name:
        folder = Path(name)
        _packed.pack(written(folder, contents), packed := folder / "packed")
        damaged = bytearray(packed.read_bytes())
        damaged[place % len(damaged)] ^= change
        packed.write_bytes(damaged)
        (out := folder / "out").mkdir()
        try:
            _packed.unpack(packed, out)
            said = ""
        except _packed.DamagedPackingError as error:
            said = str(error)
        if said:
            assert "is damaged" in said
            assert "\n" not in said
        else:
            assert [(out / f"file-{n}.bin").read_bytes() for n in range(2)] == contents


def test_a_file_cut_short_is_damaged(tmp_path: Path) -> None:
    _packed.pack(written(tmp_path, [b"graph " * 99]), packed := tmp_path / "packed")
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(_packed.DamagedPackingError, match=r"packed file .*packed is damaged .*: delete it"):
        _packed.unpack(packed, tmp_path)


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = written(tmp_path, [b"one", b"two"])
    for name in "ab":
        _packed.pack(files, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_planes_put_equal_exponents_together(tmp_path: Path) -> None:
    assert _packed._planes(b"abcdABCD!") == b"aAbBcCdD!"
    assert _packed._rows(b"aAbBcCdD!") == b"abcdABCD!"
    noise = np.random.default_rng(0).uniform(0.5, 1, 40_000).astype("<f4")
    (path,) = written(tmp_path, [noise.tobytes()])
    _packed.pack([path], packed := tmp_path / "packed")
    assert packed.stat().st_size < 0.8 * path.stat().st_size  # one byte of four is the same in all


def test_blocks_join_seamlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packed, "BLOCK_BYTES", 1024)
    noise = np.random.default_rng(0).uniform(0.5, 1, 1000).astype("<f4").tobytes() + b"end"
    _packed.pack(written(tmp_path, [noise]), packed := tmp_path / "packed")
    (out := tmp_path / "out").mkdir()
    assert _packed.unpack(packed, out).read_bytes() == noise


def small() -> Model:
    return parts.find(Workload, "digits-small").calibrated()


def test_an_engine_gets_the_graph_and_the_weights_beside_it() -> None:
    model, packing = small(), Lossless()
    made = artefact.make(model, "onnx", packing)
    before = {path.name: path.read_bytes() for path in belonging(model.form("onnx"))}
    assert before.keys() == {"digits-small.onnx", "weights.bin"}
    with artefact.unpacked(model, made, packing) as (ready, spent_ns):
        after = {path.name: path.read_bytes() for path in belonging(ready.form("onnx"))}
        assert ready.form("onnx") != model.form("onnx")
    assert after == before
    assert spent_ns is not None
    assert spent_ns > 0
    assert not ready.form("onnx").exists()
    assert made.packed is not None
    assert made.packed.stat().st_size < sum(map(len, before.values()))


def test_it_packs_what_a_technique_before_it_made() -> None:
    recipe = recipes.parse("lossless+int4-weights")
    assert recipe.name == "int4-weights+lossless"
    model = recipe.of(parts.find(Workload, "bytelm-small")).calibrated()
    made = artefact.make(model, "onnx", recipe.packing)
    with artefact.unpacked(model, made, recipe.packing) as (ready, _):
        assert ready.form("onnx").read_bytes() == model.form("onnx").read_bytes()
    assert made == artefact.make(model, "onnx", recipe.packing)


def test_what_lies_in_no_file_is_refused_in_one_line() -> None:
    model = replace(small(), made={"torch": lambda: object()})
    with pytest.raises(Unsupported, match="lossless: what the engine starts from lies in memory, so there is no file"):
        artefact.make(model, "torch", Lossless())
    assert artefact.make(model, "torch", None).path is None


def test_weights_belong_to_a_graph_that_names_them(tmp_path: Path) -> None:
    graph, named, other = written(tmp_path, [b"", b"1", b"2"])
    graph = graph.rename(tmp_path / "model.onnx")
    graph.write_bytes(b"..." + _files.LOCATION + bytes([len(named.name)]) + named.name.encode() + b"...")
    assert _files.belonging(graph) == [graph, named]
    assert _files.belonging(named) == [named]
    assert other.exists()
    network = graph.rename(tmp_path / "model.xml")
    assert _files.belonging(network) == [network, tmp_path / "model.bin"]


@pytest.mark.parametrize("location", ["below/weights.data", "./weights.data", "w" * 140 + ".data"])
def test_weights_in_a_folder_or_of_a_long_name_belong_too_and_come_back_there(tmp_path: Path, location: str) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    onnx.external_data_helper.set_external_data(weight, location, length=64)
    weight.ClearField("raw_data")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    (path := tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    beside = tmp_path / location
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(bytes(64))
    (tmp_path / "other.data").write_bytes(b"no part of it")
    assert _files.belonging(path) == [path, beside]
    _packed.pack(_files.belonging(path), packed := tmp_path / "packed")
    main = _packed.unpack(packed, tmp_path / "out")
    assert (main.read_bytes(), (tmp_path / "out" / location).read_bytes()) == (path.read_bytes(), bytes(64))
