"""A log file that a kill cannot spoil: framed lines, each written and synced at once, checked one by one when read.

A frame is `crc32 length json` and a newline, the checksum as 8 hexadecimal digits, over the JSON's bytes. An append is
one write() and one fsync(), so a kill leaves at most one torn line, at the end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zlib import crc32

MAX_LINE_BYTES = 16 << 20

_FRAME = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,9}) ")
_WRITABLE = "make it writable for this user or choose another results folder"
_IN_THE_WAY = "move the file that is in the way or choose another results folder"
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EROFS: "choose a results folder that can be written",
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
}


class StoreError(OSError):
    """The store cannot be used: one line with cause, moment and remedy."""

    @classmethod
    def of(cls, path: Path, moment: str, error: OSError) -> StoreError:
        remedy = _REMEDIES.get(error.errno or 0, "choose another results folder")
        return cls(f"{path}: {error.strerror or error} ({moment}); {remedy}")


@dataclass(frozen=True)
class Problem:
    """What could not be read, and what to do. `line` counts records from 1; 0 is the whole file."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        where = f", record {self.line}" if self.line else ""
        return f"{self.path}{where}: {self.message}"


def frame(payload: bytes) -> bytes:
    """One line of a log."""
    return b"%08x %d %s\n" % (crc32(payload), len(payload), payload)


def payloads(path: Path, problems: list[Problem]) -> Iterator[tuple[int, bytes]]:
    """Number and JSON of every whole line whose checksum holds; every other line is one Problem. No file: nothing."""
    try:
        with path.open("rb") as log:
            line = 0
            while raw := log.readline(MAX_LINE_BYTES):
                line += 1
                payload, damage = _unframed(raw)
                if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    damage = f"longer than {MAX_LINE_BYTES >> 20} MiB"
                    _skip_line(log)
                if damage:
                    problems.append(Problem(path, line, f"{damage}; left out, the rest is read"))
                else:
                    yield line, payload
    except FileNotFoundError:
        return
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM)
        remedy = "make it readable for this user" if denied else "check the file and the disk"
        problems.append(Problem(path, 0, f"cannot be read: {error.strerror}; {remedy}"))


def open_log(path: Path) -> int:
    """A file descriptor for appending; made if need be."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def append(log: int, path: Path, payload: bytes) -> None:
    """Returns when the line is on the disk. Raises StoreError, and then nothing of it stays in the log."""
    line = frame(payload)
    if len(line) > MAX_LINE_BYTES:
        raise StoreError(f"{path}: an item of {len(line) >> 20} MiB is over the limit; shorten its settings or texts")
    size = os.fstat(log).st_size
    try:
        written = os.write(log, line)
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(log)
    except OSError as error:
        _cut(log, size)
        raise StoreError.of(path, "appending; what was stored before is safe", error) from error


def put_back(log: int, path: Path) -> int:
    """`log`, or where somebody removed its file, a new one at `path` with all that it held. Raises OSError."""
    if os.fstat(log).st_nlink:
        return log
    draft = path.with_name(f"{path.name}.part")
    with os.fdopen(log, "rb") as removed, draft.open("wb") as copy:
        removed.seek(0)
        shutil.copyfileobj(removed, copy)
        copy.flush()
        os.fsync(copy.fileno())
    draft.replace(path)
    return open_log(path)


def lock(log: int) -> bool:
    """Become the only writer until the descriptor is closed; False where another process is."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_torn(path: Path) -> bool:
    """Whether the last line has no end."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 1))
            return log.read(1) not in (b"", b"\n")
    except OSError:
        return False  # no file to repair; reading it says why


def cut_tail(path: Path, keep: Path | None = None) -> int:
    """Bytes taken from behind the last whole line, appended to `keep` first. The caller holds the lock."""
    log = open_log(path)
    try:
        size = os.fstat(log).st_size
        whole_bytes = _whole_bytes(log, size)
        if keep is not None:
            _keep(keep, os.pread(log, size - whole_bytes, whole_bytes))
        os.ftruncate(log, whole_bytes)
        os.fsync(log)
        return size - whole_bytes
    finally:
        os.close(log)


def _unframed(raw: bytes) -> tuple[bytes, str]:
    """A line's JSON, and what is wrong with the line, or nothing."""
    if not raw.endswith(b"\n"):
        return b"", "incomplete, its writer was killed or is still writing"
    head = _FRAME.match(raw)
    if head is None:
        return b"", "not a framed record (checksum, length, JSON): restore the file from a copy"
    payload = raw[head.end() : -1]
    if len(payload) != int(head[2]):
        return b"", f"{len(payload)} bytes long where {int(head[2])} were written: restore the file from a copy"
    if crc32(payload) != int(head[1], 16):
        return b"", "changed since it was written (checksum differs): restore the file from a copy"
    return payload, ""


def _skip_line(log: IO[bytes]) -> None:
    while (raw := log.readline(MAX_LINE_BYTES)) and not raw.endswith(b"\n"):
        pass


def _cut(log: int, size: int) -> None:
    """Take back a half-written line; where even that fails, reading reports the tail."""
    try:
        os.ftruncate(log, size)
    except OSError:
        return


def _keep(path: Path, tail: bytes) -> None:
    handle = open_log(path)
    try:
        os.write(handle, tail + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def _whole_bytes(log: int, size: int) -> int:
    """Where the last newline ends, searched backwards."""
    end = size
    while end:
        start = max(0, end - (1 << 16))
        newline = os.pread(log, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
