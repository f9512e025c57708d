"""The cold start of a fresh process: to its first answer, and on to the steady state.

What the harness does for itself (making the model's files and checking them, making inputs, gathering evidence) is in
no figure: the time to the first answer is the sum of what every process pays. Whether files come from memory or from
the disk decides much of it, so the share of them that was in memory is measured, and can be brought to nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from array import array
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench import load, measure

if TYPE_CHECKING:
    from backends.contract import Engine, Session
    from bench.load import Driving
    from bench.measure import Timed
    from bench.queries import Witness
    from bench.scenarios import ColdStart
    from bench.sut import SystemUnderTest

ROW = 5
"""So many queries in a row, by their median, show that the steady state is reached; one slow query shows nothing."""


def prepare(sut: SystemUnderTest) -> dict[str, Any]:
    """Bring the files into memory, or evict them, as the scenario says, and look what of them is there.

    Shaped as `results.record.Phases`.

    To be called once the model's files are made, and before the engine is imported.
    """
    files = [*_model_files(sut), *_library_files(sut.engine)]
    bring = {"warm": read, "cold": evict}[cast("ColdStart", sut.scenario).page_cache]
    bring(files)
    try:
        return {"page_cache_share": cached_share(files), "missing": {}}
    except OSError as error:
        return {"page_cache_share": None, "missing": {"page_cache_share": str(error)}}


def drive(sut: SystemUnderTest, session: Session, batch: int, witness: Witness) -> Driving:
    """The very first query, whose answer ends the window, then single_stream until latencies have settled."""
    first, others = load.feeder(sut.workload, batch, witness)(2)
    yield "warmup"
    witness.open()
    query = next(first)
    began_ns = measure.CLOCK()
    outputs = session.get(session.run(session.put(query)))
    answered_ns = measure.CLOCK()
    first.send(outputs)
    witness.close()
    first_run_ns = answered_ns - began_ns
    facts = session.facts
    cold_ns = (sut.start_ns or 0) + facts.import_ns + (facts.load_ns or 0) + facts.compile_ns + first_run_ns
    steady = measure.Steady(sut.job.effort.warmup_max_s, measure.latency_level)
    (warmup,) = measure.single_stream(session, [others], [steady])
    return load.Measured(
        measure.Timed(array("q", [cold_ns]), answered_ns - cold_ns, answered_ns),
        len(warmup.samples),
        warmup.duration_ns,
        steady.stable,
        batch,
        first_run_ns=first_run_ns,
        steady_ns=cold_ns + reached_ns(warmup, steady) if steady.stable else None,
    )


def reached_ns(warmup: Timed, steady: measure.Steady) -> int:
    """From the beginning of a warm-up that has settled until its steady state was reached, which is seen only later.

    That is at the first ROW queries whose median is within WARMUP_SPREAD of the level of the blocks that settled it.
    They are looked for from the block before those on: what was off before it is not the steady state by chance.
    """
    level_ns = median(steady.levels[-measure.WARMUP_BLOCKS :])
    before = max(0, len(steady.begins) - measure.WARMUP_BLOCKS - 1)
    latencies = np.frombuffer(warmup.samples, np.int64)
    starts = np.cumsum(latencies) - latencies
    earliest = int(np.searchsorted(starts, steady.begins[before] - warmup.opened_ns))
    rows = np.median(np.lib.stride_tricks.sliding_window_view(latencies[earliest:], ROW), axis=1)
    near = np.flatnonzero(np.abs(rows - level_ns) <= measure.WARMUP_SPREAD * level_ns)
    return int(starts[earliest + near[0]]) if len(near) else steady.begins[-measure.WARMUP_BLOCKS] - warmup.opened_ns


def _model_files(sut: SystemUnderTest) -> list[Path]:
    """What the engine starts from, and what lies beside it: the weights."""
    name = sut.engine.form_of(sut.model, sut.job.precision)
    form = sut.model.form(name) if name else None
    return _files([form.parent]) if isinstance(form, Path) else []


def _library_files(engine: Engine) -> list[Path]:
    """Of the engine's package, without importing it, and of the libraries that a wheel brings along beside it."""
    package = (engine.module or engine.name).partition(".")[0]
    spec = find_spec(package)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    return _files([*folders, *(folder.with_name(f"{package}.libs") for folder in folders)])


def _files(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def read(files: Iterable[Path]) -> None:
    """Into the page cache; where memory is short, what came first may have left again."""
    buffer = bytearray(1 << 20)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def evict(files: Iterable[Path]) -> None:
    """Out of the page cache, as far as nobody has them mapped: posix_fadvise(2). What is not written yet stays."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def cached_share(files: Iterable[Path]) -> float:
    """Of the pages of `files`, those that are in memory, 0 to 1; raises OSError, with why, where nobody can tell."""
    pages = cached = 0
    for path in files:
        if path.stat().st_uid != os.geteuid() and not os.access(path, os.W_OK):
            raise OSError(f"the kernel tells only who may write {path} what of it is in memory (mincore)")
        resident = _resident(path)
        pages += len(resident)
        cached += int(np.count_nonzero(resident & 1))
    if not pages:
        raise OSError("neither the model nor the engine's library is in files")
    return cached / pages


def _resident(path: Path) -> Any:
    """mincore(2): a byte for each page."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        resident = np.zeros(-(-len(view) // mmap.PAGESIZE), np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(view.ctypes.data)
        failed = libc.mincore(address, ctypes.c_size_t(len(view)), ctypes.c_void_p(resident.ctypes.data))
        del view
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return resident
