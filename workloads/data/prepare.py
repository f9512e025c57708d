"""Make the data files from their sources: `python -m workloads.data.prepare`, needs scikit-learn and CPython 3.11.7."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from workloads import data

if TYPE_CHECKING:
    from workloads.contract import Array

SOURCE_SHA256 = "2a95af4ac93f5b719944030ce3769070ddf827d847cba42192afa8da989e5dc4"
"""Of all topics of CPython 3.11.7 in the order of their names: every Python version ships another text."""


def digits() -> tuple[Array, Array]:
    """scikit-learn's digits, ordered by the SHA-256 of the image: a shuffle that needs no random numbers."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = source.images.astype(np.uint8), source.target.astype(np.uint8)
    order = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    return images[order], labels[order]


def topics() -> bytes:
    """pydoc's topics, ordered by the SHA-256 of their names, each paragraph only where it comes first.

    The topics quote each other at length: in name order, 8 % of all 96-byte pieces of the last
    tenth stand in the first nine.
    Raises ValueError on another Python version's text.
    """
    from pydoc_data.topics import topics as source

    text = "\n".join(source[name] for name in sorted(source))
    if hashlib.sha256(text.encode()).hexdigest() != SOURCE_SHA256:
        raise ValueError("this Python's topics are not those of CPython 3.11.7, of which the corpus is made: use that")
    names = sorted(source, key=lambda name: hashlib.sha256(name.encode()).digest())
    firsts: dict[str, str] = {}
    for paragraph in (paragraph for name in names for paragraph in source[name].split("\n\n")):
        firsts.setdefault(" ".join(paragraph.split()), paragraph)
    return "\n\n".join(firsts.values()).encode()


def main() -> None:
    images, labels = digits()
    np.savez_compressed(data.FOLDER / "digits.npz", images=images, labels=labels)
    text = topics()
    (data.FOLDER / "topics.txt.gz").write_bytes(gzip.compress(text, mtime=0))
    print(f"digits {data.fingerprint(images, labels)}\ntopics {hashlib.sha256(text).hexdigest()} ({len(text)} bytes)")


if __name__ == "__main__":
    main()
