"""A Hugging Face checkpoint as an ONNX file: a folder with a config.json, or `hf:ID` from the local cache.

Nothing is ever downloaded. What is measured of a model that generates is its forward pass over the whole prompt,
without a cache: the prefill. Needs the packages of the extra `hf`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from workloads import onnxfile
from workloads.onnxfile import ModelFileError, OnnxFile
from workloads.weights import sha256_of

PREFIX = "hf:"
NEEDS = ("transformers", "torch", "onnxscript")
OPSET = 20
"""As of our own graphs: onnxruntime and openvino know it."""
SEQ, IMAGE = 128, 224
"""Tokens, and pixels of an image's side, where neither the checkpoint nor the user says."""
FOLDED_MAX = 4096
"""Elements of the largest constant that is computed beforehand: shapes, never weights."""
YOURSELF = "export it to ONNX yourself, and give that file"


def is_one(source: str) -> bool:
    return source.startswith(PREFIX) or (Path(source) / "config.json").is_file()


@dataclass(frozen=True)
class _Takes:
    """What a sample is: `shapes` of the inputs by name, batch left out, and the dimensions that a user can choose."""

    unit: str
    dtype: str
    shapes: Mapping[str, tuple[int, ...]]
    free: tuple[str, ...]


class Checkpoint:
    """A source as `bench/usermodel/preparing.py` takes it; raises ModelFileError for what cannot be measured."""

    external: Mapping[str, Path] = {}

    def __init__(self, source: str, dims: Mapping[str, int]) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
        self._folder = _cached(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else Path(source)
        self._name = source if source.startswith(PREFIX) else self._folder.name
        self._config = _config(self._folder)
        self._class = _class(self._config)
        self._takes = _takes(self._class, self._config, dims)
        self.free = ("batch", *self._takes.free)
        self.sample_unit = self._takes.unit

    @cached_property
    def digest(self) -> str:
        """Of the files, and of what translates them."""
        files = [path for path in sorted(self._folder.iterdir()) if path.suffix in (".json", ".safetensors", ".bin")]
        if all(path.suffix == ".json" for path in files):
            raise ModelFileError("its weights are missing: put the .safetensors files beside its config.json")
        content = [*((path.name, sha256_of(path)) for path in files), *_versions().items()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def told(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
        return f"{self._name}, content {self.digest[:16]}, {self._class.__name__} exported by {versions}"

    @property
    def task(self) -> str:
        generates = self._takes.dtype == "int64" and self._class.can_generate()
        return "forward pass over a prompt (prefill)" if generates else "a model of your own"

    def graph(self, scratch: Path) -> OnnxFile:
        """Export it to `scratch`."""
        (folder := scratch / "export").mkdir()
        model = self._loaded()
        _export(model, _example(self._takes), folder / "model.onnx")
        return onnxfile.read(folder / "model.onnx")

    def _loaded(self) -> Any:
        import torch

        self._config.use_cache = False
        try:
            model = self._class.from_pretrained(
                self._folder,
                config=self._config,
                local_files_only=True,
                attn_implementation="eager",  # the fused attention is no operator of ONNX
                dtype=torch.float32,
            )
        except Exception as error:
            raise ModelFileError(f"transformers cannot load it: {_line(error)}") from error
        return model.eval().requires_grad_(False)


def _cached(name: str) -> Path:
    """The folder of a checkpoint in the user's own cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError as error:
        raise ModelFileError(f"it is no name of a checkpoint: {_line(error)}") from error
    if not isinstance(found, str):
        raise ModelFileError(f"it is not in the local Hugging Face cache: fetch it first, hf download {name}")
    return Path(found).parent


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelFileError(f"transformers cannot read its config.json: {_line(error)}; {YOURSELF}") from error


def _class(config: Any) -> Any:
    import transformers

    name = next(iter(config.architectures or ()), None)
    if name is None or not hasattr(transformers, name):
        raise ModelFileError(f"transformers has no architecture {name}, as its config.json calls it; {YOURSELF}")
    return getattr(transformers, name)


def _takes(kind: Any, config: Any, dims: Mapping[str, int]) -> _Takes:
    if kind.main_input_name == "input_ids":
        longest = getattr(config, "max_position_embeddings", None) or max(SEQ, dims.get("seq", 0))
        seq = dims.get("seq", min(SEQ, longest))
        if seq > longest:
            raise ModelFileError(f"--dim seq={seq}: it takes at most {longest} tokens")
        names = ["input_ids", "attention_mask"] + ["decoder_input_ids"] * bool(config.is_encoder_decoder)
        return _Takes(f"sequence of {seq} tokens", "int64", dict.fromkeys(names, (seq,)), ("seq",))
    if kind.main_input_name == "pixel_values":
        said = getattr(config, "image_size", None)
        side = said if isinstance(said, int) else dims.get("image", IMAGE)
        sides = tuple(said) if isinstance(said, (list, tuple)) else (side, side)
        shape = (getattr(config, "num_channels", 3), *sides)
        return _Takes("image", "float32", {"pixel_values": shape}, () if said else ("image",))
    raise ModelFileError(f"it takes {kind.main_input_name}, not tokens or images; {YOURSELF}")


def _example(takes: _Takes) -> dict[str, Any]:
    import torch

    return {name: torch.ones((2, *shape), dtype=getattr(torch, takes.dtype)) for name, shape in takes.shapes.items()}


def _export(model: Any, example: Mapping[str, Any], path: Path) -> None:
    """As `workloads/rebuild.py` does, but with weights: what is known beforehand is computed, nothing else changed."""
    import torch
    from onnxscript import optimizer

    outputs = _tensors(model, example)
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _by_position(model, list(example), outputs),
                tuple(example.values()),
                dynamo=True,
                optimize=False,
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                input_names=list(example),
                output_names=outputs,
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:
            raise ModelFileError(f"torch cannot export it: {_line(error)}; {YOURSELF}") from error
    optimizer.fold_constants(program.model, output_size_limit=FOLDED_MAX)
    optimizer.remove_unused_nodes(program.model)
    program.save(path)


def _tensors(model: Any, example: Mapping[str, Any]) -> list[str]:
    """Names of the tensors that it returns."""
    import torch

    try:
        with torch.inference_mode():
            returned = model(**example)
    except Exception as error:
        raise ModelFileError(f"it cannot be run on {', '.join(example)}: {_line(error)}; {YOURSELF}") from error
    return [name for name, value in returned.items() if isinstance(value, torch.Tensor)]


def _by_position(model: Any, inputs: list[str], outputs: list[str]) -> Any:
    import torch

    class ByPosition(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> tuple[Any, ...]:
            returned = self.model(**dict(zip(inputs, values)))
            return tuple(returned[name] for name in outputs)

    return ByPosition().eval()


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "transformers")}


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
