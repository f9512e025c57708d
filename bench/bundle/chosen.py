"""`pytest bench/ --artifact FILE`: what it is, and what is therefore measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.bundle import carried
from bench.bundle.archive import unpack
from bench.bundle.manifest import BundleError
from bench.selection import SelectionError


@dataclass(frozen=True)
class Chosen:
    """`artifact` is what a worker is told (`bench.protocol.Job`); the rest completes the selection."""

    artifact: str
    form: str
    workloads: tuple[str, ...]
    precisions: tuple[str, ...]


def choose(path: Path, workloads: Sequence[str], precisions: Sequence[str]) -> Chosen:
    """A bundle says what it is; of a compiled file the command line has to. Raises SelectionError."""
    try:
        known = carried.compiled(path)
        chosen = _compiled(path, workloads, *known) if known else _bundle(path)
    except BundleError as error:
        raise SelectionError(f"--artifact {error}") from None
    for option, asked, own in (
        ("--workload", workloads, chosen.workloads),
        ("--precision", precisions, chosen.precisions),
    ):
        if asked and tuple(asked) != own:
            raise SelectionError(f"{option} {','.join(asked)}: {path.name} is {own[0]}; leave the option out")
    return chosen


def _bundle(path: Path) -> Chosen:
    folder, told = unpack(path)
    return Chosen(str(folder), told.form, (told.workload,), (told.precision,))


def _compiled(path: Path, workloads: Sequence[str], form: str, precision: str) -> Chosen:
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file")
    if len(workloads) != 1:
        raise BundleError(f"{path}: it does not say which workload it is; name that one, as in --workload=mobilenetv2")
    return Chosen(str(path.resolve()), form, tuple(workloads), (precision,))
