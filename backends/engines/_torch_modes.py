"""The ways to run a torch module besides operator by operator: compiled by Inductor, replayed as a CUDA graph.

Both are made for one shape of inputs. Holds no part.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import FunctionType
from typing import Any

from backends.contract import Unsupported

Forward = Callable[..., Any]
TUNES = {"default": None, "max-autotune": "max-autotune-no-cudagraphs"}
WARM_UP_RUNS = 3
"""As torch's notes on CUDA graphs do before they capture: libraries allocate and choose in the first runs."""


def refuse_without_compiler(kind: str) -> None:
    """Inductor makes C++ for a processor, and Triton kernels with launchers in C for a GPU."""
    if kind == "cuda" and find_spec("triton") is None:
        raise Unsupported("mode=compile needs the package triton: pip install triton")
    names = [os.environ.get("CXX", "g++")] if kind == "cpu" else [os.environ.get("CC", "gcc"), "clang"]
    if not any(shutil.which(name) for name in names):
        raise Unsupported(f"mode=compile needs a compiler, and there is no {' or '.join(names)}: install g++")


def compiled(torch: Any, module: Any, arguments: Sequence[Any], tune: str, keep: bool) -> Forward:
    """`module` compiled for the shapes of `arguments`, with which it is run, so that nothing is left to the next run.

    `keep`: what earlier processes compiled is taken from torch's cache on the disk. Raises Unsupported for a network
    that torch cannot trace as a whole.
    """

    def forward(*values: Any) -> Any:
        return module(*values)

    # A copy of the code: torch keeps what it compiled with the code object, and refuses a ninth version of one.
    own = FunctionType(forward.__code__.replace(), forward.__globals__, closure=forward.__closure__)
    fast = torch.compile(own, fullgraph=True, dynamic=False, mode=TUNES[tune])
    with torch.inference_mode(), cache(keep):
        try:
            fast(*arguments)
        except torch._dynamo.exc.Unsupported as error:
            raise Unsupported(f"torch cannot compile the network as a whole: {str(error).splitlines()[0]}") from error
    return _Watched(torch, fast)


@contextmanager
def cache(keep: bool) -> Iterator[None]:
    """Whether torch keeps what it compiles on the disk, for other processes, or in a folder that goes afterwards."""
    if keep:
        yield
        return
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="accelmark-") as folder:
        os.environ.update({name: f"{folder}/{name}" for name in names})
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


class _Watched:
    """A compiled function that fails rather than be compiled again in a run that is timed."""

    def __init__(self, torch: Any, fast: Forward) -> None:
        self._fast = fast
        self._counted = torch._dynamo.utils.counters["stats"]

    def __call__(self, *values: Any) -> Any:
        before = self._counted["unique_graphs"]
        outputs = self._fast(*values)
        if self._counted["unique_graphs"] != before:
            raise RuntimeError("torch compiled the network again in a run, for inputs unlike those it was compiled for")
        return outputs


class Replayed:
    """One run of a module, captured on a stream with inputs that stay where they are, and replayed."""

    def __init__(self, torch: Any, forward: Forward, arguments: Sequence[Any], stream: Any) -> None:
        self._inputs = arguments
        with torch.inference_mode():
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    forward(*arguments)
            stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=stream):
                outputs = forward(*arguments)
        self._outputs = several(outputs)

    def __call__(self, *values: Any) -> Any:
        """Copies in, replays, and copies out, as the next replay writes to the same outputs."""
        for held, value in zip(self._inputs, values):
            held.copy_(value, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def several(outputs: Any) -> Any:
    """A network that gives one tensor gives it bare."""
    return outputs if isinstance(outputs, (tuple, list)) else (outputs,)
