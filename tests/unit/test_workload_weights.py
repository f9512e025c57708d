"""Manifests, the cache of weights, and what happens when it is damaged, shared or killed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import generator, weights
from workloads.contract import TensorSpec
from workloads.weights import DamagedWeightsError, Manifest, Tensor

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def manifest_of(tensors: tuple[Tensor, ...], content: bytes, file: str | None = None) -> Manifest:
    specs = (TensorSpec("x", "float32", (None, 3)),)
    digest = hashlib.sha256(content).hexdigest()
    return Manifest("tiny", "trained" if file else "seeded", file, specs, specs, len(content), digest, tensors)


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    folder = tmp_path / "graphs"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(b"a graph")
    return folder


@pytest.fixture
def seeded(graphs: Path) -> Manifest:
    laid = weights.layout({"a.weight": (3, 5), "a.bias": (5,), "b.weight": (700, 1000)})
    draws = (
        {"scale": 0.5, "centre": 0.0},
        {"scale": 0.1, "centre": 1.0},
        {"scale": 0.2, "centre": 0.0, "balanced": True},
    )
    tensors = tuple(replace(tensor, **draw) for tensor, draw in zip(laid, draws, strict=True))
    manifest = manifest_of(tensors, b"".join(weights.contents(tensors)))
    manifest.write(graphs)
    return manifest


@pytest.fixture
def trained(graphs: Path) -> Manifest:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    path = weights.save_trained("tiny.weights.bin", arrays, graphs)
    tensors = weights.layout({name: array.shape for name, array in arrays.items()})
    return manifest_of(tensors, path.read_bytes(), path.name)


def test_manifest_survives_writing(seeded: Manifest, graphs: Path):
    assert Manifest.read("tiny", graphs) == seeded


def test_missing_manifest_says_how_to_make_it(graphs: Path):
    with pytest.raises(FileNotFoundError, match=r"no other\.json: run \S+ -m workloads\.rebuild other"):
        Manifest.read("other", graphs)


@settings(deadline=None)  # on a busy machine
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_layout_aligns_and_never_overlaps(sizes: list[int]):
    tensors = weights.layout({f"t{index}": (size,) for index, size in enumerate(sizes)})
    end = 0
    for tensor in tensors:
        assert tensor.offset >= end
        assert tensor.offset % (4096 if 4 * tensor.size >= 4096 else 64) == 0
        end = tensor.end


def test_seeded_tensors_are_their_streams(seeded: Manifest, graphs: Path):
    arrays = weights.load(seeded, graphs)
    assert (arrays["a.weight"] == generator.uniform("weights/a.weight", (3, 5), 0.5)).all()
    assert (arrays["a.bias"] == generator.uniform("weights/a.bias", (5,), 0.1, 1.0)).all()
    assert (arrays["b.weight"] == generator.balanced("weights/b.weight", (700, 1000), 0.2)).all()


def test_trained_tensors_are_the_file(trained: Manifest, graphs: Path):
    arrays = weights.load(trained, graphs)
    assert arrays["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["b"].tolist() == [1, 1]


def test_weights_and_graph_lie_together_and_are_made_once(seeded: Manifest, graphs: Path, cache: Path):
    home = weights.materialise(seeded, graphs)
    assert home == cache / seeded.sha256[:16]
    assert (home / "tiny.onnx").read_bytes() == b"a graph"
    made = (home / weights.FILE_NAME).stat().st_mtime_ns
    assert weights.materialise(seeded, graphs) == home
    assert (home / weights.FILE_NAME).stat().st_mtime_ns == made
    assert not list(home.glob("*.part"))


def test_a_changed_graph_replaces_the_cached_one(seeded: Manifest, graphs: Path):
    weights.materialise(seeded, graphs)
    (graphs / "tiny.onnx").write_bytes(b"another")
    assert (weights.materialise(seeded, graphs) / "tiny.onnx").read_bytes() == b"another"


@pytest.mark.parametrize("position", [0, 100_000, -1])
def test_a_flipped_byte_in_the_cache_is_never_used(position: int, seeded: Manifest, graphs: Path):
    path = weights.materialise(seeded, graphs) / weights.FILE_NAME
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    weights.materialise(seeded, graphs)
    assert weights.sha256_of(path) == seeded.sha256


def test_a_generator_that_gives_other_numbers_is_refused(
    seeded: Manifest, graphs: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(generator, "GAMMA", 12345)
    with pytest.raises(DamagedWeightsError, match="another SHA-256: restore"):
        weights.materialise(seeded, graphs)
    assert {path.name for path in (cache / seeded.sha256[:16]).iterdir()} == {"lock"}


def test_a_flipped_byte_in_a_committed_file_is_refused(trained: Manifest, graphs: Path, cache: Path):
    content = bytearray((graphs / "tiny.weights.bin").read_bytes())
    content[3] ^= 1
    (graphs / "tiny.weights.bin").write_bytes(content)
    with pytest.raises(DamagedWeightsError, match="tiny"):
        weights.materialise(trained, graphs)
    assert not list(cache.rglob(weights.FILE_NAME))


def child(graphs: Path, before: str = "") -> subprocess.Popen[str]:
    script = f"""
import os, signal, sys, time
from pathlib import Path
from workloads import weights
{before}
manifest = weights.Manifest.read("tiny", Path({str(graphs)!r}))
home = weights.materialise(manifest, Path({str(graphs)!r}))
print(weights.sha256_of(home / weights.FILE_NAME))
"""
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)


# Blocks come slowly, so that the processes meet; each one says that it is the one that builds.
SLOW = """
whole = weights.contents
def slow(tensors):
    print("building", flush=True)
    for block in whole(tensors):
        time.sleep(0.02)
        yield block
weights.contents = slow
"""
KILLED = """
whole = weights.contents
def killed(tensors):
    for count, block in enumerate(whole(tensors)):
        if count == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield block
weights.contents = killed
"""


def test_of_processes_that_build_at_once_one_builds(seeded: Manifest, graphs: Path):
    children = [child(graphs, SLOW) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split() for process in children]
    assert [process.returncode for process in children] == [0, 0, 0]
    assert all(words[-1] == seeded.sha256 for words in said)
    assert sum("building" in words for words in said) == 1


def test_a_killed_build_leaves_nothing_half(seeded: Manifest, graphs: Path, cache: Path):
    process = child(graphs, KILLED)
    process.communicate(timeout=60)
    assert process.returncode == -9
    home = cache / seeded.sha256[:16]
    assert not (home / weights.FILE_NAME).exists()
    weights.materialise(seeded, graphs)
    assert weights.sha256_of(home / weights.FILE_NAME) == seeded.sha256
    assert not list(home.glob("*.part"))


def test_cache_stands_in_the_checkout_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ACCELMARK_CACHE")
    assert weights.cache_root() == ROOT / ".cache" / "accelmark"
