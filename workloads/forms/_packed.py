"""Files in a zip archive, fp32 weights by byte planes. Builds no form itself.

Numbers in fp32 hardly deflate as they lie: their exponents are alike, and three bytes of noise stand between them. In
planes, all first bytes before all second ones, exponents lie together (the shuffle filter of HDF5 and Blosc). Of
resnet50's file 85 % are left in planes and 92 % without; of one with 90 % zeros 15 and 12 %; of int8 99 % either way.
LZMA saves 2 % more of zeros and takes four to eight times as long to read; for a dependency there is no need.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

BLOCK_BYTES = 4 << 20
LEVEL = 1
"""Level 6 takes twice as long to write and saves 1 % more."""
WIDTH = 4
"""Bytes of a number."""
PLAIN, PLANES = "plain", "planes"
DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, RuntimeError, ValueError, OverflowError)
"""What zipfile raises for bytes that it did not write."""
NOT_OF_THE_DISK = (errno.EINVAL, None)
"""Of an OSError, where they send it to before the file's begin, or to another decompressor."""


class DamagedPackingError(Exception):
    """A packed file cannot be read; the message says which, and what to do."""


def pack(files: Sequence[Path], to: Path) -> None:
    """Write `files`, the main one first, to the archive `to`: the same bytes each time.

    Members are called COUNT/WAY/NAME, as an archive whose directory is damaged may lack one and seem whole.
    """
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for path in files:
            with path.open("rb") as source:
                way = _better(source.read(BLOCK_BYTES))
                source.seek(0)
                name = path.relative_to(files[0].parent).as_posix()
                with archive.open(f"{len(files)}/{way}/{name}", "w", force_zip64=True) as packed:
                    for block in _blocks(source):
                        packed.write(_planes(block) if way == PLANES else block)


def unpack(path: Path, folder: Path) -> Path:
    """Write all files into `folder`; the path of the main one. Raises DamagedPackingError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if {member.partition("/")[0] for member in members} != {str(len(members))}:
                raise zipfile.BadZipFile("it lacks a file")
            paths = [_unpacked(archive, member, folder) for member in members]
    except (*DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_OF_THE_DISK:
            raise
        raise DamagedPackingError(f"packed file {path} is damaged ({error}): delete it, and it is made anew") from error
    return paths[0]


def _unpacked(archive: zipfile.ZipFile, member: str, folder: Path) -> Path:
    _, way, name = member.split("/", 2)
    to = folder / name
    if not to.resolve().is_relative_to(folder.resolve()):
        raise zipfile.BadZipFile("it names a file outside")
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, to.open("wb") as file:
        for block in _blocks(packed):
            file.write(_rows(block) if way == PLANES else block)
    return to


def _better(start: bytes) -> str:
    """Which way the first block of a file becomes smaller."""
    return min((PLAIN, PLANES), key=lambda way: len(zlib.compress(_planes(start) if way == PLANES else start, LEVEL)))


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block


def _planes(block: bytes) -> bytes:
    """All first bytes of the numbers, all second ones, and so on; what is left over at the end stays there."""
    whole = len(block) - len(block) % WIDTH
    return b"".join(block[first:whole:WIDTH] for first in range(WIDTH)) + block[whole:]


def _rows(block: bytes) -> bytes:
    """What `_planes` made the planes of."""
    count = len(block) // WIDTH
    rows = bytearray(block)
    for first in range(WIDTH):
        rows[first : count * WIDTH : WIDTH] = block[first * count : (first + 1) * count]
    return bytes(rows)
