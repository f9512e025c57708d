"""Measures one item: `python -m bench.worker FD` reads a Job from the inherited socket FD and answers with events.

This process measures one item and ends, so that cold start is measured every time and nothing that one engine leaves
behind meets another.
"""

from __future__ import annotations

from bench import awake  # isort: skip - before all else

import contextlib
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, fields
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from backends.contract import Estimate
from bench import artefact, audit, coldstart, load, measure, queries, training
from bench.protocol import Job, Result, send
from bench.sut import SystemUnderTest
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from array import array

    from backends.contract import Engine, Facts, Session
    from bench.load import Driving, Measured

NOT_FRESH = "measured in a process that was there before"
NOT_COLD = "other batches were tried before in this process: it was no cold start"
NOT_ASKED = "only cold_start measures it"
NEVER_STEADY = "latencies did not settle before the warm-up ended"
NOT_APART = "the engine loads and compiles in one call: compile_ns holds both"
NOT_FORGOTTEN = "the kernel cannot forget the peak that trying other batches left (/proc/self/clear_refs)"
NOT_HERE = "the device is not here: nothing was run on it"
COMPILING = ("import_ns", "load_ns", "compile_ns")
NOT_RUN = ("first_run_ns", "steady_ns", "page_cache_share")
NOT_TIMED = ("timed_outputs", "same_input", "stages", "peak_memory_bytes", "artefact", "kernels", "training")
NOT_TRAINED = "it answers, and is not trained"
ESTIMATED = tuple(one.name for one in fields(Estimate) if one.name not in ("facts", "numerics", "missing"))
AUDIT_SHARE, AUDIT_MAX_S = 0.4, 10.0
"""Audits after the window may take this share of what the window has to, and no longer than that."""
DOING = {
    "start": "starting",
    "build": "making the model",
    "compile": "compiling",
    "check": "checking outputs",
    "warmup": "warming up",
    "search": "searching for the highest rate",
    "measure": "measuring",
    "audit": "auditing the window",
    "finish": "finishing",
}


def main(argv: list[str]) -> int:
    """Serve the parent on the socket whose number is `argv[0]`; 0 when it got an answer, whichever."""
    channel = socket.socket(fileno=int(argv[0]))
    stream = channel.makefile("rw", encoding="utf-8")
    job = Job.from_line(stream.readline())
    threading.Thread(target=_end_with_parent, args=(channel,), daemon=True).start()
    return _serve(job, stream)


def _serve(job: Job, stream: IO[str]) -> int:
    phase = "start"
    try:
        for event in events(job, fresh=True):
            phase = event.get("phase", phase)
            send(stream, **event)
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 - whatever an engine raises is this item's answer
        traceback.print_exc()
        send(stream, "failed", reason=_reason(error, phase), remedy=_remedy(error))
    return 0


def _end_with_parent(channel: socket.socket) -> None:
    """End with the parent, and whatever was started here too: what nobody waits for would disturb the next run."""
    with contextlib.suppress(ConnectionResetError):  # the parent died with events unread
        channel.recv(1)
    if os.getpgrp() == os.getpid():  # as the supervisor starts it
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _reason(error: BaseException, phase: str) -> str:
    """One line: what happened, in doing what."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__} while {DOING[phase]}: {lines[0][:500]}"


def _remedy(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "use a smaller batch, or a machine with more memory"
    if isinstance(error, ImportError) and error.name:
        return f"install {error.name.partition('.')[0]}"
    return "see the end of the worker's output"


def events(job: Job, fresh: bool = False) -> Iterator[dict[str, Any]]:
    """Measure `job`, giving the events of `bench.protocol` as they happen; what fails raises.

    `fresh`: this process was started for the job, so its age and its peak memory tell something about it.
    """
    try:
        yield from _events(job, fresh)
    except Unsupported as answer:
        yield {"event": "unsupported", "reason": str(answer)}


def _events(job: Job, fresh: bool) -> Iterator[dict[str, Any]]:
    start_ns = began_ns() if fresh else None
    yield _phase("build")
    sut = SystemUnderTest.find(job, start_ns)
    made, build_ns = sut.build()
    with sut.unpacked(made) as (ready, unpack_ns):
        begin = _begin(start_ns, build_ns)
        about = partial(artefact.evidence, sut.model, made, unpack_ns=unpack_ns)
        if not sut.device.runs:
            yield from _estimated(ready, begin)
        elif job.mode == "train":
            yield from _trained(ready, begin, fresh)
        else:
            yield from _measured(ready, begin, fresh, about)


def _measured(
    sut: SystemUnderTest, begin: dict[str, Any], fresh: bool, about: Callable[[Session], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A device that runs; `about` tells of what its session started from."""
    job = sut.job
    cold = sut.scenario.name == "cold_start"
    page_cache = coldstart.prepare(sut) if cold else {"missing": {"page_cache_share": NOT_ASKED}}
    yield _phase("compile")
    batch, tried = sut.choose_batch() if job.batch == "auto" else (int(job.batch), None)
    unknown_peak = NOT_FRESH if not fresh else "" if tried is None or forget_peak_memory() else NOT_FORGOTTEN
    with closing(sut.compile(batch)) as session:
        first_run_ns, checked = None, None
        if not cold:
            yield _phase("check")
            first_run_ns, checked = sut.first_run(session, batch), sut.check(session, batch)
        witness = queries.Witness(sut.workload, batch, job.precision, job.seed)
        measured = yield from _phases_of(load.drive(sut, session, batch, witness))
        yield _phase("audit")
        checked = checked or sut.check(session, batch)
        peak_memory = _peak_memory(unknown_peak)  # before a profile takes a second session
        budget_s = min(AUDIT_SHARE * job.effort.min_duration_s, AUDIT_MAX_S)
        audits = audit.after(sut.workload, session, batch, witness, budget_s)
        audited = audit.asked({**audits, "artefact": partial(about, session)})
        untrained = {"training": None, "missing": {"training": NOT_TRAINED}}
        yield _phase("finish")
        first = _first(session, first_run_ns or measured.first_run_ns, cold=tried is None)
        result = Result(
            window=_kept(sut, measured),
            phases=_merged(begin, page_cache, first, _steady(measured, cold)),
            evidence=_merged(checked, audited, untrained, peak_memory),
            settings={**_settings(session, tried), **_artifact(sut)},
            versions=_versions(sut.engine),
            batch_chosen=batch,
            marks={"opened_ns": measured.timed.opened_ns, "closed_ns": measured.timed.closed_ns},
            load=measured.load,
            loadgen=measured.loadgen,
        )
        del measured  # ten million samples are not to be held here and by the parent
        # The session is closed after the answer: an engine that crashes or hangs in that loses nothing.
        yield {"event": "result", **asdict(result)}


def _trained(sut: SystemUnderTest, begin: dict[str, Any], fresh: bool) -> Iterator[dict[str, Any]]:
    """A device that runs, and a session that is trained on it: of its weights nothing is kept."""
    yield _phase("compile")
    batch = int(sut.job.batch)
    with closing(sut.compile(batch)) as session:
        yield _phase("check")
        batches = training.batches_of(sut.workload, batch)
        first_run_ns, proved = training.first_step(session, batches[0]), training.proof(session, batches[0])
        measured = yield from _phases_of(training.drive(session, batches, sut.job.effort))
        yield _phase("audit")
        ran = audit.asked({"kernels": partial(audit.kernels.of, session, batches[0])})
        yield _phase("finish")
        unasked = dict.fromkeys(training.NOT_ASKED, training.NOT_ANSWERED)
        placed = {"placement": asdict(session.facts.placement), "missing": unasked}
        unread = {"missing": {"page_cache_share": NOT_ASKED}}
        result = Result(
            window=_kept(sut, measured),
            phases=_merged(begin, unread, _first(session, first_run_ns, cold=True), _steady(measured, cold=False)),
            evidence=_merged(placed, proved, ran, _peak_memory("" if fresh else NOT_FRESH)),
            settings={**_settings(session, None), **training.peak(session)},
            versions=_versions(sut.engine),
            batch_chosen=batch,
            marks={"opened_ns": measured.timed.opened_ns, "closed_ns": measured.timed.closed_ns},
        )
        yield {"event": "result", **asdict(result)}


def _estimated(sut: SystemUnderTest, begin: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A device that is not here: it is compiled for, and what the host computes in its place is checked."""
    yield _phase("compile")
    batch = int(sut.job.batch)
    estimate = sut.estimate(batch)
    yield _phase("check")
    if estimate.numerics is None:
        unchecked = dict.fromkeys(("outputs", "quality"), "nothing here computes what the device would")
        checked: dict[str, Any] = {"placement": asdict(estimate.facts.placement), "missing": unchecked}
    else:
        with closing(estimate.numerics) as session:
            checked = sut.check(session, batch, estimate.facts.placement)
    yield _phase("finish")
    result = Result(
        phases=_merged(begin, _compiled(estimate.facts), {"missing": dict.fromkeys(NOT_RUN, NOT_HERE)}),
        evidence=_merged(checked, {"missing": dict.fromkeys(NOT_TIMED, NOT_HERE)}),
        settings={**estimate.facts.settings, **_artifact(sut)},
        versions=_versions(sut.engine),
        batch_chosen=batch,
        estimate={name: getattr(estimate, name) for name in ESTIMATED} | {"missing": dict(estimate.missing)},
    )
    yield {"event": "result", **asdict(result)}


def _phases_of(driving: Driving) -> Generator[dict[str, Any], None, Measured]:
    """Announces each phase that the load enters; returns what it measured."""
    try:
        while True:
            yield _phase(next(driving))
    except StopIteration as end:
        measured: Measured = end.value
        return measured
    finally:
        driving.close()


def _phase(name: str) -> dict[str, Any]:
    return {"event": "phase", "phase": name, "t_ns": time.monotonic_ns()}


def _begin(start_ns: int | None, build_ns: int) -> dict[str, Any]:
    """This and the next two are shaped as `results.record.Phases`."""
    missing = {} if start_ns is not None else {"start_ns": NOT_FRESH}
    return {"start_ns": start_ns, "build_ns": build_ns, "missing": missing}


def _first(session: Session, first_run_ns: int | None, cold: bool) -> dict[str, Any]:
    if not cold:
        return {"missing": dict.fromkeys((*COMPILING, "first_run_ns"), NOT_COLD)}
    return {**_compiled(session.facts), "first_run_ns": first_run_ns}


def _compiled(facts: Facts) -> dict[str, Any]:
    spent = {name: getattr(facts, name) for name in COMPILING}
    return {**spent, "missing": {} if facts.load_ns is not None else {"load_ns": NOT_APART}}


def _steady(measured: Measured, cold: bool) -> dict[str, Any]:
    why = {} if measured.steady_ns is not None else {"steady_ns": NEVER_STEADY if cold else NOT_ASKED}
    return {"steady_ns": measured.steady_ns, "missing": why}


def _window(measured: Measured) -> dict[str, Any]:
    timed = measured.timed
    ago = timedelta(microseconds=(measure.CLOCK() - timed.opened_ns) // 1000)
    return {
        "started_utc": (datetime.now(timezone.utc) - ago).isoformat(timespec="milliseconds"),  # noqa: UP017 - Python 3.9
        "duration_ns": timed.duration_ns,
        "queries": len(timed.samples),
        "query_samples": measured.query_samples,
        "warmup_queries": measured.warmup_queries,
        "warmup_ns": measured.warmup_ns,
        "warmup_stable": measured.stable,
    }


def _kept(sut: SystemUnderTest, measured: Measured) -> dict[str, Any]:
    """The window, its samples being written to their file."""
    path = Path(sut.job.samples_path)
    write_samples(path, measured.timed.samples)
    return {**_window(measured), "samples_kind": sut.scenario.samples_kind, "samples_file": path.name}


def _settings(session: Session, tried: str | None) -> dict[str, Any]:
    settings = {**session.facts.settings, "inflight": session.inflight}
    return settings if tried is None else {**settings, "batch_tried": tried}


def _artifact(sut: SystemUnderTest) -> dict[str, str]:
    return {"artifact_sha256": sut.artifact_sha256} if sut.artifact_sha256 else {}


def _peak_memory(unknown: str) -> dict[str, Any]:
    """Evidence; `unknown`: why the peak of this process is not the item's, or nothing."""
    if not unknown:
        return {"peak_memory_bytes": peak_memory_bytes(), "missing": {}}
    return {"peak_memory_bytes": None, "missing": {"peak_memory_bytes": unknown}}


def _merged(*sections: dict[str, Any]) -> dict[str, Any]:
    """Sections that complete each other, with all of their reasons for what is missing."""
    merged = {name: value for section in sections for name, value in section.items()}
    return {**merged, "missing": {name: why for section in sections for name, why in section["missing"].items()}}


def _versions(engine: Engine) -> dict[str, str]:
    """Of the interpreter, numpy and the engine's own module, which is imported by now."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    version = getattr(sys.modules.get(engine.module or engine.name), "__version__", None)
    return versions if version is None else {**versions, engine.name: str(version)}


def write_samples(path: Path, samples: array[int]) -> None:
    """Little-endian int64 without a header, all of them or no file; a folder that somebody removed is made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if sys.byteorder == "big":
        samples.byteswap()
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        samples.tofile(file)
    part.replace(path)


def began_ns() -> int:
    """From when this process was forked until the interpreter and numpy were there, to 10 ms; nothing of ours.

    proc(5): field 22 of /proc/self/stat, in clock ticks since boot.
    """
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return max(0, age_ns - (time.monotonic_ns() - awake.BEGAN_NS)) + awake.NUMPY_NS


def peak_memory_bytes() -> int:
    """Peak resident memory of this process; ru_maxrss would count what its parent had at the fork (proc(5), VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak_memory() -> bool:
    """Start counting the peak anew; whether the kernel could (proc(5), /proc/pid/clear_refs, value 5)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
