"""The store: one folder per run under a root, usually `results/runs`. It is only ever appended to.

    <root>/<run_id>/records.log              one framed record a line (results/log.py)
    <root>/<run_id>/records.log.torn         tails of records whose writer was killed, moved here by the next run
    <root>/<run_id>/summaries.log            framed summaries; derived, the last one of a record counts
    <root>/<run_id>/samples/<record_id>.i64  raw little-endian int64; examples' grades in <record_id>.scores.f64

Reading streams: memory does not grow with the number of records. Whatever cannot be read is one `Problem` each, a line
for people with path, record number, what and remedy; the rest is read.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from results import log, upgrade
from results.log import Problem, StoreError
from results.record import SCHEMA_VERSION, Record, Summary
from results.strict import Strict

__all__ = [
    "Problem", "Run", "StoreError", "check_writable", "folder_of", "keep_summary", "new_run_id", "newest", "read",
    "repair", "run_folders", "samples_of", "scores_of",
]  # fmt: skip

RECORDS, SUMMARIES, SAMPLES, TORN = "records.log", "summaries.log", "samples", "records.log.torn"
PROBE_BYTES = 256 << 10
NEEDED_BYTES = 64 << 20
"""Free space asked for before measuring: 8 million samples."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: upgrade.record_from_1,
    2: upgrade.record_from_2,
    3: upgrade.record_from_3,
}
"""Schema version to the function that turns its raw record into one of the next version."""

_FILE_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,159}\Z")

M = TypeVar("M", bound=Strict)
Entry = tuple[Record, Summary | None]


def new_run_id(now: datetime | None = None) -> str:
    """The UTC second plus six random hexadecimal digits, as in 20261122T071501Z-5f0c1e: names sort by time."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class Run:
    """One run's folder, held open and locked by its only writer. `repaired` says what opening the root put right."""

    def __init__(self, folder: Path, repaired: Sequence[Problem] = ()) -> None:
        self.folder, self.repaired = folder, tuple(repaired)
        try:
            (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
            self._records = log.open_log(folder / RECORDS)
            self._summaries = log.open_log(folder / SUMMARIES)
            _sync_folders(folder, folder.parent)
            alone = log.lock(self._records)
        except OSError as error:
            raise StoreError.of(folder, "opening the run", error) from error
        if not alone:
            self.close()
            raise StoreError(f"{folder}: another process is writing this run (opening it); start a new run")

    @classmethod
    def open(cls, root: Path, run_id: str) -> Run:
        """Open `root/run_id` for appending, after putting right what a killed run left under `root`."""
        folder = root / _checked(run_id)
        return cls(folder, repair(root) if root.is_dir() else ())

    def append(self, record: Record) -> None:
        """Keep `record` for ever; returns when it is on the disk. Raises StoreError, with nothing half written."""
        self._put_back()
        log.append(self._records, self.folder / RECORDS, record.model_dump_json().encode())

    def append_summary(self, summary: Summary) -> None:
        log.append(self._summaries, self.folder / SUMMARIES, summary.model_dump_json().encode())

    def samples_path(self, record_id: str) -> Path:
        """Where this record's samples belong. `Window.samples_file` is this path relative to the run's folder."""
        return self.folder / SAMPLES / f"{_checked(record_id)}.i64"

    def close(self) -> None:
        os.close(self._records)
        os.close(self._summaries)

    def _put_back(self) -> None:
        """Records and summaries of a folder that somebody removed are still open here; its samples are lost."""
        try:
            (self.folder / SAMPLES).mkdir(parents=True, exist_ok=True)
            self._records = log.put_back(self._records, self.folder / RECORDS)
            self._summaries = log.put_back(self._summaries, self.folder / SUMMARIES)
            log.lock(self._records)
        except OSError as error:
            raise StoreError.of(self.folder, "putting back what somebody removed", error) from error

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_writable(root: Path, needed_bytes: int = NEEDED_BYTES) -> None:
    """Really write, before anything is measured. Raises StoreError."""
    moment = "tried before measuring"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root, prefix=".probe-") as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
        free_bytes = shutil.disk_usage(root).free
    except OSError as error:
        raise StoreError.of(root, moment, error) from error
    if free_bytes < needed_bytes:
        short = f"{free_bytes >> 20} MiB free where {needed_bytes >> 20} MiB are needed"
        raise StoreError(f"{root}: {short} ({moment}); free some space or choose another results folder")


def repair(root: Path) -> list[Problem]:
    """Move the torn tail of every records.log under `root` to `records.log.torn`, so that the log ends at a whole line.

    A torn summary is dropped: it is made again. Runs that are being written are left alone.
    """
    done: list[Problem] = []
    for folder in run_folders(root):
        if any(log.is_torn(folder / name) for name in (RECORDS, SUMMARIES)):
            try:
                done += _repair_folder(folder)
            except OSError as error:
                done.append(Problem(folder / RECORDS, 0, f"its torn tail cannot be moved: {error.strerror}"))
    return done


def run_folders(path: Path) -> list[Path]:
    """The run folders at `path`, oldest first: a root, one run's folder, or its records.log. Raises StoreError."""
    if path.name == RECORDS and path.is_file():
        return [path.parent]
    if (path / RECORDS).exists():
        return [path]
    try:
        return sorted(child for child in path.iterdir() if _is_run(child))
    except OSError as error:
        remedy = "give a folder that runs were written to, or measure first"
        raise StoreError(f"{path}: cannot read results: {error.strerror}; {remedy}") from error


def _is_run(folder: Path) -> bool:
    """A folder that may not be looked into counts: reading it says so, and hides no other."""
    try:
        return (folder / RECORDS).exists()
    except PermissionError:
        return True


def read(path: Path, problems: list[Problem] | None = None) -> Iterator[Entry]:
    """Every record under `path` with its stored summary, oldest run first; `path` is what `run_folders` takes."""
    found: list[Problem] = [] if problems is None else problems
    for folder in run_folders(path):
        yield from _entries(folder, log.payloads(folder / RECORDS, found), found)


def newest(path: Path, problems: list[Problem] | None = None) -> Iterator[Entry]:
    """Of every identity on every machine the records of the newest run that has it, newest run first.

    The checksum of every record is verified. Records that a newer run supersedes are not validated beyond that: reading
    100,000 of them would take six times as long.
    """
    found: list[Problem] = [] if problems is None else problems
    superseded: set[bytes] = set()
    for folder in reversed(run_folders(path)):
        here: set[bytes] = set()
        payloads = _unseen(log.payloads(folder / RECORDS, found), superseded, here)
        yield from _entries(folder, payloads, found)
        superseded |= here


def folder_of(path: Path, record: Record) -> Path:
    """The run folder of a record that `read(path)` gave."""
    if path.name == RECORDS:
        return path.parent
    return path if (path / RECORDS).exists() else path / record.context.run_id


def samples_of(folder: Path, record: Record) -> np.ndarray[Any, np.dtype[np.int64]]:
    """This record's samples, (queries,) int64, in a new array. Raises StoreError."""
    if record.window is None:
        if record.estimate is not None:
            return np.empty(0, np.int64)
        raise StoreError(f"{record.record_id}: {record.status}, there are no samples")
    return _numbers(folder, record, record.window.samples_file, "samples", record.window.queries).view(np.int64)


def scores_of(folder: Path, record: Record) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each evaluation example's grade, (n,) float64, in the order of the examples. Raises StoreError."""
    quality = record.evidence.quality if record.evidence else None
    if quality is None or quality.scores_file is None:
        raise StoreError(f"{record.record_id}: no example's grade was kept")
    return _numbers(folder, record, quality.scores_file, "scores", quality.n).view(np.float64)


def keep_summary(folder: Path, summary: Summary) -> bool:
    """Append a summary that was made again while reading; False where the folder cannot be written."""
    try:
        handle = log.open_log(folder / SUMMARIES)
    except OSError:
        return False
    try:
        log.append(handle, folder / SUMMARIES, summary.model_dump_json().encode())
    except StoreError:
        return False
    finally:
        os.close(handle)
    return True


def _numbers(folder: Path, record: Record, name: str, what: str, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """`count` little-endian numbers of 8 bytes, in a new array of this machine's byte order."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StoreError(f"{record.record_id}: its {what} file lies outside the run's folder; left unread")
    try:
        size_bytes = path.stat().st_size
        if size_bytes != 8 * count:
            raise StoreError(f"{path}: {size_bytes} bytes where {count} {what} of 8 were written")
        return np.fromfile(path, dtype="<u8").astype(np.uint64, copy=False)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: the {what} file is gone") from error


def _entries(folder: Path, payloads: Iterable[tuple[int, bytes]], problems: list[Problem]) -> Iterator[Entry]:
    """The records of one run, each once, with their summaries, which are read when the first record needs them."""
    summaries: dict[str, Summary] | None = None
    seen: set[str] = set()
    for line, record in _models(folder / RECORDS, Record, payloads, problems):
        if record.record_id in seen:
            again = f"{record.record_id} is there a second time; left out, remove the copy"
            problems.append(Problem(folder / RECORDS, line, again))
            continue
        seen.add(record.record_id)
        if summaries is None:
            unread: list[Problem] = []  # a summary that cannot be read is made again
            stored = log.payloads(folder / SUMMARIES, unread)
            summaries = {s.record_id: s for _, s in _models(folder / SUMMARIES, Summary, stored, unread)}
        yield record, summaries.get(record.record_id)


def _unseen(
    lines: Iterable[tuple[int, bytes]], superseded: set[bytes], here: set[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The lines whose identity and machine no newer run has; theirs are added to `here`."""
    for line, payload in lines:
        key = _key(payload)
        if key is None or key not in superseded:
            yield line, payload
        if key is not None:
            here.add(key)


def _key(payload: bytes) -> bytes | None:
    """Identity and fingerprint as they stand in the JSON; None where they are not laid out as pydantic does it.

    Unambiguous without parsing: in a JSON string every quote has a backslash before it, so no text holds these marks.
    Schema 1 had no rules but ours.
    """
    try:
        start = payload.index(b'"identity":{')
        end = payload.index(b'},"card":{', start)
        machine = payload.index(b'},"fingerprint":"', payload.index(b'"machine":{', end))
        identity = payload[start:end].replace(b'},"rules":"accelmark",', b"},")
        return identity + payload[machine : payload.index(b'",', machine + 17)]
    except ValueError:
        return None


def _models(
    path: Path, kind: type[M], payloads: Iterable[tuple[int, bytes]], problems: list[Problem]
) -> Iterator[tuple[int, M]]:
    for line, payload in payloads:
        try:
            model = kind.model_validate_json(payload)
        except ValidationError as error:
            try:
                model = _upgraded(kind, payload, error)
            except ValueError as why:
                problems.append(Problem(path, line, f"{why}; left out, the rest is read"))
                continue
        yield line, model


def _upgraded(kind: type[M], payload: bytes, error: ValidationError) -> M:
    """`payload` through the upgrade table; ValueError says in one line why it is no record that can be read."""
    try:
        raw = json.loads(payload)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"not JSON ({_printable(str(why))[:120]})") from why
    version = raw.get("schema_version" if kind is Record else "rules_version") if isinstance(raw, dict) else None
    if type(version) is not int or (kind is Record and version == SCHEMA_VERSION):
        raise ValueError(_first_error(error))
    try:
        upgraded = upgrade.summary(raw) if kind is Summary else _steps(raw, version)
    except (AttributeError, KeyError, TypeError) as why:
        raise ValueError(f"no whole record of schema {version}: {_printable(repr(why))[:120]}") from why
    try:
        return kind.model_validate_json(json.dumps(upgraded))
    except ValidationError as still:
        raise ValueError(f"after its upgrade: {_first_error(still)}") from still


def _steps(raw: dict[str, Any], version: int) -> dict[str, Any]:
    """A record of schema `version`, step by step up to today's. Raises ValueError."""
    if version > SCHEMA_VERSION:
        newer = f"schema {version}; this one reads up to {SCHEMA_VERSION}"
        raise ValueError(f"record written by a newer accelmark ({newer}): update accelmark")
    while version < SCHEMA_VERSION:
        if version not in UPGRADES:
            raise ValueError(f"schema {version} has no upgrade to {version + 1}")
        raw, version = UPGRADES[version](raw), version + 1
    return raw


def _first_error(error: ValidationError) -> str:
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    where = ".".join(str(part) for part in errors[0]["loc"]) or "record"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return _printable(f"{where[:120]}: {errors[0]['msg'][:200]}{more}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _repair_folder(folder: Path) -> Iterator[Problem]:
    handle = log.open_log(folder / RECORDS)
    try:
        if not log.lock(handle):
            return
        if log.is_torn(folder / RECORDS):
            tail_bytes = log.cut_tail(folder / RECORDS, folder / TORN)
            yield Problem(folder / RECORDS, 0, f"a killed run left {tail_bytes} bytes of a record; moved to {TORN}")
        if log.is_torn(folder / SUMMARIES):
            log.cut_tail(folder / SUMMARIES)
    finally:
        os.close(handle)


def _sync_folders(*folders: Path) -> None:
    """So that the names of new files survive a power cut too."""
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _checked(name: str) -> str:
    if not _FILE_NAME.match(name):
        raise ValueError(f"{name!r} cannot name a file: letters, digits, dot, dash and underscore only")
    return name
