"""Make, or check, what is committed in `workloads/graphs/`: `python -m workloads.rebuild [--check] [NAME ...]`.

Per workload: `<name>.onnx` (no weights), `<name>.json` (the manifest, see `workloads/weights.py`) and
`<name>.golden.npz` (outputs of a float64 run). Needs torch, onnx and onnxscript. A check builds anew beside and
compares operators, tensors and golden outputs, not bytes: another version of torch may write the same graph otherwise.

A name with a plus is what a technique ships (`workloads/outcomes.py`): a graph and a manifest. Without names it takes
those, and what is measured without being named. A network with large weights never has them all in memory, and takes
minutes for its golden outputs.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import math
import pkgutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import drawing, models, weights
from workloads.contract import TensorSpec
from workloads.exporting import export
from workloads.nets.initial import draw, state
from workloads.outcomes import Outcome, file_of, shipped
from workloads.seeded import Committed

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

    Tensors = tuple[weights.Tensor, ...]

GOLDEN_CLOSE = 1e-5


def workloads() -> dict[str, Committed]:
    """Every workload that has a committed graph, by name."""
    made = [kind() for kind in _kinds() if not getattr(kind, "__abstractmethods__", None)]
    return {workload.card.name: workload for workload in made}


def outcomes() -> dict[str, Outcome]:
    """What techniques ship for them, by name."""
    return {one.card.name: one for workload in workloads().values() for one in shipped(workload)}


def incomplete() -> list[str]:
    """A line for each workload that cannot be made yet: its class, its file, what it lacks."""
    halves = [(kind, getattr(kind, "__abstractmethods__", ())) for kind in _kinds()]
    return [f"{k.__name__} of {k.__module__} lacks {', '.join(sorted(missing))}" for k, missing in halves if missing]


def _kinds() -> Iterator[type[Committed]]:
    for module in pkgutil.iter_modules(models.__path__):
        name = f"workloads.models.{module.name}"
        for kind in vars(importlib.import_module(name)).values():
            known = isinstance(kind, type) and issubclass(kind, Committed) and kind.__module__ == name
            if known and not kind.__name__.startswith("_"):
                yield kind


def rebuild(workload: Committed, folder: Path = weights.GRAPHS) -> list[str]:
    """Write the graph, the manifest and the golden outputs of one workload into `folder`; raises ValueError instead.

    What a technique trained has no golden outputs, and a card that is not its own.
    """
    if isinstance(workload, Outcome):
        return _outline(workload, folder)
    net = drawing.hollow(workload.net)
    tensors, device = _tensors(workload, net), "meta"
    if large := sum(4 * tensor.size for tensor in tensors) > weights.LARGE_BYTES:
        outline = copy.deepcopy(net).to(device)
    else:
        net, device = workload.net().eval().requires_grad_(False), "cpu"
        outline = net
        _fill(net, _values(workload, tensors))
    outputs = _forward(workload, outline, 2, device)
    _check_card(workload, outline, tensors, outputs, device)
    graph = export(workload, drawing.zeros(net) if large else net, tensors).SerializeToString(deterministic=True)
    manifest = _manifest(workload, tensors, outputs)
    with drawing.passing(net, tensors, "float64") if large else nullcontext(net.double()) as exact:
        golden = _golden(workload, exact)
    (folder / f"{workload.card.name}.onnx").write_bytes(graph)
    manifest.write(folder)
    np.savez_compressed(folder / f"{workload.card.name}.golden.npz", allow_pickle=False, **golden)
    return []


def _outline(outcome: Outcome, folder: Path) -> list[str]:
    net = outcome.net().eval().requires_grad_(False)
    tensors = _tensors(outcome, net)
    _fill(net, _values(outcome, tensors))
    graph = export(outcome, net, tensors).SerializeToString(deterministic=True)
    (folder / f"{outcome.card.name}.onnx").write_bytes(graph)
    replace(_manifest(outcome, tensors, _forward(outcome, net, 2, "cpu")), made=outcome.made).write(folder)
    return []


def differences(workload: Committed) -> list[str]:
    """What a fresh rebuild has otherwise than the committed files."""
    name, bits = workload.card.name, workload.golden_bits
    close = GOLDEN_CLOSE if bits is None else 2.0 ** (1 - bits)
    with tempfile.TemporaryDirectory() as scratch:
        rebuild(workload, Path(scratch))
        old, new = weights.Manifest.read(name), weights.Manifest.read(name, Path(scratch))
        found = [f"manifest: {field}" for field in vars(new) if getattr(old, field) != getattr(new, field)]
        found += _graph_differences(*(_summary(folder / f"{name}.onnx") for folder in (weights.GRAPHS, Path(scratch))))
        if isinstance(workload, Outcome):
            return found
        with np.load(weights.GRAPHS / f"{name}.golden.npz") as a, np.load(Path(scratch) / f"{name}.golden.npz") as b:
            found += [f"golden: {key}" for key in sorted({*a, *b}) if not _close(a.get(key), b.get(key), close)]
    return found


def _tensors(workload: Committed, net: Any) -> Tensors:
    tensors = weights.layout({name: tuple(tensor.shape) for name, tensor in state(net).items()})
    if workload.trained:
        return tensors
    return tuple(replace(t, **vars(draw(net, t.name, net.state_dict()[t.name]))) for t in tensors)


def _trained_file(workload: Committed) -> str | None:
    if isinstance(workload, Outcome):
        return file_of(workload.card.name)
    return f"{workload.card.name}.{weights.FILE_NAME}" if workload.trained else None


def _blocks(workload: Committed, tensors: Tensors) -> Iterator[bytes | memoryview]:
    """The bytes of weights.bin, in order."""
    if file := _trained_file(workload):
        return iter([weights.stored(weights.GRAPHS / file)])
    return weights.contents(tensors)


def _values(workload: Committed, tensors: Tensors) -> Arrays:
    data = np.frombuffer(bytearray(b"".join(_blocks(workload, tensors))), "<f4")
    return {t.name: data[t.offset // 4 : t.end // 4].reshape(t.shape) for t in tensors}


def _fill(net: Any, values: Arrays) -> None:
    import torch

    for name, tensor in state(net).items():
        tensor.copy_(torch.from_numpy(values[name]))


def _forward(workload: Committed, net: Any, n: int, device: str, double: bool = False) -> dict[str, Array]:
    """Outputs for the first `n` perf samples after `golden_steps` runs, float64 throughout if `double`.

    On the device "meta", where nothing is computed, they are zeros of the right shapes.
    """
    import torch

    values = _inputs(workload, n, device)
    if double:
        values = {name: value.double() if value.is_floating_point() else value for name, value in values.items()}
    with torch.inference_mode():
        for _ in range(workload.golden_steps):
            returned = net(*values.values())
            outputs = _named(workload, returned if isinstance(returned, tuple) else (returned,))
            values.update({target: outputs[source] for source, target in workload.feedback.items()})
    return {name: _array(output) for name, output in outputs.items()}


def _inputs(workload: Committed, n: int, device: str) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array).to(device) for name, array in workload.samples("perf", n, 0).inputs.items()}


def _array(tensor: Any) -> Array:
    import torch

    if tensor.is_meta:
        tensor = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    array: Array = tensor.numpy()
    return array


def _named(workload: Committed, returned: tuple[Any, ...]) -> dict[str, Any]:
    if len(returned) != len(workload.outputs):
        named = f"`outputs` names {len(workload.outputs)} ({', '.join(workload.outputs)})"
        raise ValueError(f"the network returns {len(returned)} outputs and {named}; name each, in the network's order")
    return dict(zip(workload.outputs, returned, strict=True))


def _golden(workload: Committed, exact: Any) -> dict[str, Array]:
    """What the network that computes in float64 answers, as float32."""
    outputs = _forward(workload, exact, workload.golden_samples, "cpu", double=True)
    kept = workload.golden_outputs or workload.outputs
    return {name: _rounded(outputs[name], workload.golden_bits).astype(np.float32) for name in kept}


def _rounded(values: Array, bits: int | None) -> Array:
    """Multiples of their largest over 2**bits, or rather of the power of two above: half of their bytes are zeros."""
    if bits is None:
        return values
    step = 2.0 ** (math.ceil(math.log2(np.abs(values).max())) - bits)
    rounded: Array = np.rint(values / step) * step
    return rounded


def _check_card(workload: Committed, net: Any, tensors: Tensors, outputs: Arrays, device: str) -> None:
    """Raise ValueError with the numbers that belong on the card, if others are on it."""
    arrays = [*workload.samples("perf", 1, 0).inputs.values(), *(output[:1] for output in outputs.values())]
    counted = {
        "flops": _flops(workload, net, device),
        "parameters": sum(p.numel() for p in net.parameters()),
        "weight_bytes": sum(4 * t.size for t in tensors),
        "io_bytes": sum(array.nbytes for array in arrays),
    }
    wrong = {name: value for name, value in counted.items() if getattr(workload.card, name) != value}
    if wrong:
        right = ", ".join(f"{name}={value:_}" for name, value in wrong.items())
        raise ValueError(f"card of {workload.card.name} differs from what was counted; write {right}")


def _flops(workload: Committed, net: Any, device: str) -> int:
    """Operations of matrix products and convolutions for one sample, a multiply-add being two."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The fused attention kernels have no formula in torch's table; the plain one is made of matrix products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(*_inputs(workload, 1, device).values())
    return int(counter.get_total_flops())


def _manifest(workload: Committed, tensors: Tensors, outputs: Arrays) -> weights.Manifest:
    digest, length = hashlib.sha256(), 0
    for block in _blocks(workload, tensors):
        digest.update(block)
        length += memoryview(block).nbytes
    return weights.Manifest(
        name=workload.card.name,
        source="trained" if workload.trained else "seeded",
        file=_trained_file(workload),
        inputs=_specs(workload.samples("perf", 2, 0).inputs),
        outputs=_specs(outputs),
        bytes=length,
        sha256=digest.hexdigest(),
        tensors=tensors,
    )


def _specs(arrays: Arrays) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, str(array.dtype), (None, *array.shape[1:])) for name, array in arrays.items())


def _summary(path: Path) -> dict[str, Any]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stored = {i.name: (tuple(i.dims), [(e.key, e.value) for e in i.external_data]) for i in graph.initializer}
    return {
        "operators": Counter(node.op_type for node in graph.node),
        "weights": {name: value for name, value in stored.items() if value[1]},
        "inputs": [value.name for value in graph.input],
        "outputs": [value.name for value in graph.output],
    }


def _graph_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [f"graph: {key}" for key in new if old[key] != new[key]]


def _close(a: Array | None, b: Array | None, close: float) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    return bool(np.abs(a - b).max() <= close * np.abs(a).max())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workloads.rebuild", description="Rebuild the committed graphs.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="workloads; all that are measured by default when none is given"
    )
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    options = parser.parse_args()
    known = {**workloads(), **outcomes()}
    if unknown := [name for name in options.names if name not in known]:
        halves = "".join(f"; {half}" for half in incomplete())
        parser.error(f"unknown workload {', '.join(unknown)}; known: {', '.join(sorted(known))}{halves}")
    if absent := [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]:
        parser.error(f"needs {', '.join(absent)}: make setup-torch, then .venv-torch/bin/python -m workloads.rebuild")
    failed = False
    for name in options.names or sorted(name for name, workload in known.items() if workload.by_default):
        try:
            problems = differences(known[name]) if options.check else rebuild(known[name])
        except (ValueError, FileNotFoundError) as error:
            problems = [str(error)]
        print(f"{name}: {'; '.join(problems) or 'ok'}", flush=True)
        failed = failed or bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
