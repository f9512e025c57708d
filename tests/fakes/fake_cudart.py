"""The CUDA runtime as cuda-bindings 13 has it, as far as an engine calls it, in the memory of the host. No part.

What a GPU would do on a stream happens only as the stream is waited for, so that memory that is read, reused or freed
too early gives wrong answers or fails.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from types import SimpleNamespace
from typing import Any


class CudaErrorCode(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2


class MemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class DeviceAttr(enum.IntEnum):
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class Stream:
    def __init__(self, number: int) -> None:
        self._number, self.work = number, []

    def __int__(self) -> int:
        return self._number

    def wait(self) -> None:
        while self.work:
            self.work.pop(0)()


class Event:
    at: int | None = None


class Runtime:
    """cuda.bindings.runtime of one machine with two GPUs; `memory` is what was not given back."""

    cudaError_t = CudaErrorCode
    cudaMemcpyKind = MemcpyKind
    cudaDeviceAttr = DeviceAttr
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.capability = (8, 0)
        self.memory: dict[int, tuple[str, Any]] = {}
        self.streams: dict[int, Stream] = {}
        self.events: set[Event] = set()
        self.limit = 1 << 30
        self.copies: list[str] = []
        self._bound = threading.local()
        self._clock = 0

    def cudaSetDevice(self, device: int):
        self._bound.device = device
        return (CudaErrorCode.cudaSuccess if device in (0, 1) else CudaErrorCode.cudaErrorInvalidValue,)

    def cudaGetErrorString(self, error: CudaErrorCode):
        return CudaErrorCode.cudaSuccess, {2: b"out of memory"}.get(int(error), b"invalid argument")

    def cudaGetDeviceProperties(self, device: int):
        return CudaErrorCode.cudaSuccess, SimpleNamespace(name=f"NVIDIA Fake {device}".encode())

    def cudaDeviceGetAttribute(self, attr: DeviceAttr, device: int):
        return CudaErrorCode.cudaSuccess, self.capability[attr - DeviceAttr.cudaDevAttrComputeCapabilityMajor]

    def cudaStreamCreateWithFlags(self, flags: int):
        assert flags == self.cudaStreamNonBlocking
        stream = Stream(1000 + len(self.streams))
        self.streams[int(stream)] = stream
        return CudaErrorCode.cudaSuccess, stream

    def cudaStreamSynchronize(self, stream: Stream):
        self._check()
        stream.wait()
        return (CudaErrorCode.cudaSuccess,)

    def cudaStreamDestroy(self, stream: Stream):
        assert not stream.work, "work was under way"
        del self.streams[int(stream)]
        return (CudaErrorCode.cudaSuccess,)

    def cudaEventCreate(self):
        self.events.add(event := Event())
        return CudaErrorCode.cudaSuccess, event

    def cudaEventDestroy(self, event: Event):
        self.events.remove(event)
        return (CudaErrorCode.cudaSuccess,)

    def cudaEventRecord(self, event: Event, stream: Stream):
        event.at = None
        stream.work.append(lambda: self._tick(event))
        return (CudaErrorCode.cudaSuccess,)

    def cudaEventElapsedTime(self, start: Event, end: Event):
        if start.at is None or end.at is None:
            return CudaErrorCode.cudaErrorInvalidValue, 0.0
        return CudaErrorCode.cudaSuccess, float(end.at - start.at)

    def cudaMalloc(self, size: int):
        return self._allocate("device", size)

    def cudaMallocHost(self, size: int):
        return self._allocate("pinned", size)

    def cudaFree(self, pointer: int):
        assert self.memory.pop(pointer)[0] == "device"
        return (CudaErrorCode.cudaSuccess,)

    def cudaFreeHost(self, pointer: int):
        assert self.memory.pop(pointer)[0] == "pinned"
        return (CudaErrorCode.cudaSuccess,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: MemcpyKind, stream: Stream):
        self._check()
        device, host = (dst, src) if kind is MemcpyKind.cudaMemcpyHostToDevice else (src, dst)
        where, block = self.memory[device]
        assert where == "device", "that memory is not the GPU's"
        assert count <= len(block)
        self.copies.append("pinned" if host in self.memory else "pageable")
        if kind is MemcpyKind.cudaMemcpyHostToDevice and host not in self.memory:
            kept = ctypes.string_at(src, count)  # CUDA has read pageable memory when it returns
            stream.work.append(lambda: ctypes.memmove(dst, kept, count))
        else:
            stream.work.append(lambda: ctypes.memmove(dst, src, count))
        return (CudaErrorCode.cudaSuccess,)

    def _allocate(self, where: str, size: int):
        self._check()
        assert size > 0, "CUDA gives a null pointer for nothing"
        if sum(len(block) for _, block in list(self.memory.values())) + size > self.limit:
            return CudaErrorCode.cudaErrorMemoryAllocation, 0
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = where, block
        return CudaErrorCode.cudaSuccess, ctypes.addressof(block)

    def _check(self) -> None:
        assert getattr(self._bound, "device", None) is not None, "this thread has not said which GPU it means"

    def _tick(self, event: Event) -> None:
        self._clock += 2
        event.at = self._clock
