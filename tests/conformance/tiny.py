"""Four networks small enough for any device, each with its right answers written once more in numpy and float64.

They come as ONNX files and torch modules; every other form (a .tflite, a jax function) is lowered from the ONNX file by
`workloads/forms/`, as it is for a user's own model. Calibration samples are none of those that the tests ask for.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from workloads.contract import Model, Samples, TensorSpec, Unsupported

Arrays = Mapping[str, np.ndarray]


CALIBRATION_SEED = 1_000_001


@dataclass(frozen=True)
class TinyModel(Model):
    """`origin` is where the ONNX file will lie."""

    makers: Mapping[str, Callable[[], Any]] = field(default_factory=dict, compare=False, repr=False)

    def form(self, name: str) -> Any:
        if name in self.makers:
            if name not in self._forms:
                self._forms[name] = self.makers[name]()
            return self._forms[name]
        if "onnx" not in self.makers or name == "torch":
            raise Unsupported(f"no lowering of {self.name} to {name}")
        self.form("onnx")
        return super().form(name)


@cache
def folder() -> Path:
    """Where this process keeps the networks' files."""
    made = Path(tempfile.mkdtemp(prefix="accelmark-tiny-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@dataclass(frozen=True)
class Tiny:
    """`answer` takes and gives arrays by name, in float64."""

    model: Model
    inputs: Callable[[int, int], Arrays]
    answer: Callable[[Arrays], Arrays]
    feedback: Mapping[str, str] = field(default_factory=dict)


NAMES = ("convolution", "pair", "walk", "sequence")


@cache
def make(name: str, folder: Path) -> Tiny:
    """A network whose files go to `folder`."""
    made = {"convolution": _convolution, "pair": _pair, "walk": _walk, "sequence": _sequence}[name](folder)
    calibration = lambda n: Samples(made.inputs(n, CALIBRATION_SEED))  # noqa: E731
    return replace(made, model=replace(made.model, net=lambda: _plain(made), calibration=calibration))


def _plain(made: Tiny) -> Callable[..., Arrays]:
    """The network as a function of arrays, for engines that take nothing else (tests/fakes)."""

    def function(**arrays: np.ndarray) -> Arrays:
        outputs = made.answer(arrays)
        return {spec.name: outputs[spec.name].astype(spec.dtype) for spec in made.model.outputs}

    return function


def unknown_operator(folder: Path) -> Model:
    """A graph of the standard's form with an operator that nobody has."""
    inputs, outputs = (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 4)),)
    nodes = [("NobodyHasThis", ["x"], ["y"], {"domain": "org.example"})]
    return _model("unknown-operator", folder, inputs, outputs, nodes, {})


def _weights(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _model(
    name: str,
    folder: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]],
    weights: Mapping[str, np.ndarray],
    forward: Callable[..., Any] | None = None,
) -> Model:
    def as_onnx() -> Path:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}

        def value(spec: TensorSpec) -> Any:
            shape = ["batch" if i == 0 else size or "free" for i, size in enumerate(spec.shape)]
            return helper.make_tensor_value_info(spec.name, kinds[spec.dtype], shape)

        graph = helper.make_graph(
            [helper.make_node(kind, *ends, **attributes) for kind, *ends, attributes in nodes],
            name,
            [value(spec) for spec in inputs],
            [value(spec) for spec in outputs],
            [numpy_helper.from_array(array, key) for key, array in weights.items()],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("org.example", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return path

    def as_torch() -> Any:
        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                tensors = {key: torch.from_numpy(array) for key, array in weights.items()}
                kept = {key: torch.nn.Parameter(t, requires_grad=False) for key, t in tensors.items()}
                self.weights = torch.nn.ParameterDict(kept)

            def forward(self, *values: Any) -> Any:
                assert forward is not None
                return forward(self.weights, *values)

        return Net().eval().requires_grad_(False)

    path = folder / f"{name}.onnx"
    content = repr((nodes, [(key, array.tobytes()) for key, array in weights.items()]))
    digest = hashlib.sha256(content.encode()).hexdigest()
    makers = {"onnx": as_onnx} | ({"torch": as_torch} if forward else {})
    return TinyModel(f"tiny-{name}", digest, inputs, outputs, str(path), makers=makers)


def _convolution(folder: Path) -> Tiny:
    """3x3 convolution, ReLU, mean over the image, dense layer: (batch, 3, 8, 8) to (batch, 5)."""
    w = _weights(1, kernel=(6, 3, 3, 3), bias=(6,), dense=(6, 5), offset=(5,))
    w["axes"] = np.array([2, 3], np.int64)

    def answer(arrays: Arrays) -> Arrays:
        padded = np.pad(arrays["image"].astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        maps = np.einsum("nchwij,ocij->nohw", windows, w["kernel"].astype(float)) + w["bias"][:, None, None]
        return {"scores": np.maximum(maps, 0).mean((2, 3)) @ w["dense"] + w["offset"]}

    def forward(p: Any, image: Any) -> Any:
        import torch

        maps = torch.nn.functional.conv2d(image, p["kernel"], p["bias"], padding=1)
        return maps.relu().mean((2, 3)) @ p["dense"] + p["offset"]

    nodes = [
        ("Conv", ["image", "kernel", "bias"], ["maps"], {"pads": [1, 1, 1, 1]}),
        ("Relu", ["maps"], ["positive"], {}),
        ("ReduceMean", ["positive", "axes"], ["pooled"], {"keepdims": 0}),
        ("Gemm", ["pooled", "dense", "offset"], ["scores"], {}),
    ]
    specs = (TensorSpec("image", "float32", (None, 3, 8, 8)),), (TensorSpec("scores", "float32", (None, 5)),)
    model = _model("convolution", folder, *specs, nodes, w, forward)
    return Tiny(model, lambda n, seed: {"image": _floats(seed, n, 3, 8, 8)}, answer)


def _pair(folder: Path) -> Tiny:
    """A table looked up by integers and scaled: two inputs of different types, two outputs of different ranks."""
    w = _weights(2, table=(11, 6))
    w["one"] = np.array([1], np.int64)

    def answer(arrays: Arrays) -> Arrays:
        picked = w["table"].astype(float)[arrays["index"]] * arrays["scale"][:, None, :]
        return {"picked": picked, "total": picked.sum(1)}

    def forward(p: Any, scale: Any, index: Any) -> Any:
        picked = p["table"][index] * scale[:, None, :]
        return picked, picked.sum(1)

    nodes = [
        ("Gather", ["table", "index"], ["rows"], {}),
        ("Unsqueeze", ["scale", "one"], ["wide"], {}),
        ("Mul", ["rows", "wide"], ["picked"], {}),
        ("ReduceSum", ["picked", "one"], ["total"], {"keepdims": 0}),
    ]
    inputs = TensorSpec("scale", "float32", (None, 6)), TensorSpec("index", "int64", (None, 3))
    outputs = TensorSpec("picked", "float32", (None, 3, 6)), TensorSpec("total", "float32", (None, 6))

    def samples(n: int, seed: int) -> Arrays:
        return {"scale": _floats(seed, n, 6), "index": np.random.default_rng(seed).integers(0, 11, (n, 3))}

    return Tiny(_model("pair", folder, inputs, outputs, nodes, w, forward), samples, answer)


def _walk(folder: Path) -> Tiny:
    """A recurrent step with a float state and an integer position, both fed back, like a KV cache."""
    w = _weights(3, matrix=(4, 4), rate=(1,))
    w["one"] = np.array([1], np.int64)

    def answer(arrays: Arrays) -> Arrays:
        state, position = arrays["state"].astype(float), arrays["position"]
        return {"next_state": np.tanh(state @ w["matrix"]) + position * w["rate"], "next_position": position + 1}

    def forward(p: Any, state: Any, position: Any) -> Any:
        return (state @ p["matrix"]).tanh() + position * p["rate"], position + 1

    nodes = [
        ("MatMul", ["state", "matrix"], ["mixed"], {}),
        ("Tanh", ["mixed"], ["bounded"], {}),
        ("CastLike", ["position", "rate"], ["count"], {}),
        ("Mul", ["count", "rate"], ["drift"], {}),
        ("Add", ["bounded", "drift"], ["next_state"], {}),
        ("Add", ["position", "one"], ["next_position"], {}),
    ]
    inputs = TensorSpec("state", "float32", (None, 4)), TensorSpec("position", "int64", (None, 1))
    outputs = TensorSpec("next_state", "float32", (None, 4)), TensorSpec("next_position", "int64", (None, 1))

    def samples(n: int, seed: int) -> Arrays:
        return {"state": _floats(seed, n, 4), "position": np.zeros((n, 1), np.int64)}

    feedback = {"next_state": "state", "next_position": "position"}
    return Tiny(_model("walk", folder, inputs, outputs, nodes, w, forward), samples, answer, feedback)


def _sequence(folder: Path) -> Tiny:
    """A dense layer over a sequence of any length: (batch, length, 8) to (batch, length, 5)."""
    w = _weights(4, dense=(8, 5), offset=(5,))

    def answer(arrays: Arrays) -> Arrays:
        return {"y": np.maximum(arrays["x"].astype(float) @ w["dense"] + w["offset"], 0)}

    def forward(p: Any, x: Any) -> Any:
        return (x @ p["dense"] + p["offset"]).relu()

    nodes = [
        ("MatMul", ["x", "dense"], ["product"], {}),
        ("Add", ["product", "offset"], ["sum"], {}),
        ("Relu", ["sum"], ["y"], {}),
    ]
    specs = (TensorSpec("x", "float32", (None, None, 8)),), (TensorSpec("y", "float32", (None, None, 5)),)
    model = _model("sequence", folder, *specs, nodes, w, forward)
    return Tiny(model, lambda n, seed: {"x": _floats(seed, n, 5 + 4 * (seed % 2), 8)}, answer)


def _floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
