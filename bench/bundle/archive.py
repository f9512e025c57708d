"""Packs and unpacks bundles. An archive comes from elsewhere: nothing in it is believed before it was looked at.

Entries are stored, not compressed: the same content is the same bytes whatever zlib there is, and an archive cannot
hold more than its own length.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

from bench.bundle.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    SAFE,
    BundleError,
    DamagedError,
    Manifest,
    content_of,
    damaged,
    read,
)
from workloads import weights

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that an entry can have: when a bundle was made is not content."""
ENTRY = b"PK\x03\x04"
"""What every ZIP archive with an entry begins with; the first entry's name follows, in a bundle the manifest's."""
NAME_AT = 30
AGAIN = "fetch it again, or make it again: accelmark export"


def pack(folder: Path, manifest: Manifest, target: Path) -> None:
    """Write the bundle whose files lie in `folder`; in one order, and all of it or nothing."""
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            archive.writestr(_entry(MANIFEST), manifest.to_text())
            for name in sorted(manifest.files):
                with (folder / name).open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.create_system = 3  # Unix, wherever it is written
    return entry


def unpack(path: Path) -> tuple[Path, Manifest]:
    """The folder with a bundle's checked content, kept in the cache by the content of the archive.

    Raises BundleError for what is no bundle, a damaged one, or one that holds anything that its manifest does not name.
    """
    if path.is_dir():
        raise BundleError(f"{path}: is a folder; name the .zip file that accelmark export wrote")
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise _foreign(path, "no bundle: accelmark export makes one")
    home = weights.cache_root() / "bundles" / content_of(path).sha256[:32]
    if (known := _intact(home)) is not None:
        return home, known
    home.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=home.parent))
    try:
        manifest = _extract(path, part)
        if wrong := damaged(part, manifest):
            raise DamagedError(f"{path}: {', '.join(wrong)} is not what the manifest says: {AGAIN}")
        shutil.rmtree(home, ignore_errors=True)
        os.replace(part, home)  # noqa: PTH105 - of a folder
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return home, manifest


def _intact(home: Path) -> Manifest | None:
    """The manifest of what was unpacked before, if all of it is still as it was."""
    try:
        manifest = read(home)
    except (OSError, BundleError):
        return None
    return None if damaged(home, manifest) else manifest


def _extract(path: Path, folder: Path) -> Manifest:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            text = archive.read(entries[MANIFEST]).decode()
            manifest = Manifest.from_text(text, path)
            _compare(entries, manifest, path)
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            for name in manifest.files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entries[name]) as source, (folder / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            return manifest
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError, RuntimeError) as error:
        raise DamagedError(f"{path}: no bundle, or a damaged one ({error}): {AGAIN}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset that leads out of the file; a full disk is another matter
            raise
        raise DamagedError(f"{path}: no bundle, or a damaged one (an offset in it is wrong): {AGAIN}") from None


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """By name, all of them harmless; raises BundleError."""
    entries = archive.infolist()
    for entry in entries:
        if not SAFE.fullmatch(entry.filename):
            raise BundleError(f"{path}: refused, as its entry {entry.filename!r} has a name that no bundle has")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleError(f"{path}: refused, as its entry {entry.filename} is compressed, and no bundle's is")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BundleError(f"{path}: refused, as its entry {entry.filename} is no plain file")
    if len({entry.filename for entry in entries}) < len(entries):
        raise BundleError(f"{path}: refused, as two of its entries have one name")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BundleError(f"{path}: refused, as its entries overlap: together they are longer than the file")
    named = {entry.filename: entry for entry in entries}
    if MANIFEST not in named:
        raise _foreign(path, f"no bundle of accelmark export: it has no {MANIFEST}")
    if named[MANIFEST].file_size > MANIFEST_BYTES_MAX:
        raise BundleError(f"{path}: no bundle of accelmark export: its {MANIFEST} is over {MANIFEST_BYTES_MAX:,} bytes")
    return named


def _foreign(path: Path, why: str) -> BundleError:
    """What to raise of a file without a bundle's end: of one that begins as bundles do, that it was cut off."""
    with path.open("rb") as file:
        head = file.read(NAME_AT + len(MANIFEST))
    if head[: len(ENTRY)] == ENTRY and head[NAME_AT:] == MANIFEST.encode():
        return DamagedError(f"{path}: damaged: it begins as a bundle and has no end: {AGAIN}")
    return BundleError(f"{path}: {why}")


def _compare(entries: dict[str, zipfile.ZipInfo], manifest: Manifest, path: Path) -> None:
    """Raises BundleError where archive and manifest differ in what there is."""
    foreign = sorted(set(entries) - set(manifest.files) - {MANIFEST})
    if foreign:
        raise BundleError(f"{path}: refused, as its manifest does not name {', '.join(foreign)}")
    if lacking := sorted(set(manifest.files) - set(entries)):
        raise DamagedError(f"{path}: {', '.join(lacking)} is missing: {AGAIN}")
    if other := [name for name, one in manifest.files.items() if entries[name].file_size != one.bytes]:
        raise DamagedError(f"{path}: {', '.join(other)} has another length than its manifest says: {AGAIN}")
