"""Figures that others published, kept beside the runs so that a laptop's page can show the market.

    <root>/published.log    one framed line for each file that was imported (results/log.py): whole, or not at all

A published figure was measured by somebody else, by rules and on machines that nobody can check here: it has a
provenance of its own and is never ranked with what was measured. `networks` says which of them ran a network of ours,
`hardware` which device of the catalog it was. Each of the modules `mlperf`, `tiny` and `table` reads one kind of file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints, ValidationError

from results import log
from results.log import Problem, StoreError
from results.published import mlperf, table, tiny
from results.published.row import Bad, Published
from results.strict import Strict

__all__ = ["LOG", "Bad", "Import", "Imported", "Published", "import_file", "read"]

LOG: Final = "published.log"
FILE_MAX_BYTES: Final = log.MAX_LINE_BYTES
ROWS_MAX: Final = 20_000
"""Far beyond any of these files, and about what a line of the log holds; what is larger is another kind of file."""

LINE_MAX_BYTES: Final = log.MAX_LINE_BYTES - 64
"""A line of the log without its frame."""
SPLIT: Final = "import it in parts"

READERS = (mlperf, tiny, table)


class Import(Strict):
    """One file's rows that were new, in the file's order."""

    schema_version: Literal[1] = 1
    imported_utc: Annotated[str, StringConstraints(pattern=r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\z")]
    rows: tuple[Published, ...]


@dataclass(frozen=True)
class Imported:
    """What became of a file: rows that were `new`, that were `known` already, and that are left out, with why."""

    new: int
    known: int
    left_out: tuple[Bad, ...]


def read(root: Path, problems: list[Problem]) -> tuple[Published, ...]:
    """Everything imported under `root`, oldest first. Nothing was imported: nothing."""
    return tuple(row for one in _imports(root / LOG, problems) for row in one.rows)


def import_file(path: Path, root: Path, now: datetime | None = None) -> Imported:
    """Append what `path` holds to the log under `root`, as one line; returns when it is on the disk.

    Raises ValueError for a file of no known kind or too large a one, of which nothing is kept then, and StoreError
    where the log cannot be written.
    """
    content = _content(path)
    reader, text = _reader(path, content)
    origin = {"file": path.name, "file_sha256": hashlib.sha256(content).hexdigest()}
    found = _found(path, reader, text)
    rows = [row.model_copy(update=origin) for row in found if isinstance(row, Published)]
    bad = tuple(row for row in found if isinstance(row, Bad))
    when = f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if len(_line(when, rows)) > LINE_MAX_BYTES:
        raise ValueError(f"{path}: over {LINE_MAX_BYTES:,} bytes as it would be kept, which is the limit; {SPLIT}")
    if not rows:
        return Imported(0, 0, bad)
    with _locked(root) as handle:
        known = {row.key for row in read(root, [])}
        new = tuple(_unseen(rows, known))
        if new:
            log.append(handle, root / LOG, _line(when, new))
    return Imported(len(new), len(rows) - len(new), bad)


def _line(when: str, rows: Sequence[Published]) -> bytes:
    return Import(imported_utc=when, rows=tuple(rows)).model_dump_json(exclude_none=True).encode()


def _found(path: Path, reader: Any, text: str) -> list[Published | Bad]:
    """All rows; raises ValueError, naming the file, for a damaged one and before the rest of too long a one is read."""
    try:
        found = list(islice(reader.rows(text), ROWS_MAX + 1))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if len(found) > ROWS_MAX:
        raise ValueError(f"{path}: over {ROWS_MAX:,} rows, which is the limit; {SPLIT}")
    return found


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: no file, so nothing can be imported from it; {_KINDS}")
    if path.stat().st_size > FILE_MAX_BYTES:
        size = path.stat().st_size / (1 << 20)
        raise ValueError(f"{path}: {size:.1f} MiB, and the limit is {FILE_MAX_BYTES >> 20} MiB; {SPLIT}")
    return path.read_bytes()


def _reader(path: Path, content: bytes) -> tuple[Any, str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); {_KINDS}") from error
    for reader in READERS:
        if reader.fits(text):
            return reader, text
    raise ValueError(f"{path}: no table of published results that is known; {_KINDS}")


_KINDS = "known are " + ", ".join(reader.KIND for reader in READERS)


def _unseen(rows: Iterable[Published], seen: set[str]) -> Iterator[Published]:
    """Each row whose content is not in `seen`, once; they are added to it."""
    for row in rows:
        if row.key not in seen:
            seen.add(row.key)
            yield row


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    """The log, open for its only writer, without the torn line of one that was killed."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = log.open_log(root / LOG)
    except OSError as error:
        raise StoreError.of(root / LOG, "opening it to import", error) from error
    try:
        if not log.lock(handle):
            raise StoreError(f"{root / LOG}: another process is importing (opening it); try again when it is done")
        if log.is_torn(root / LOG):
            log.cut_tail(root / LOG)
        yield handle
    finally:
        os.close(handle)


def _imports(path: Path, problems: list[Problem]) -> Iterator[Import]:
    for line, payload in log.payloads(path, problems):
        try:
            yield Import.model_validate_json(payload)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))[:120]
            problems.append(Problem(path, line, f"no import that is known: {where}: {first['msg'][:200]}; left out"))
