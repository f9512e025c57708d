"""The CUDA runtime as the package cuda-bindings gives it: calls that raise, memory that comes back. Holds no part."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workloads.contract import Array


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed."""


class Cuda:
    """One GPU, by CUDA's own number; every thread says anew that it means this one."""

    def __init__(self, cudart: Any, ordinal: int) -> None:
        self._cudart, self._ordinal = cudart, ordinal
        self.to_device = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.to_host = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.bind()

    def bind(self) -> None:
        """Make it the calling thread's GPU."""
        self("cudaSetDevice", self._ordinal)

    def __call__(self, name: str, *arguments: Any) -> Any:
        """What the call gives beside its error; raises CudaError."""
        error, *values = getattr(self._cudart, name)(*arguments)
        if int(error) != 0:
            _, text = self._cudart.cudaGetErrorString(error)
            raise CudaError(f"{name}: {text.decode() if isinstance(text, bytes) else text}")
        return values[0] if values else None

    def name(self) -> str:
        told = self("cudaGetDeviceProperties", self._ordinal).name
        return str(told.decode() if isinstance(told, bytes) else told)

    def capability(self) -> tuple[int, int]:
        kinds = self._cudart.cudaDeviceAttr
        asked = kinds.cudaDevAttrComputeCapabilityMajor, kinds.cudaDevAttrComputeCapabilityMinor
        major, minor = (int(self("cudaDeviceGetAttribute", one, self._ordinal)) for one in asked)
        return major, minor

    def stream(self) -> Any:
        """One that does not wait for the default stream, nor that for it."""
        return self("cudaStreamCreateWithFlags", self._cudart.cudaStreamNonBlocking)


class Block:
    """Memory of a pool, which goes back to it with the last reference."""

    def __init__(self, pool: Pool, size: int, pointer: int) -> None:
        self.size, self.pointer = size, pointer
        self._pool = pool

    def bytes(self) -> Array:
        """The memory of a host, as bytes."""
        import numpy as np

        return np.ctypeslib.as_array((ctypes.c_ubyte * self.size).from_address(self.pointer))

    def __del__(self) -> None:
        self._pool.take_back(self.size, self.pointer)


class Pool:
    """Memory that is kept for the next of the same size: asking CUDA for it would stop the GPU."""

    def __init__(self, cuda: Cuda, allocate: str, free: str) -> None:
        self._cuda, self._allocate, self._free = cuda, allocate, free
        self._kept: dict[int, list[int]] = defaultdict(list)
        self._closed = False

    def block(self, size: int) -> Block:
        """Memory of `size` bytes."""
        try:
            pointer = self._kept[size].pop()
        except IndexError:
            pointer = int(self._cuda(self._allocate, max(size, 1)))
        return Block(self, size, pointer)

    def take_back(self, size: int, pointer: int) -> None:
        if self._closed:
            self._cuda(self._free, pointer)
        else:
            self._kept[size].append(pointer)

    def close(self) -> None:
        """What is still in use goes back as it ends."""
        self._closed = True
        for pointers in self._kept.values():
            for pointer in pointers:
                self._cuda(self._free, pointer)
        self._kept.clear()
