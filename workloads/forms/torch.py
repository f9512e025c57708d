"""The network as a torch module in eval mode, its weights the manifest's, or those of a graph that a technique made."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads import weights
from workloads.contract import Model, Unsupported
from workloads.forms._packages import installed

if TYPE_CHECKING:
    from workloads.contract import Arrays


class Recipe:
    """A network too large to lie in host memory and be copied from there: `place` makes it where it is to run."""

    def __init__(self, net: Callable[[], Any], manifest: weights.Manifest) -> None:
        self._net, self._manifest = net, manifest

    def place(self, device: Any, dtype: Any) -> Any:
        """A new module in eval mode on a torch device, its weights drawn there, in `dtype`."""
        from workloads import drawing

        return drawing.place(drawing.hollow(self._net), self._manifest.tensors, device, dtype)


def build(model: Model) -> Any:
    """The module: inputs in `Model.inputs` order, outputs in theirs, a tuple where there are several.

    For a network with large weights a `Recipe` in its place.
    """
    import torch

    if model.net is None:
        raise Unsupported(_no_module(model))
    manifest = None if model.origin.endswith(".onnx") else weights.Manifest.read(model.origin)
    if manifest and manifest.large:
        return Recipe(model.net, manifest)
    with _uninitialised():
        net = model.net()
    arrays = weights.load(manifest) if manifest else _of_graph(Path(model.origin), net.state_dict())
    missing, unexpected = net.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False)
    _refuse_unknown(net, missing, unexpected)
    return net.eval().requires_grad_(False)


def _no_module(model: Model) -> str:
    if model.made:
        return f"{'+'.join(model.recipe)} makes a graph, which torch cannot run: use int8-dynamic or int8-weights"
    return f"{model.name} comes as an ONNX file, which torch cannot run: use an engine that reads ONNX"


def _of_graph(path: Path, names: Container[str]) -> Arrays:
    """Weights by name, as our graphs have them from the module, without the constants that only a graph has."""
    installed("torch", "techniques", "onnx")
    import onnx

    stored = onnx.load(path).graph.initializer
    return {one.name: onnx.numpy_helper.to_array(one).copy() for one in stored if one.name in names}


def _uninitialised() -> Any:
    """A context in which layers keep whatever is in memory: drawing numbers to overwrite them takes seconds."""
    from torch.overrides import TorchFunctionMode

    class Uninitialised(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__module__", "") == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    return Uninitialised()


def _refuse_unknown(net: Any, missing: list[str], unexpected: list[str]) -> None:
    """Tied duplicates and BatchNorm's batch counters are not in the manifest; anything else is a wrong manifest."""
    tensors = net.state_dict(keep_vars=True)
    filled = {id(tensor) for name, tensor in tensors.items() if name not in missing}
    wrong = [name for name in missing if tensors[name].is_floating_point() and id(tensors[name]) not in filled]
    if wrong or unexpected:
        raise ValueError(f"manifest and network disagree on {', '.join(wrong + unexpected)}: run make graphs")
