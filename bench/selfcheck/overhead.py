"""How much of the processor does the harness itself take for each sample?

The function under test takes 10 µs, so that the harness shows. What counts is the time of all threads of this process
over that of a loop that only calls the function. MLPerf's LoadGen drives the same session by its fastest interface:
both sides `run` a single stream, and LoadGen has to `submit` what may overlap.
"""

from __future__ import annotations

import gc
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import arrivals, measure, queries
from bench.loadgen.run import library
from bench.protocol import Effort
from bench.selfcheck import paired, subjects
from bench.selfcheck.contract import Asked, Check, Row
from bench.selfcheck.subjects import FunctionSession

if TYPE_CHECKING:
    from bench.queries import Feed

WORK_NS = 10_000
SAMPLES = 4_000
"""Of each window: enough for what a load generator does once in a test to count for little."""
WINDOWS = 2
"""For each pair that was asked for."""
RATE_PER_S = 20_000
OVER_BARE = paired.Band(0, 1.2)
"""Two of the ten microseconds: 2 % of a query of 100 µs, the shortest one that is worth timing."""
OF_LOADGEN = {"single_stream": paired.Band(0, 0.5), "offline": paired.Band(0, 1), "server": paired.Band(0, 1)}
"""Where queries may overlap, both sides mostly pay the kernel for waking threads."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "single_stream": {
        "scenario": "SingleStream",
        "max_query_count": SAMPLES,
        "single_stream_expected_latency_ns": WORK_NS,
    },
    "offline": {
        "scenario": "Offline",
        "min_query_count": 1,
        "min_duration_ms": 100,
        "offline_expected_qps": 10 * SAMPLES / 1.1,
    },
    "server": {"scenario": "Server", "max_query_count": SAMPLES, "server_target_qps": RATE_PER_S},
}
"""LoadGen's; it makes Offline's one query 1.1 times as large as the expected rate needs."""

Window = Callable[[], int]
"""Takes samples and says how many."""


class OverheadCheck(Check):
    name = "overhead"
    doing = "counting the processor time of a sample around a function of 10 µs"

    def takes_s(self, asked: Asked) -> float:
        return 13 * SAMPLES * 2 * WORK_NS * 1e-9 * (WINDOWS * asked.pairs + 1)

    def rows(self, asked: Asked) -> Iterator[Row]:
        function = subjects.calibrated(WORK_NS)
        session, rounds = FunctionSession(function), WINDOWS * asked.pairs
        loads = ours(session)
        names = ("single_stream", "single_stream again")
        found = alternated({"bare": partial(bare, function), **{name: loads[name] for name in names}}, rounds)
        yield _row("CPU, single_stream / bare timing loop", found, "single_stream", "bare", OVER_BARE)
        with tempfile.TemporaryDirectory(prefix="accelmark-selfcheck-") as folder:
            theirs = loadgen(library(), session, Path(folder))
            found = over(alternated({"plain": partial(plain, function), **loads, **theirs}, rounds), "plain")
        for name, band in OF_LOADGEN.items():
            yield _row(f"CPU beyond the function's, {name} / LoadGen", found, name, f"LoadGen {name}", band)


def _row(what: str, found: paired.Found, ours: str, theirs: str, band: paired.Band) -> Row:
    return paired.compared(what, found, (ours, theirs), (f"{ours} again", ours), band, paired.MICROSECONDS)


def alternated(windows: Mapping[str, Window], rounds: int) -> paired.Found:
    """Processor time of a sample in nanoseconds."""
    gc.collect()
    gc.freeze()  # so that the one collection of each window costs its samples nothing
    return paired.alternate({name: partial(cpu_ns, window) for name, window in windows.items()}, rounds)


def cpu_ns(window: Window) -> float:
    begin = time.process_time_ns()
    count = window()
    return (time.process_time_ns() - begin) / count


def over(found: paired.Found, base: str) -> paired.Found:
    """What each contender took more than `base` in the same round."""
    return {name: [a - b for a, b in zip(figures, found[base], strict=True)] for name, figures in found.items()}


def plain(function: Callable[[], object]) -> int:
    """No clock, no samples kept."""
    for _ in range(SAMPLES):
        function()
    return SAMPLES


def bare(function: Callable[[], object]) -> int:
    """The least that a timing loop has to do."""
    clock, samples = time.perf_counter_ns, array("q")
    for _ in range(SAMPLES):
        begin = clock()
        function()
        samples.append(clock() - begin)
    return len(samples)


def ours(session: FunctionSession) -> dict[str, Window]:
    """Our loads as a worker has them, twice each."""
    loads: dict[str, Window] = {
        "single_stream": lambda: _closed(measure.single_stream, session),
        "offline": lambda: _closed(measure.offline, session),
        "server": lambda: _open(session),
    }
    return {**loads, **{f"{name} again": load for name, load in loads.items()}}


def _closed(run: Callable[..., measure.Runs], session: FunctionSession) -> int:
    (timed,) = run(session, [_feed()], [measure.Enough(Effort(0, 0, SAMPLES, 60))])
    return len(timed.samples)


def _open(session: FunctionSession) -> int:
    offsets_ns = arrivals.schedule(RATE_PER_S, SAMPLES, 0)
    return len(arrivals.open_loop(session, [_feed()], offsets_ns).latencies)


def _feed() -> Feed:
    return queries.feed([{"x": number} for number in range(16)], {}, 1)  # type: ignore[dict-item]  # nobody reads them


def loadgen(lg: Any, session: FunctionSession, folder: Path) -> dict[str, Window]:
    """LoadGen's scenarios on the same session."""
    asking = {"single_stream": _run_at_once}
    return {
        f"LoadGen {name}": partial(_driven, lg, settings, folder, partial(asking.get(name, _submit), lg, session))
        for name, settings in SETTINGS.items()
    }


def _driven(lg: Any, settings: Mapping[str, Any], folder: Path, ask: Callable[[int], None]) -> int:
    """One test without a trace; how many samples it had. Here nothing of ours is around LoadGen."""
    asked, chosen, logged = 0, lg.TestSettings(), lg.LogSettings()
    for name, value in {"min_query_count": SAMPLES, "min_duration_ms": 0, **settings}.items():
        setattr(chosen, name, getattr(lg.TestScenario, value) if name == "scenario" else value)
    logged.log_output.outdir, logged.enable_trace = str(folder), False

    def issue(ids: Sequence[int], _numbers: Sequence[int]) -> None:
        nonlocal asked
        asked += len(ids)
        for one in ids:
            ask(one)

    sut, held = lg.ConstructFastSUT(issue, _nothing), lg.ConstructQSL(SAMPLES, SAMPLES, _nothing, _nothing)
    lg.StartTestWithLogSettings(sut, held, chosen, logged, str(folder / "audit.conf"))
    lg.DestroyQSL(held)
    lg.DestroyFastSUT(sut)
    return asked


def _run_at_once(lg: Any, session: FunctionSession, one: int) -> None:
    session.get(session.run(session.put({})))
    _complete(lg, one)


def _submit(lg: Any, session: FunctionSession, one: int) -> None:
    def done(values: Any, _error: BaseException | None) -> None:
        session.get(values)
        _complete(lg, one)

    session.submit(session.put({}), done)


def _complete(lg: Any, one: int) -> None:
    lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0)])


def _nothing(*_numbers: Any) -> None:
    """Inputs are in memory from the start, and what was started needs no push."""
