"""The manifest beside every committed graph, and the weights file it describes.

A graph in `workloads/graphs/<name>.onnx` holds no weights: it refers to a file "weights.bin" beside it. The manifest
`workloads/graphs/<name>.json` says what that file contains:

    {
      "name": "resnet8",
      "source": "seeded",                  # or "trained"
      "file": null,                        # trained: the committed raw file beside, "digits-small.weights.bin"
      "inputs":  [{"name": "x", "dtype": "float32", "shape": [null, 3, 32, 32]}],
      "outputs": [{"name": "logits", "dtype": "float32", "shape": [null, 10]}],
      "bytes": 314112,                     # length of weights.bin
      "sha256": "...",                     # of weights.bin
      "tensors": [
        {"name": "stem.weight", "shape": [16, 3, 3, 3], "offset": 0, "centre": 0.0, "scale": 0.47}, ...
      ]
    }

Tensors are little-endian float32, named as in the torch module's state_dict, tied ones once, each at an offset that is
a multiple of 64 bytes (4096 from 4096 bytes up, so that they can be mapped), zeros between. A seeded tensor is the
stream `weights/<tensor name>` of `workloads/generator.py`, uniform in [centre - scale, centre + scale), or with
`"balanced": true` each row less its mean. A trained one has only a name, a shape and an offset.

What training made of another workload's network for a technique is `<workload>+<technique>`. Its file is stored
compressed ("digits-large+distill.weights.bin.gz", as pruned weights are mostly zeros), and `made` says how it was
trained; the hash and the length are those of weights.bin itself.
`python -m workloads.rebuild` writes graph and manifest; nothing here needs onnx or torch.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.contract import TensorSpec

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

GRAPHS = Path(__file__).parent / "graphs"
FILE_NAME = "weights.bin"
LARGE_BYTES = 2 << 30
"""Weights of more are drawn where they are used, rather than read from a file (`workloads/drawing.py`)."""
_PAGE_BYTES = 4096
_READ_BYTES = 1 << 20


class DamagedWeightsError(Exception):
    """The weights are not the ones that the manifest names."""


@dataclass(frozen=True)
class Tensor:
    """One float32 tensor in weights.bin. How it is drawn is None when it was trained."""

    name: str
    shape: tuple[int, ...]
    offset: int
    centre: float | None = None
    scale: float | None = None
    balanced: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        return self.offset + 4 * self.size


@dataclass(frozen=True)
class Made:
    """How a technique's network was trained, and what came out.

    `net` is a module in `workloads/nets/`, `size` the fields of its `Size`. `samples` is how many there were to learn
    from, of which `steps` batches of `batch` were drawn; `cpu_s` are processor seconds on one core. `quality` is the
    card's metric on all evaluation samples, computed in torch.
    """

    net: str
    size: Mapping[str, float]
    steps: int
    batch: int
    seed: int
    samples: int
    cpu_s: float
    quality: float

    def build(self) -> Any:
        """The torch module, its weights not yet filled in."""
        module = importlib.import_module(f"workloads.nets.{self.net}")
        return module.build(module.Size(**self.size))


@dataclass(frozen=True)
class Manifest:
    """What the file of a workload's weights contains; the module's docstring shows it."""

    name: str
    source: str
    file: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    bytes: int
    sha256: str
    tensors: tuple[Tensor, ...]
    made: Made | None = None

    @property
    def large(self) -> bool:
        return self.bytes > LARGE_BYTES

    @classmethod
    def read(cls, name: str, folder: Path = GRAPHS) -> Manifest:
        """The manifest of the graph called `name`; FileNotFoundError says how to make it."""
        path = folder / f"{name}.json"
        if not path.exists():
            tool = "retrain" if "+" in name else "rebuild"
            raise FileNotFoundError(f"no {path.name}: run .venv-torch/bin/python -m workloads.{tool} {name}")
        values = json.loads(path.read_text())
        for key in ("inputs", "outputs"):
            values[key] = tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in values[key])
        values["tensors"] = tuple(Tensor(**{**t, "shape": tuple(t["shape"])}) for t in values["tensors"])
        values["made"] = Made(**values["made"]) if "made" in values else None
        return cls(**values)

    def write(self, folder: Path = GRAPHS) -> None:
        """One line per tensor, so that a change reads well in a diff."""
        known = {key: value for key, value in asdict(self).items() if key != "made" or value is not None}
        fields = (f"  {json.dumps(key)}: {_json(value)}" for key, value in known.items())
        (folder / f"{self.name}.json").write_text("{\n" + ",\n".join(fields) + "\n}\n")


def _json(value: Any) -> str:
    if not isinstance(value, tuple):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(_compact(item))}" for item in value) + "\n  ]"


def _compact(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if value is not None and value is not False}


def cache_root() -> Path:
    """Where weights are kept: $ACCELMARK_CACHE, else .cache/accelmark in the checkout."""
    chosen = os.environ.get("ACCELMARK_CACHE")
    return Path(chosen) if chosen else Path(__file__).parents[1] / ".cache" / "accelmark"


def aligned(offset: int, size_bytes: int) -> int:
    """The next offset at which a tensor of `size_bytes` may begin."""
    step = _PAGE_BYTES if size_bytes >= _PAGE_BYTES else 64
    return -(-offset // step) * step


def layout(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Tensors of these shapes, by name, laid out one after another in the order given."""
    tensors: list[Tensor] = []
    end = 0
    for name, shape in shapes.items():
        tensors.append(Tensor(name, shape, aligned(end, 4 * math.prod(shape))))
        end = tensors[-1].end
    return tuple(tensors)


def save_trained(file: str, arrays: Arrays, folder: Path = GRAPHS) -> Path:
    """Write the committed file of a trained network from its float32 tensors, in state_dict order."""
    import numpy as np

    path, position, blocks = folder / file, 0, []
    for tensor in layout({key: array.shape for key, array in arrays.items()}):
        blocks += [bytes(tensor.offset - position), np.ascontiguousarray(arrays[tensor.name], "<f4").tobytes()]
        position = tensor.end
    content = b"".join(blocks)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def stored(path: Path) -> bytes:
    """The bytes of weights.bin in a committed file of trained weights."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def contents(tensors: tuple[Tensor, ...]) -> Iterator[bytes | memoryview]:
    """The bytes of a seeded weights file, in order."""
    position = 0
    for tensor in tensors:
        yield bytes(tensor.offset - position)
        for chunk in _drawn(tensor):
            yield chunk.astype("<f4", copy=False).data
        position = tensor.end


def _drawn(tensor: Tensor) -> Iterable[Array]:
    from workloads import generator

    stream = f"weights/{tensor.name}"
    if tensor.scale is None or tensor.centre is None:
        raise ValueError(f"tensor {tensor.name} was trained: its values come from a file")
    if tensor.balanced:
        return (generator.balanced(stream, tensor.shape, tensor.scale).reshape(-1),)
    return generator.uniform_chunks(stream, tensor.size, tensor.scale, tensor.centre)


def sha256_of(path: Path) -> str:
    digest, buffer = hashlib.sha256(), bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def materialise(manifest: Manifest, folder: Path = GRAPHS) -> Path:
    """The folder that holds weights.bin, whose SHA-256 has just been checked, and the graph beside it.

    A file that is missing or damaged is made anew, under a lock: of two processes one builds and the other waits. A
    build that is killed leaves a part file, which the next one overwrites. Raises DamagedWeightsError when what comes
    out is not what the manifest names.
    """
    home = _home(manifest)
    path, graph = home / FILE_NAME, folder / f"{manifest.name}.onnx"
    if _intact(path, manifest) and _same(graph, home / graph.name):
        return home
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        if not _intact(path, manifest):
            _write(path, manifest, folder)
        if not _same(graph, home / graph.name):
            shutil.copyfile(graph, part := home / f"{graph.name}.part")
            part.replace(home / graph.name)
    return home


def lacking_bytes(manifest: Manifest) -> int:
    """By how much the disk is too small for weights.bin; 0 where it has room, or has the file."""
    path = _home(manifest) / FILE_NAME
    if path.exists() and path.stat().st_size == manifest.bytes:
        return 0
    there = next(folder for folder in path.parents if folder.exists())
    return max(0, manifest.bytes - shutil.disk_usage(there).free)


def load(manifest: Manifest, folder: Path = GRAPHS) -> Arrays:
    """The tensors by name, mapped from the cache copy-on-write."""
    import numpy as np

    path = materialise(manifest, folder) / FILE_NAME
    data = np.memmap(path, "<f4", mode="c")
    return {t.name: data[t.offset // 4 : t.end // 4].reshape(t.shape) for t in manifest.tensors}


def _home(manifest: Manifest) -> Path:
    return cache_root() / manifest.sha256[:16]


def _intact(path: Path, manifest: Manifest) -> bool:
    return path.exists() and path.stat().st_size == manifest.bytes and sha256_of(path) == manifest.sha256


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, manifest: Manifest, folder: Path) -> None:
    part, digest = path.with_suffix(".part"), hashlib.sha256()
    blocks = contents(manifest.tensors) if manifest.file is None else iter([stored(folder / manifest.file)])
    with part.open("wb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
    if digest.hexdigest() != manifest.sha256:
        part.unlink()
        raise DamagedWeightsError(f"weights of {manifest.name} have another SHA-256: restore workloads/graphs from git")
    part.replace(path)


def _same(one: Path, other: Path) -> bool:
    return other.exists() and other.read_bytes() == one.read_bytes()
