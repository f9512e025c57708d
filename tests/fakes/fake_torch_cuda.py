"""torch.cuda on a processor: streams, events and graphs that keep torch's rules, or fail. No part.

Every name that is replaced has to exist in the real torch. A graph records the operators that run while it is captured,
and replays them into the same memory, as a GPU does: what was computed outside of them stays as it was.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest  # not for workers, which find their parts in this package


class Gpu:
    """What is under way; `log` holds the calls in their order."""

    capability = (8, 0)

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.log: list[str] = []
        self.thread = threading.local()  # as in torch, each thread has a stream of its own
        self.pinned = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch, cuda = self.torch, self.torch.cuda
        empty = torch.empty
        names = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "get_device_capability": lambda where: self.capability,
            "get_device_name": lambda where: "NVIDIA Fake",
            "Stream": lambda where: _Stream(self),
            "Event": lambda enable_timing: _Event(self, enable_timing),
            "CUDAGraph": _Graph,
            "synchronize": lambda where: self.log.append("device synchronized"),
            "stream": self._on,
            "graph": self._capture,
        }
        for name, fake in names.items():
            monkeypatch.setattr(cuda, name, fake)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: self._count(True, tensor.clone()))
        monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: self._count(pin_memory, empty(*a, **k)))

    def _count(self, pinned: bool, tensor: Any) -> Any:
        self.pinned += pinned
        return tensor

    @contextlib.contextmanager
    def _on(self, stream: _Stream) -> Any:
        before, self.thread.current = getattr(self.thread, "current", None), stream
        stream.waiting = True
        yield
        self.thread.current = before

    @contextlib.contextmanager
    def _capture(self, graph: _Graph, stream: _Stream) -> Any:
        assert not stream.waiting, "work was under way as the capture began"
        with self._on(stream), _recorder(graph):
            yield
        stream.waiting = False
        self.log.append("captured")


class _Stream:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self.waiting = gpu, False

    def synchronize(self) -> None:
        self.waiting = False
        self._gpu.log.append("synchronized")


class _Event:
    def __init__(self, gpu: Gpu, enable_timing: bool) -> None:
        assert enable_timing
        self._gpu, self._ns, self._stream = gpu, 0, None

    def record(self, stream: _Stream) -> None:
        assert self._gpu.thread.current is stream, "recorded on another stream than the one that works"
        self._ns, self._stream = time.monotonic_ns(), stream
        self._gpu.log.append("recorded")

    def elapsed_time(self, end: _Event) -> float:
        assert self._stream is not None, "the event was never recorded"
        assert not end._stream.waiting, "the stream has not reached the event"
        return (end._ns - self._ns) / 1e6


class _Graph:
    def __init__(self) -> None:
        self.operators: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        for function, arguments, keywords, result in self.operators:
            again = function(*arguments, **keywords)
            for old, new in zip(_tensors(result), _tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _tensors(result: Any) -> list[Any]:
    several = result if isinstance(result, (tuple, list)) else (result,)
    return [one for one in several if hasattr(one, "data_ptr")]


def _recorder(graph: _Graph) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
            result = function(*arguments, **(keywords or {}))
            graph.operators.append((function, arguments, keywords or {}, result))
            return result

    return Recorder()


def semi_structured(weight: Any) -> Any:
    """torch.sparse.to_sparse_semi_structured with the rules of CUTLASS for shapes, and torch's own packing.

    Returns what was packed, unpacked again: packing drops what does not have the pattern.
    """
    from torch.sparse import SparseSemiStructuredTensorCUTLASS
    from torch.sparse._semi_structured_conversions import (
        sparse_semi_structured_from_dense_cutlass,
        sparse_semi_structured_to_dense_cutlass,
    )

    rules = SparseSemiStructuredTensorCUTLASS._DTYPE_SHAPE_CONSTRAINTS[weight.dtype]
    if weight.shape[0] % rules.sparse_min_rows or weight.shape[1] % rules.sparse_min_cols:
        raise RuntimeError(f"Error original_tensor.shape {weight.shape} is not supported!")
    return sparse_semi_structured_to_dense_cutlass(*sparse_semi_structured_from_dense_cutlass(weight.contiguous()))
