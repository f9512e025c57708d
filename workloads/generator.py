"""Numbers that are the same on every machine: a counter-based generator in integer arithmetic.

NumPy promises no stream across its versions, so the weights and samples that results are compared on come from here.
Every stream has a name. Its k-th 64-bit word is splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
number generators", finaliser of Stafford's variant 13) of the counter k, started at the first 8 bytes of SHA-256(name),
so any part of a stream is made without the parts before it. Each word is two 32-bit halves, the low one first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float32]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]
    Words = np.ndarray[Any, np.dtype[np.uint64]]
    Halves = np.ndarray[Any, np.dtype[np.uint32]]

CHUNK_WORDS = 1 << 14
"""Words made at once: their temporaries stay in a core's own cache."""

GAMMA = 0x9E3779B97F4A7C15
FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
_MASK = (1 << 64) - 1
_STEPS = np.arange(CHUNK_WORDS, dtype=np.uint64) * np.uint64(GAMMA)


def seed_of(name: str) -> int:
    """The 64-bit seed of the stream called `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def words(seed: int, first: int, count: int) -> Words:
    """Words `first` to `first + count - 1`, at most CHUNK_WORDS of them, as uint64."""
    z = _STEPS[:count] + np.uint64((seed + (first + 1) * GAMMA) & _MASK)
    shifted = np.empty_like(z)
    for shift, factor in FACTORS:
        np.right_shift(z, np.uint64(shift), out=shifted)
        z ^= shifted
        z *= np.uint64(factor)
    np.right_shift(z, np.uint64(LAST_SHIFT), out=shifted)
    z ^= shifted
    return z


def _halves(seed: int, first: int, count: int) -> Iterator[Halves]:
    """Halves `first` to `first + count - 1` of a stream, in chunks."""
    last = first + count
    for word in range(first // 2, (last + 1) // 2, CHUNK_WORDS):
        length = min(CHUNK_WORDS, (last + 1) // 2 - word)
        halves = words(seed, word, length).astype("<u8", copy=False).view("<u4")
        yield halves[max(0, first - 2 * word) : last - 2 * word]


def _signed(halves: Halves) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The upper 24 bits of each half, less 2**23."""
    values = (halves >> np.uint32(8)).view(np.int32)
    values -= 1 << 23
    return values


def uniform_chunks(name: str, count: int, scale: float, centre: float = 0.0, first: int = 0) -> Iterator[Floats]:
    """Values `first` to `first + count - 1` in chunks of float32, uniform in [centre - scale, centre + scale).

    A value is a 24-bit integer, exact in float32, times `scale`, plus `centre`: IEEE operations with one answer each.
    """
    unit = np.float32(scale) / np.float32(1 << 23)
    for halves in _halves(seed_of(name), first, count):
        floats = _signed(halves).astype(np.float32)
        floats *= unit
        if centre:
            floats += np.float32(centre)
        yield floats


def uniform(name: str, shape: tuple[int, ...], scale: float = 1.0, centre: float = 0.0) -> Floats:
    """The first values of a stream as a float32 array, uniform in [centre - scale, centre + scale)."""
    out = np.empty(shape, np.float32)
    flat, done = out.reshape(-1), 0
    for chunk in uniform_chunks(name, flat.size, scale, centre):
        flat[done : done + chunk.size] = chunk
        done += chunk.size
    return out


def balanced(name: str, shape: tuple[int, ...], scale: float) -> Floats:
    """As `uniform`, each row along axis 0 less its mean (rounded in the integers, where sums have one answer)."""
    values = np.empty((shape[0], math.prod(shape[1:])), np.int32)
    flat, done = values.reshape(-1), 0
    for halves in _halves(seed_of(name), 0, flat.size):
        flat[done : done + halves.size] = _signed(halves)
        done += halves.size
    values -= (values.sum(axis=1, dtype=np.int64, keepdims=True) // values.shape[1]).astype(np.int32)
    return (values.astype(np.float32) * (np.float32(scale) / np.float32(1 << 23))).reshape(shape)


def integers(name: str, shape: tuple[int, ...], low: int, high: int) -> Integers:
    """The first values of a stream as an int64 array, uniform in [low, high); the span is at most 2**31."""
    out = np.empty(shape, np.int64)
    flat, done = out.reshape(-1), 0
    for halves in _halves(seed_of(name), 0, flat.size):
        flat[done : done + halves.size] = (halves.astype(np.uint64) * np.uint64(high - low)) >> np.uint64(32)
        done += halves.size
    return out + low


def fields(name: str, shape: tuple[int, int, int, int]) -> Floats:
    """Random images of `shape` (n, channels, height, width) float32, each about 0 with variance about 1.

    Natural images vary at every scale and from one to the next in contrast and brightness; white noise does not, and
    networks answer it with almost one and the same output. So: noise in squares of 1, 2, 4, ... 32 pixels, each scale
    with a contrast of its own, on a brightness per channel. Additions and multiplications only, so the bits are
    portable.
    """
    n, channels, height, width = shape
    cells = [cell for cell in (1, 2, 4, 8, 16, 32) if cell < max(height, width)]
    contrasts = uniform(f"{name}/contrast", (n, len(cells), 1, 1, 1), scale=0.55, centre=0.65)
    image = np.empty(shape, np.float32)
    image[:] = uniform(f"{name}/brightness", (n, channels, 1, 1))
    for index, cell in enumerate(cells):
        noise = uniform(f"{name}/{cell}", (n, channels, -(-height // cell), -(-width // cell)))
        noise *= contrasts[:, index]
        image += noise.repeat(cell, axis=2)[:, :, :height].repeat(cell, axis=3)[..., :width]
    return image
