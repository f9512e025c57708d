"""Which files an artefact consists of. Builds no form itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workloads.forms._cache import OURS

LOCATION = b"\x0a\x08location\x12"
"""How a graph names a file of external weights: field 1 of onnx.StringStringEntryProto, and the tag of field 2."""


def belonging(path: Path) -> list[Path]:
    """The file of a form first, then those with the weights that it refers to, in its own folder or below."""
    if path.suffix == ".xml":  # OpenVINO's IR
        return [path, path.with_suffix(".bin")]
    if path.suffix != ".onnx" or {one.name for one in path.parent.iterdir()} <= {path.name, *OURS}:
        return [path]
    named = {path.parent / name for name in _locations(path.read_bytes())}
    return [path, *sorted(one for one in named if one.is_file())]


def _locations(graph: bytes) -> Iterator[str]:
    """What stands where the name of a file would, its length before it as a varint: of one byte, or of two from 128."""
    start = 0
    while (start := graph.find(LOCATION, start)) >= 0:
        start += len(LOCATION)
        first, second = (*graph[start : start + 2], 0, 0)[:2]
        size, begin = (first, start + 1) if first < 128 else (first - 128 + 128 * second, start + 2)
        yield graph[begin : begin + size].decode(errors="ignore").replace("\0", "")
