"""A torch module on a processor, and on a GPU. Holds no part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from backends.contract import Arrays, Executed, Facts, Session, Values
from backends.engines._torch_modes import Replayed, several
from backends.engines._torch_profile import executed
from backends.engines._tuning import check_arrays
from workloads.contract import TensorSpec

if TYPE_CHECKING:
    from backends.engines._torch_modes import Forward
    from workloads.contract import Array


def on_host(torch: Any, array: Array) -> Any:
    """A tensor over the array's memory where torch may have it."""
    # torch warns of memory that it might write to and must not; it never writes to inputs here, yet cannot be told.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def widened(tensor: Any) -> Any:
    """Floats in fp32, which numpy knows, unlike bf16."""
    return tensor.float() if tensor.is_floating_point() else tensor


class TorchSession(Session):
    """Threads of `submit` run the module at once, as torch lets go of the interpreter inside its operators."""

    def __init__(
        self,
        torch: Any,
        forward: Forward,
        specs: Sequence[TensorSpec],
        outputs: Sequence[str],
        facts: Facts,
        dtype: Any,
    ) -> None:
        self._torch, self._specs, self._outputs, self._dtype = torch, specs, outputs, dtype
        self._forward: Any = forward
        self._give_back: list[Callable[[], None]] = []
        self.facts = facts
        self.inflight = int(facts.settings["streams"])

    def at_close(self, give_back: Callable[[], None]) -> None:
        """What is to be undone when the session ends."""
        self._give_back.append(give_back)

    def compile_with(self, compiler: Callable[[Forward, Values], Forward], arrays: Arrays) -> None:
        """Run what `compiler` makes of the module from now on, made with such tensors as `put` gives."""
        self._forward = compiler(self._forward, self.put(arrays))

    def put(self, arrays: Arrays) -> Values:
        """Tensors over the caller's memory in fp32, copies otherwise."""
        check_arrays(self._specs, arrays)
        return [self._cast(on_host(self._torch, arrays[spec.name])) for spec in self._specs]

    def run(self, values: Values) -> Values:
        with self._torch.inference_mode():
            return several(self._forward(*values))

    def executed(self, values: Values) -> Executed:
        return executed(lambda: self.run(values))

    def get(self, values: Values) -> Arrays:
        return {name: widened(tensor).numpy() for name, tensor in zip(self._outputs, values)}

    def close(self) -> None:
        super().close()
        self._forward = None
        while self._give_back:
            self._give_back.pop()()

    def _cast(self, tensor: Any) -> Any:
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


class _Lane:
    """A stream of the GPU with what one run at a time needs on it."""

    def __init__(self, torch: Any, where: Any, forward: Forward) -> None:
        self.stream = torch.cuda.Stream(where)
        self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.forward = forward
        self.enqueue_ns = 0


class CudaTorchSession(TorchSession):
    """Each stage ends with its stream: transfers of one query overlap with another's run, never with its own.

    A stage takes a free lane for as long as it lasts; tensors belong to none, as no stage leaves work behind.
    """

    def __init__(self, *arguments: Any, where: Any, pinned: bool) -> None:
        super().__init__(*arguments)
        self._where, self._pinned = where, pinned
        self._lanes = [_Lane(self._torch, where, self._forward) for _ in range(self.inflight)]
        self._free: SimpleQueue[_Lane] = SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)
        self._last: _Lane | None = None
        self._torch.cuda.synchronize(where)  # the weights came on another stream, for which a lane does not wait

    def compile_with(self, compiler: Callable[[Forward, Values], Forward], arrays: Arrays) -> None:
        values = self.put(arrays)
        forward = self._in_lane(lambda _: compiler(self._forward, values))
        for lane in self._lanes:
            lane.forward = forward

    def capture(self, arrays: Arrays) -> None:
        """A CUDA graph for each lane, with inputs of its own."""
        for lane in self._lanes:
            lane.forward = Replayed(self._torch, self._forward, self.put(arrays), lane.stream)

    def put(self, arrays: Arrays) -> Values:
        """Copies in fp32, cast on the GPU; through pinned memory if that was asked for."""
        check_arrays(self._specs, arrays)
        hosts = [on_host(self._torch, arrays[spec.name]) for spec in self._specs]
        return self._in_lane(lambda _: [self._cast(self._moved(host)) for host in hosts])

    def run(self, values: Values) -> Values:
        return self._in_lane(lambda lane: self._timed(lane, values))

    def get(self, values: Values) -> Arrays:
        tensors = self._in_lane(lambda _: [self._fetched(widened(tensor)) for tensor in values])
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, tensors)}

    def device_ns(self) -> int | None:
        """Between the events around the last run: of the GPU's work, and of its waiting for the host in between."""
        return None if self._last is None else round(self._last.begin.elapsed_time(self._last.end) * 1e6)

    def enqueue_ns(self) -> int | None:
        return None if self._last is None else self._last.enqueue_ns

    def close(self) -> None:
        super().close()
        self._last = None
        self._lanes.clear()
        self._free = SimpleQueue()

    def _in_lane(self, work: Callable[[_Lane], Values]) -> Values:
        lane = self._free.get()
        try:
            with self._torch.inference_mode(), self._torch.cuda.stream(lane.stream):
                values = work(lane)
            lane.stream.synchronize()
        finally:
            self._free.put(lane)
        return values

    def _timed(self, lane: _Lane, values: Values) -> Values:
        began = time.monotonic_ns()
        lane.begin.record(lane.stream)
        outputs = several(lane.forward(*values))
        lane.end.record(lane.stream)
        lane.enqueue_ns = time.monotonic_ns() - began
        self._last = lane
        return outputs

    def _moved(self, tensor: Any) -> Any:
        return (tensor.pin_memory() if self._pinned else tensor).to(self._where, non_blocking=True)

    def _fetched(self, tensor: Any) -> Any:
        host = self._torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._pinned)
        return host.copy_(tensor, non_blocking=True)
