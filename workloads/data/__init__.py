"""The two data sets that ship with the project, checked against their hashes before use. README.md: licences."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.contract import Samples

if TYPE_CHECKING:
    from workloads.contract import Array

FOLDER = Path(__file__).parent
DIGITS_SHA256 = "e4001587e004557a460899b13df1c1015e901f764ba1186708cabd0374bd97ce"
TOPICS_SHA256 = "acffe64fe23ae8edf8286510958881b6aecb3f77848265dd2bb8f993ac45a6a5"


def fingerprint(*arrays: Array) -> str:
    """SHA-256 over the bytes of `arrays`, whatever wrote the container around them."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@lru_cache(maxsize=1)
def digits() -> tuple[Array, Array]:
    """1797 handwritten digits in an order that means nothing: images (1797, 8, 8) and labels (1797,), both uint8.

    An image's values run from 0 to 16. Raises ValueError if the file is damaged.
    """
    import numpy as np

    path = FOLDER / "digits.npz"
    with np.load(path) as stored:
        images, labels = stored["images"], stored["labels"]
    _verify(path, fingerprint(images, labels), DIGITS_SHA256)
    return images, labels


@lru_cache(maxsize=1)
def topics() -> Array:
    """English text about Python without repeated paragraphs, as uint8. Raises ValueError if the file is damaged."""
    import numpy as np

    path = FOLDER / "topics.txt.gz"
    text = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    _verify(path, fingerprint(text), TOPICS_SHA256)
    return text


def pick(pool: Samples, split: str, n: int, seed: int) -> Samples:
    """`n` samples of `pool` in its order, from number `seed` on.

    perf goes round as often as it takes; the other splits give what they have, which may be fewer.
    """
    count = n if split == "perf" else min(n, len(pool))
    return pool.take([(seed + i) % len(pool) for i in range(count)])


def _verify(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{path.name} is damaged (SHA-256 {found[:8]}, not {expected[:8]}): check it out again")
