"""Whether the Edge TPU runs a .tflite file whole, read from the file itself without any library. Holds no part.

Fields are numbered as in TensorFlow's schema.fbs, version 3; the encoding is that of FlatBuffers
(https://flatbuffers.dev/internals/): a table begins with the distance back to its vtable, which has the distance of
each field from the table, 0 for none.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from backends.contract import Setting, Unsupported

OPERATOR = "edgetpu-custom-op"
"""What the compiler puts in the place of all that the Edge TPU runs (libedgetpu, edgetpu.h: kCustomOp)."""
IDENTIFIER = b"TFL3"
ON_CHIP_BYTES = 8 << 20
"""About so much memory is on the chip, for code and parameters (https://coral.ai/docs/edgetpu/compiler/)."""
CODES, GRAPHS = 1, 2
OLD_BUILTIN, CUSTOM, BUILTIN = 0, 1, 3
OPERATORS = 3
CODE_INDEX = 0


def check_whole(path: Path) -> int:
    """How many operators a file has, all the Edge TPU's; raises Unsupported where any would run on the host."""
    names = operators(path)
    left = Counter(name for name in names if name != OPERATOR)
    if OPERATOR not in names:
        raise Unsupported(
            f"{path.name} was not compiled for the Edge TPU: it has no {OPERATOR}, so the host would run it"
        )
    if left:
        told = ", ".join(f"{count} of {name}" for name, count in sorted(left.items()))
        raise Unsupported(
            f"{path.name} would fall back: the host would run {sum(left.values())} of {len(names)} operators, {told}"
        )
    return len(names)


def told(path: Path) -> dict[str, Setting]:
    """What of a file bears on its speed: parameters that do not fit on the chip cross the link in every run."""
    size = path.stat().st_size
    return {"model_bytes": size, "exceeds_on_chip_memory": size > ON_CHIP_BYTES}


def operators(path: Path) -> list[str]:
    """What a file runs: the name of a custom operator, the number of a built-in one; raises Unsupported for no file."""
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise Unsupported(f"{path.name} is no .tflite file")
    try:
        return list(_operators(_Reader(data)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Unsupported(f"{path.name} is cut off or damaged") from error


def _operators(file: _Reader) -> Iterator[str]:
    model = file.offset(0)
    codes = [_code(file, table) for table in file.tables(model, CODES)]
    for graph in file.tables(model, GRAPHS):
        for operator in file.tables(graph, OPERATORS):
            yield codes[file.number(operator, CODE_INDEX, "<I")]


def _code(file: _Reader, table: int) -> str:
    """Numbers above 127 are in a newer field: the larger of the two counts."""
    name = file.text(table, CUSTOM)
    return name or f"built-in {max(file.number(table, OLD_BUILTIN, '<b'), file.number(table, BUILTIN, '<i'))}"


class _Reader:
    """Positions in the file's bytes; struct.error for one outside of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def offset(self, at: int) -> int:
        return at + self._unpack("<I", at)

    def number(self, table: int, field: int, kind: str) -> int:
        at = self._field(table, field)
        return self._unpack(kind, at) if at else 0

    def text(self, table: int, field: int) -> str:
        at = self._field(table, field)
        if not at:
            return ""
        begin = self.offset(at)
        return self._data[begin + 4 : begin + 4 + self._unpack("<I", begin)].decode()

    def tables(self, table: int, field: int) -> list[int]:
        at = self._field(table, field)
        if not at:
            return []
        begin = self.offset(at)
        count = self._unpack("<I", begin)
        if begin + 4 * count > len(self._data):
            raise IndexError(f"{count} entries at {begin}")
        return [self.offset(begin + 4 + 4 * entry) for entry in range(count)]

    def _field(self, table: int, field: int) -> int:
        """Where a field lies; 0: the table has none."""
        vtable = table - self._unpack("<i", table)
        entry = 4 + 2 * field
        if entry >= self._unpack("<H", vtable):
            return 0
        distance = self._unpack("<H", vtable + entry)
        return table + distance if distance else 0

    def _unpack(self, kind: str, at: int) -> int:
        if at < 0:
            raise IndexError(f"position {at}")
        return int(struct.unpack_from(kind, self._data, at)[0])
